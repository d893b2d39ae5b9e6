"""``aexp serve``: scenarios over HTTP."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from aexp.cli.ending import end_at_once
from aexp.cli.terminal.output import out
from aexp.database import ensure_schema, locate_database
from aexp.environment import announce_url
from aexp.errors import UsageError
from aexp.log import configure_logging, guard
from aexp.processes.loop import run_on_loop
from aexp.settings import Settings

__all__ = ["serve"]

LEAST_TOKEN = 16


def serve(
    settings: Settings,
    max_active_runs: int,
    input_root: Path | None,
    *,
    allow_outbound: bool,
    request_deadline_s: float,
    heartbeat_s: int | None,
) -> int:
    """Serve until a signal or a request ends it; the exit code."""
    # The web framework takes half a second to import, which no other command pays.
    from aexp.service.app import load_scenarios  # noqa: PLC0415
    from aexp.service.heartbeat import heartbeat_of  # noqa: PLC0415
    from aexp.service.middleware import known_names  # noqa: PLC0415
    from aexp.service.options import ServiceOptions  # noqa: PLC0415
    from aexp.service.server import address, is_loopback, listen  # noqa: PLC0415
    from aexp.service.server import serve as serve_on  # noqa: PLC0415

    token = settings.api_token.get_secret_value() if settings.api_token is not None else None
    if token is not None:
        guard(token)
        if len(token) < LEAST_TOKEN:
            raise UsageError(f"AEXP_API_TOKEN is too short: give {LEAST_TOKEN} characters or more")
    keep = heartbeat_of(heartbeat_s) if heartbeat_s is not None else None
    host = settings.listen_host
    with listen(host, settings.listen_port) as listening:
        local = is_loopback(listening)
        if not local and token is None:
            raise UsageError(
                f"{host} can be reached from elsewhere: set AEXP_API_TOKEN, which requests must"
                " then bear, or leave --host out"
            )
        url = locate_database(settings)
        announce_url(url.libpq)
        scenarios = load_scenarios()
        # A module that makes a DBOS of its own has given its logger a handler of its own.
        configure_logging(settings.log_format, settings.log_level)
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        options = ServiceOptions(
            settings=settings,
            url=url,
            hosts=known_names(host, listening) if local else None,
            max_active_runs=max_active_runs,
            input_root=input_root,
            allow_outbound=allow_outbound,
            request_deadline_s=request_deadline_s,
            keep=keep,
        )

        def ready() -> None:
            click.echo(f"aexp serves {address(listening)}", file=out())
            out().flush()

        async def main() -> None:
            await ensure_schema(url)
            await serve_on(options, scenarios, [listening], ready, end_at_once)

        run_on_loop(settings.loop, main)
    return 0
