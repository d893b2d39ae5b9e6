"""What a shell completes: commands, options, scenarios and run ids.

A person waits for it, and nobody reads what it says of an error: so it imports neither DBOS nor
SQLAlchemy nor pydantic, starts and makes nothing, and completes nothing when anything is wrong.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem, shell_complete

from aexp.environment import configured_url, home_of_environment, url_of_environment

if TYPE_CHECKING:
    import asyncpg

__all__ = ["complete", "run_ids", "scenarios"]

_TIMEOUT_S = 1.0
_MOST_RUNS = 100


def complete(command: click.Command, variable: str) -> int:
    """Do what a shell asks for in the environment's ``variable``; the exit code.

    That is the shell's script (``bash_source``, ``zsh_source``, ``fish_source``), or what may be
    put in place of a word (``bash_complete`` …).
    """
    instruction = os.environ[variable]
    try:
        code: int = shell_complete(command, {}, "aexp", variable, instruction)
        sys.stdout.flush()
    except Exception:
        if not instruction.endswith("_complete"):
            raise
        # Whatever it is, it would be printed into the line that somebody is typing.
        return 1
    return code


def scenarios(incomplete: str) -> list[CompletionItem[str]]:
    """Complete the name of a scenario, or a file, for a user's workflow, if none begins so."""
    from aexp.scenarios import known_scenarios  # noqa: PLC0415 - 0.1 s, where there is need

    found = [name for name in sorted(known_scenarios()) if name.startswith(incomplete)]
    if not found:
        return [CompletionItem(incomplete, type="file")]
    return [CompletionItem(name) for name in found]


def run_ids(given: Mapping[str, Any], incomplete: str) -> list[CompletionItem[str]]:
    """Complete a run id with the latest runs, newest first, in the database that the options
    ``given`` name, if a server is there.
    """
    import asyncio  # noqa: PLC0415 - only here

    return [CompletionItem(run_id) for run_id in asyncio.run(_read_run_ids(given, incomplete))]


async def _read_run_ids(given: Mapping[str, Any], incomplete: str) -> Sequence[str]:
    import asyncio  # noqa: PLC0415 - only here

    import asyncpg  # noqa: F401, PLC0415 - before the time of the server begins

    async with asyncio.timeout(_TIMEOUT_S):
        connection = await _connect(given)
        try:
            rows = await connection.fetch(
                "SELECT run_id FROM aexp.runs WHERE starts_with(run_id, $1)"
                " ORDER BY created_at DESC, run_id LIMIT $2",
                incomplete,
                _MOST_RUNS,
            )
        finally:
            connection.terminate()
    return [row["run_id"] for row in rows]


async def _connect(given: Mapping[str, Any]) -> asyncpg.Connection[asyncpg.Record]:
    """Connect to the database that a command with these options would use.

    Raises whatever is wrong with it, and OSError when no embedded server runs.
    """
    import asyncpg  # noqa: PLC0415 - 0.1 s, where there is need

    url = given.get("database_url") or url_of_environment() or configured_url()
    if url is not None:
        scheme, separator, rest = url.partition("://")
        # SQLAlchemy's way to name a driver.
        return await asyncpg.connect(f"{scheme.partition('+')[0]}{separator}{rest}")
    home: Path = given.get("home") or home_of_environment()
    # Its port and its socket's folder (PostgreSQL 18, miscadmin.h).
    lines = (home / "postgres" / "postmaster.pid").read_text().splitlines()
    return await asyncpg.connect(
        host=lines[4], port=int(lines[3]), user="postgres", database="aexp"
    )
