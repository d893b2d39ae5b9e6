"""What an exploration found, written for programs: GitHub, code scanning, test reports."""

from aexp.cli.formats.github import render_github
from aexp.cli.formats.junit import render_junit
from aexp.cli.formats.sarif import render_sarif

__all__ = ["render_github", "render_junit", "render_sarif"]
