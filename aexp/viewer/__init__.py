"""The view of a run: its account and its timeline, as data and as one page."""

from aexp.viewer.page import asset, render_page, view_data
from aexp.viewer.reader import gather_timeline
from aexp.viewer.timeline import Timeline

__all__ = ["Timeline", "asset", "gather_timeline", "render_page", "view_data"]
