"""``aexp serve``: scenarios over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aexp.cli.options import with_settings

if TYPE_CHECKING:
    from aexp.settings import Settings

__all__ = ["serve"]


@click.command
@click.option("--host", "listen_host", metavar="ADDRESS", help="Listen there (127.0.0.1).")
@click.option(
    "--port",
    "listen_port",
    type=click.IntRange(0, 65535),
    help="Listen on this port (8000); 0 lets the system choose.",
)
@click.option(
    "--max-active-runs",
    type=click.IntRange(1, 1000),
    default=4,
    metavar="N",
    help="Work on so many runs at a time at most (4).",
)
@click.option(
    "--input-root",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    metavar="FOLDER",
    help="Inputs that requests name lie below it; without it they may name none.",
)
@click.option(
    "--allow-outbound",
    is_flag=True,
    help="Let requests name servers and buckets that runs then talk to.",
)
@click.option(
    "--request-deadline",
    "request_deadline_s",
    type=click.FloatRange(0.1, 3600),
    default=10.0,
    metavar="S",
    help="Seconds in which a request must have arrived (10).",
)
@click.option(
    "--heartbeat",
    "heartbeat_s",
    type=int,
    metavar="EVERY_S",
    help="Tick every so many seconds while the service is up.",
)
@with_settings
def serve(
    settings: Settings,
    max_active_runs: int,
    input_root: Path | None,
    allow_outbound: bool,
    request_deadline_s: float,
    heartbeat_s: int | None,
) -> int:
    """Serve scenarios over HTTP until a signal or POST /shutdown ends it.

    On any address but a loopback one it needs AEXP_API_TOKEN, which every request then bears.
    """
    from aexp.cli.actions import serve

    return serve.serve(
        settings,
        max_active_runs,
        input_root,
        allow_outbound=allow_outbound,
        request_deadline_s=request_deadline_s,
        heartbeat_s=heartbeat_s,
    )
