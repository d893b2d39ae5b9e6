"""``aexp upgrade``: kill a run under old code, and go on with it under new code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aexp.cli.commands.experiments import chosen_format, with_experiments

if TYPE_CHECKING:
    from aexp.settings import Settings

__all__ = ["upgrade"]


@click.command
@click.option(
    "--from",
    "origin",
    required=True,
    metavar="REVISION|PATH",
    help="The code before the deployment: a revision of git, such as HEAD or v1.2, or a folder or"
    " file with it.",
)
@with_experiments
def upgrade(
    settings: Settings,
    target: str,
    given: Mapping[str, str],
    page: Path | None,
    form: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Deploy new code while a workflow runs, at each of its durable writes.

    A run begins under the old code and is killed at a write; a process with the code as it is now
    goes on with it. The run must come to its end, and each checkpoint must answer the call that it
    was recorded for.

    Example: aexp upgrade checkout.py:checkout --from HEAD --set order=A17
    """
    from aexp.cli.actions import crash

    chosen = chosen_format(form, as_json=as_json)
    return crash.explore(settings, target, given, page, options, form=chosen, command="upgrade")
