"""The command line that makes an experiment again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aexp.settings import Settings

__all__ = ["replay_command"]


def replay_command(
    settings: Settings, target: str, given: Mapping[str, str], chosen: Mapping[str, Any]
) -> list[str]:
    """Return the command that repeats experiments: all they depend on that is no default.

    ``given`` are the parameters as texts, ``chosen`` options by their names in a request, with
    ``variables`` and ``stubs`` as they were given.
    """
    command = ["aexp", "crash", target]
    command += [part for name, value in given.items() for part in ("--set", f"{name}={value}")]
    command += ["--seed", str(chosen["seed"])] if chosen["seed"] else []
    command += ["--template", chosen["template"]] if chosen["template"] else []
    command += [part for name in chosen["variables"] for part in ("--database-env", name)]
    command += [part for pair in chosen["stubs"].items() for part in ("--http", "=".join(pair))]
    command += ["--allow-outside"] if chosen["allow_outside"] else []
    command += ["--all-writes"] if chosen["all_writes"] else []
    command += ["--expect-error"] if chosen["expect_error"] else []
    for option, names in (("--once", "once"), ("--ignore-table", "ignored_tables")):
        command += [part for name in chosen[names] for part in (option, name)]
    if chosen["deadline_s"] is not None:
        command += ["--deadline", f"{chosen['deadline_s']:g}"]
    for name in ("executor_id", "loop"):
        value = getattr(settings, name)
        if value != Settings.model_fields[name].default:
            command += [f"--{name.replace('_', '-')}", value]
    return command
