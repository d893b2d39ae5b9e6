"""The command line that makes an experiment again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aexp.settings import Settings

__all__ = ["replay_command"]


def replay_command(
    settings: Settings,
    command: str,
    target: str,
    given: Mapping[str, str],
    chosen: Mapping[str, Any],
) -> list[str]:
    """Return what repeats experiments of ``aexp COMMAND``: all they depend on that is no default.

    ``given`` are the parameters as texts, ``chosen`` options by their names in a request, with
    ``variables`` and ``stubs`` as they were given.
    """
    words = ["aexp", command, target]
    words += ["--from", chosen["origin"]] if "origin" in chosen else []
    words += [part for name, value in given.items() for part in ("--set", f"{name}={value}")]
    words += ["--seed", str(chosen["seed"])] if chosen["seed"] else []
    words += ["--template", chosen["template"]] if chosen["template"] else []
    words += [part for name in chosen["variables"] for part in ("--database-env", name)]
    words += [part for pair in chosen["stubs"].items() for part in ("--http", "=".join(pair))]
    words += ["--allow-outside"] if chosen["allow_outside"] else []
    words += ["--all-writes"] if chosen.get("all_writes") else []
    words += ["--expect-error"] if chosen["expect_error"] else []
    for option, names in (("--once", "once"), ("--ignore-table", "ignored_tables")):
        words += [part for name in chosen.get(names, ()) for part in (option, name)]
    if chosen["deadline_s"] is not None:
        words += ["--deadline", f"{chosen['deadline_s']:g}"]
    for name in ("executor_id", "loop"):
        value = getattr(settings, name)
        if value != Settings.model_fields[name].default:
            words += [f"--{name.replace('_', '-')}", value]
    return words
