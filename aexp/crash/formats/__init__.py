"""What an exploration found, written for people and for programs: text, GitHub, code scanning, test
reports.
"""

from aexp.crash.formats.github import render_github
from aexp.crash.formats.junit import render_junit
from aexp.crash.formats.sarif import render_sarif, sarif_results
from aexp.crash.formats.text import (
    print_exploration,
    render_exploration,
    render_finding,
    render_verdict,
)

__all__ = [
    "print_exploration",
    "render_exploration",
    "render_finding",
    "render_github",
    "render_junit",
    "render_sarif",
    "render_verdict",
    "sarif_results",
]
