"""One page that shows a run, whole in itself: nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any

from aexp.audit import Report
from aexp.log import masked
from aexp.model.plain import plain, to_text
from aexp.viewer.timeline import Timeline

__all__ = ["ASSETS", "asset", "render_page", "view_data", "view_json"]

# What view.js is made of, each knowing only those before it.
_SCRIPTS = tuple(
    f"{part}.js"
    for part in (
        "dom", "layout", "paint", "details", "marks", "pointer", "keys", "timeline", "crash",
        "view",
    )
)  # fmt: skip
ASSETS: Mapping[str, str] = {
    "view.css": "text/css; charset=utf-8",
    "view.js": "text/javascript; charset=utf-8",
}
VERSION = 1


def asset(name: str) -> str:
    """Return the text of ``view.css`` or ``view.js``, as a page inlines it and a service serves it.

    Raises KeyError for any other name.
    """
    if name not in ASSETS:
        raise KeyError(name)
    return "\n".join(_read(part) for part in (_SCRIPTS if name == "view.js" else (name,)))


def _read(name: str) -> str:
    return files("aexp.viewer").joinpath("assets", name).read_text(encoding="utf-8")


def view_data(report: Report, timeline: Timeline) -> dict[str, Any]:
    """Return what ``view.js`` draws: the report as in ``aexp audit --json``, some more of it, and
    the timeline (see :meth:`Timeline.as_json`). JSON values; what JSON does not know stands there
    as text, and a password in a URL as ``***``.
    """
    created = report.run.created_at
    content = {
        **report.as_json(),
        "ok": report.ok,
        "alive": report.alive,
        "created_at": f"{created:%Y-%m-%d %H:%M:%S %Z}" if created is not None else None,
        "target": report.run.target,
        "facts": dict(report.run.facts),
    }
    return {"version": VERSION, "report": masked(plain(content)), "timeline": timeline.as_json()}


def view_json(data: Mapping[str, Any]) -> str:
    """Write ``data`` as JSON that may stand in a script element: without ``<``, ``>`` or ``&``.

    What JSON does not know stands there as text.
    """
    text = to_text(data)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def render_page(data: Mapping[str, Any], *, title: str | None = None) -> str:
    """Render the page that shows ``data``, as :func:`view_data` gives it.

    Its policy allows this very style and this very script, and nothing else.
    """
    style, script = asset("view.css"), asset("view.js")
    report = data["report"]
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)};"
        " base-uri 'none'; form-action 'none'"
    )
    return Template(_read("view.html")).substitute(
        policy=policy,
        title=html.escape(title or f"{report['run_id']} {report['status']} – aexp"),
        style=style,
        data=view_json(data),
        script=script,
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
