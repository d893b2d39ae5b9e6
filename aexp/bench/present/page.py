"""A bench's result as one page, whole in itself: nothing is loaded from elsewhere, nothing runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from string import Template

from aexp.bench.analysis.outlook import Outlook
from aexp.bench.analysis.result import Result, Summary, TargetVerdict
from aexp.bench.analysis.statistics import Estimate
from aexp.bench.present.plots import draw_curve, draw_rates
from aexp.bench.present.wording import (
    Line,
    axis,
    circumstances,
    compared,
    doubts,
    interval,
    judged,
    lasting,
    median,
    number,
    words,
)
from aexp.viewer import asset

__all__ = ["render_bench"]

# As aexp/report/assets/view.css names what is good, bad, and open.
_CLASSES: dict[TargetVerdict | None, str] = {
    "met": "good",
    "missed": "bad",
    "undecided": "open",
    None: "quiet",
}
_FIGURES = (
    "cpu_ms",
    "server_cpu_ms",
    "memory_above_idle_mib",
    "threads",
    "lag_p50_ms",
    "lag_p99_ms",
    "lag_max_ms",
)


def render_bench(result: Result) -> str:
    """Render the page. Needs matplotlib."""
    assets = files("aexp.bench.present").joinpath("assets")
    style = asset("view.css") + assets.joinpath("bench.css").read_text(encoding="utf-8")
    body = "\n".join(
        [
            _head(result),
            _targets(result),
            *(_workload(summary) for summary in result.summaries if summary.measured),
            *(_outlook(looked) for looked in result.outlooks),
            _conditions(result),
        ]
    )
    template = Template(assets.joinpath("bench.html").read_text(encoding="utf-8"))
    return template.substitute(style=style, body=body)


def _head(result: Result) -> str:
    verdicts = [line.verdict for line in judged(result)]
    pills = [
        (f"{verdicts.count('met')} of {len(verdicts)} targets met", "good"),
        (f"{verdicts.count('missed')} missed", "bad") if "missed" in verdicts else None,
        (f"{verdicts.count('undecided')} undecided", "open") if "undecided" in verdicts else None,
        (f"cells that are no result: {len(result.failed)}", "bad") if result.failed else None,
    ]
    verdict = " ".join(
        f'<span class="pill {kind}">{escape(text)}</span>' for text, kind in filter(None, pills)
    )
    said = "".join(f'<p class="open">{escape(line)}</p>' for line in doubts(result))
    lines = "".join(f'<p class="quiet">{escape(x)}</p>' for x in circumstances(result).split("\n"))
    return f'<h1>aexp bench</h1>\n<div class="verdict">{verdict}</div>\n{said}{lines}'


def _targets(result: Result) -> str:
    rows = [
        [
            f'<span class="{_CLASSES[line.verdict]}">{line.verdict}</span>',
            f"{_figure(line.workload)} {escape(line.what)}{_reason(line)}",
            _figure(line.found),
            escape(line.interval),
            escape(line.target),
        ]
        for line in judged(result)
    ]
    heads = ("", "", "found", "", "target")
    return f'<h2>Targets</h2>\n<div class="targets">{_table(heads, rows)}</div>' if rows else ""


def _reason(line: Line) -> str:
    return f'<br><small class="quiet">{escape(line.reason)}</small>' if line.reason else ""


def _workload(summary: Summary) -> str:
    workload = summary.workload
    plots = [_plot(draw_rates(summary), f"{axis(workload.headline, workload.unit)} by variant")]
    if workload.curve is not None:
        curve = draw_curve(summary, workload.curve)
        if curve is not None:
            about = f"{axis(workload.curve.figure, workload.unit)} against {workload.curve.x}"
            plots.append(_plot(curve, about))
    columns = [
        name for name in _FIGURES if any(name in found.figures for found in summary.measured)
    ]
    shown = list(dict.fromkeys([workload.headline, *columns, *_own(summary)]))
    rows = [
        [
            escape(found.variant.name),
            *(_cell(found.figures.get(name)) for name in shown),
        ]
        for found in summary.measured
    ]
    table = _table(["", *(axis(name, workload.unit) for name in shown)], rows)
    return (
        f'<h2 id="{escape(workload.name)}">{escape(workload.name)}'
        f' <span class="quiet">{escape(workload.summary)}</span></h2>\n'
        f'<div class="cards">{"".join(plots)}{_compared(summary)}</div>\n{table}'
    )


def _own(summary: Summary) -> Iterable[str]:
    """Render the figures that the workload's own cells have made."""
    common = {"rate", "wall_s", "wall_ms", "memory_mib"}
    names = dict.fromkeys(name for found in summary.measured for name in found.figures)
    return [name for name in names if name not in common]


def _cell(found: Estimate | None) -> str:
    if found is None:
        return "–"
    return f'{_figure(median(found))}<br><small class="quiet">{interval(found)}</small>'


def _figure(text: str) -> str:
    return f"<strong>{escape(text)}</strong>"


def _compared(summary: Summary) -> str:
    rows = [
        [escape(line.what), _figure(line.found), escape(line.interval)]
        for line in compared(summary)
    ]
    if not rows:
        return ""
    return f'<div class="card">{_table(("paired within a round", "", ""), rows)}</div>'


def _outlook(looked: Outlook) -> str:
    first = looked.first
    rows = [
        [
            escape(need.what),
            _figure(number(need.needed)),
            escape(number(need.available)) if need.available is not None else "–",
            escape(need.unit),
            '<span class="open">gives way first</span>' if need is first else lasting(need),
        ]
        for need in looked.needs
    ]
    return (
        f"<h2>{looked.messages:,} messages a day"
        f' <span class="quiet">published as in {escape(looked.variant)}</span></h2>\n'
        f"{_table(('', 'needed', 'here', '', ''), rows)}"
    )


def _conditions(result: Result) -> str:
    """Render everything that the figures depend on."""
    details = result.circumstances
    facts = {
        **{words(name): value for name, value in details["machine"].items()},
        **details["versions"],
        **{f"PostgreSQL {name}": value for name, value in details["postgresql"].items()},
        "began": details["began_at"],
        "seed": details["seed"],
    }
    rows = "".join(
        f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>"
        for name, value in facts.items()
    )
    failed = "".join(
        f'<p class="bad">no result: {escape(f"{cell.workload} {cell.variant}")}, round'
        f" {cell.round_no}: {escape(cell.failure or '')}</p>"
        for cell in result.failed
    )
    return f'{failed}\n<h2>Measured on</h2>\n<dl class="facts">{rows}</dl>'


def _plot(svg: str, about: str) -> str:
    labelled = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(about)}" ', 1)
    return f'<figure class="card plot">{labelled}</figure>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Render a table whose cells are HTML, and whose first column names the row."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(
        f"<tr><th>{row[0]}</th>{''.join(f'<td>{cell}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
