"""Pages for people: all runs, and one run with its timeline. All that they load is served here."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import anyio.to_thread
from fastapi import APIRouter, HTTPException, Response

from aexp.database.connect import borrowed
from aexp.runs.kill_plan import MOST_KILLS
from aexp.service.reports import audit
from aexp.service.state import Current, KnownRun, RunId
from aexp.viewer import asset, gather_timeline, view_data
from aexp.viewer.page import ASSETS as VIEW_ASSETS
from aexp.viewer.page import view_json

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_OWN_ASSETS = {
    "pages.css": "text/css; charset=utf-8",
    "api.js": "text/javascript; charset=utf-8",
    "fork.js": "text/javascript; charset=utf-8",
    "form.js": "text/javascript; charset=utf-8",
    "index.js": "text/javascript; charset=utf-8",
    "run.js": "text/javascript; charset=utf-8",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@cache
def _text(name: str) -> str:
    if name in VIEW_ASSETS:
        return asset(name)
    text = files("aexp.service").joinpath("web", name).read_text(encoding="utf-8")
    return text.replace("$MOST_KILLS", str(MOST_KILLS))


async def _page(name: str) -> Response:
    return Response(
        await anyio.to_thread.run_sync(_text, name),
        media_type="text/html",
        headers={"Content-Security-Policy": _POLICY},
    )


@router.get("/")
async def show_runs() -> Response:
    """Show all runs, newest first, and a form that starts one."""
    return await _page("index.html")


@router.get("/view/{run_id}")
async def show_view(run_id: RunId) -> Response:  # noqa: ARG001 - the page reads it from its address
    """Show one run, drawn again as things befall it."""
    return await _page("run.html")


@router.get("/view/{run_id}/data")
async def show_data(service: Current, run: KnownRun) -> Response:
    """Return what the page of a run draws: the same as ``aexp report`` writes into its file."""
    async with service.audits, borrowed(service.host.pool) as connection:
        report = await audit(service, connection, run)
        if report is None:
            raise HTTPException(404, f"the scenario of run {run.run_id!r} is not known here")
        timeline = await gather_timeline(connection, run)
    data = await anyio.to_thread.run_sync(lambda: view_json(view_data(report, timeline)))
    return Response(data, media_type="application/json")


@router.get("/assets/{name}")
async def show_asset(name: str) -> Response:
    """Return a script or a style of the pages."""
    kind = {**VIEW_ASSETS, **_OWN_ASSETS}.get(name)
    if kind is None:
        raise HTTPException(404, f"no asset {name!r}")
    return Response(
        await anyio.to_thread.run_sync(_text, name),
        media_type=kind,
        headers={"Cache-Control": "no-cache"},
    )
