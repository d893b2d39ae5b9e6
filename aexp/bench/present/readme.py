"""What the README shows of benches: ``python -m aexp.bench.present.readme README.md bench.json …``.

Their table, between two marks in the README, and one plot beside it. Run by scripts/bench-readme.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from aexp.bench.analysis.record import read_result
from aexp.bench.analysis.result import Result
from aexp.bench.present.plots import draw_rates
from aexp.bench.present.wording import Line, circumstances, doubts, judged
from aexp.viewer import asset

__all__ = ["readme_plot", "readme_table"]

PLOT = Path("docs/bench.svg")
_PLOTTED = "publish"
_BEGIN, _END = "<!-- bench -->", "<!-- /bench -->"


def readme_table(results: Sequence[Result]) -> str:
    """Make a table in Markdown of all that has a target, with what each result was measured on."""
    lines = [
        "| workload | | found | interval | target | |",
        "|---|---|---|---|---|---|",
        *(_row(line) for result in results for line in judged(result)),
        "",
    ]
    for result in results:
        names = ", ".join(f"`{summary.workload.name}`" for summary in result.summaries)
        lines += [f"- {names}:"] if len(results) > 1 else []
        indent = "  " if len(results) > 1 else ""
        remarks = (*circumstances(result).split("\n"), *doubts(result))
        lines += [f"{indent}- {line}" for line in remarks]
    return "\n".join(lines)


def _row(line: Line) -> str:
    verdict = f"{line.verdict}: {line.reason}" if line.reason else str(line.verdict)
    cells = (f"`{line.workload}`", line.what, line.found, line.interval, line.target, verdict)
    return f"| {' | '.join(cells)} |"


def readme_plot(results: Sequence[Result]) -> str:
    """Draw the rates of ``publish`` as a file of its own, in the page's colours, for any light.

    Raises ValueError when they were not measured.
    """
    for summary in (summary for result in results for summary in result.summaries):
        if summary.workload.name == _PLOTTED and summary.measured:
            svg = draw_rates(summary)
            begin = svg.index(">") + 1
            return f"{svg[:begin]}<style>{_colours()}</style>{svg[begin:]}\n"
    raise ValueError(f"{_PLOTTED} was not measured")


def _colours() -> str:
    """Return the variables of the page's style sheet, for light and for dark."""
    light, dark = re.findall(r":root \{(.*?)\}", asset("view.css"), re.DOTALL)
    # A picture has no ground of its own: where it is shown, the page gives it one.
    return f":root {{{light}}}\n@media (prefers-color-scheme: dark) {{ :root {{{dark}}} }}"


def main(arguments: Sequence[str]) -> None:
    """Write the table into the README and the plot beside it."""
    readme = Path(arguments[0])
    results = [
        read_result(json.loads(Path(name).read_text(encoding="utf-8"))) for name in arguments[1:]
    ]
    before, begin, rest = readme.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise SystemExit(f"{readme} has no {_BEGIN} … {_END}")
    plot = readme.parent / PLOT
    plot.parent.mkdir(exist_ok=True)
    plot.write_text(readme_plot(results), encoding="utf-8")
    shown = f"![Messages a second, by variant]({PLOT})"
    text = f"{before}{begin}\n{readme_table(results)}\n\n{shown}\n{end}{after}"
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
