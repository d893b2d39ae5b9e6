"""The view of a run: its account and its timeline, as data and as one page."""

from aexp.report.gather import gather_timeline
from aexp.report.page import asset, render_page, view_data
from aexp.report.timeline import Timeline

__all__ = ["Timeline", "asset", "gather_timeline", "render_page", "view_data"]
