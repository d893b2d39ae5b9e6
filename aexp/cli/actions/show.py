"""Commands that only look: ``list``, ``describe``, ``runs`` and ``audit``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import click
from rich.text import Text

from aexp.audit import audit_run
from aexp.audit.overview import Standing, find_scenarios, judge_runs, list_standings
from aexp.cli.actions.run import finish, load_run
from aexp.cli.terminal.account import mark, print_json, print_none, print_table
from aexp.cli.terminal.output import out
from aexp.database import locate_database, require_schema, running_database
from aexp.database.connect import connected
from aexp.environment import announce_url
from aexp.errors import NoRuns
from aexp.log import configure_logging
from aexp.processes.loop import run_on_loop
from aexp.scenarios import check_target, find_scenario, known_scenarios
from aexp.settings import Settings

__all__ = ["audit", "describe", "list_scenarios", "runs"]


def list_scenarios(settings: Settings, *, as_json: bool) -> int:  # noqa: ARG001
    """Print the scenarios, built in and installed; the exit code."""
    found = {name: find_scenario(name)[1].summary for name in sorted(known_scenarios())}
    if as_json:
        print_json([{"name": name, "summary": summary} for name, summary in found.items()])
    else:
        print_table(["scenario", "what it does"], found.items())
    return 0


def describe(settings: Settings, target: str, *, as_json: bool) -> int:
    """Print the parameters and promises of a scenario; the exit code."""
    check_target(target)
    if (url := running_database(settings)) is not None:
        announce_url(url.libpq)
    _, scenario = find_scenario(target)
    schema = scenario.parameters.model_json_schema()
    if as_json:
        print_json(
            {
                "name": scenario.name,
                "summary": scenario.summary,
                "parameters": schema,
                "promises": [
                    {"name": promise.name, "statement": promise.statement}
                    for promise in scenario.promises
                ],
            }
        )
        return 0
    click.echo(f"{scenario.name}: {scenario.summary}\n", file=out())
    print_table(
        ["parameter", "takes", "default", "what it is"],
        [
            (
                field.alias or name,
                _takes(schema, schema["properties"][field.alias or name]),
                "(required)"
                if field.is_required()
                else _default(field.get_default(call_default_factory=True)),
                field.description,
            )
            for name, field in scenario.parameters.model_fields.items()
        ],
    )
    if scenario.promises:
        click.echo(file=out())
        print_table(
            ["promise", "what must hold"],
            [(promise.name, promise.statement) for promise in scenario.promises],
        )
    return 0


def _default(value: Any) -> str:
    return "–" if value is None or value == () else str(value)


def _takes(schema: dict[str, Any], field: dict[str, Any]) -> str:
    """Say what a parameter accepts, from its JSON schema."""
    if "$ref" in field:
        return _takes(schema, schema["$defs"][field["$ref"].rpartition("/")[2]])
    if "anyOf" in field:
        kinds = [_takes(schema, kind) for kind in field["anyOf"] if kind.get("type") != "null"]
        return " or ".join(kinds)
    if "enum" in field:
        return ", ".join(str(value) for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {_takes(schema, field.get('items', {}))}"
    return str(field.get("format") or field.get("type") or "any") + _bounds(field)


def _bounds(field: dict[str, Any]) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    if low is None:
        return ""
    return f" {low:g} to {high:,}" if high is not None else f" from {low:g}"


def runs(settings: Settings, limit: int, *, as_json: bool) -> int:
    """Print the newest runs, newest first, and how they stand; the exit code."""
    try:
        url = locate_database(settings, only_known=True)
    except NoRuns as none:
        return print_none(none, as_json=as_json)

    async def look() -> Sequence[Standing]:
        await require_schema(url)
        async with connected(url, read_only=True) as connection:
            return await list_standings(connection, limit)

    found = run_on_loop(settings.loop, look)
    announce_url(url.libpq)
    scenarios = find_scenarios(found)
    # A module that makes a DBOS of its own has given its logger a handler of its own.
    configure_logging(settings.log_format, settings.log_level)
    verdicts = run_on_loop(settings.loop, partial(judge_runs, url, found, scenarios))
    if as_json:
        print_json(
            [
                {
                    "run_id": standing.run.run_id,
                    "scenario": standing.run.scenario,
                    "status": standing.status,
                    "verdict": verdicts[standing.run.run_id],
                    "parameters": dict(standing.run.parameters),
                    "created_at": standing.run.created_at,
                    "forked_from": standing.run.forked_from,
                }
                for standing in found
            ]
        )
    else:
        print_table(
            ["run", "verdict", "status", "scenario", "begun", "forked from"],
            [
                (
                    standing.run.run_id,
                    mark(verdict := verdicts[standing.run.run_id]),
                    # What is broken matters more than that it has ended well.
                    Text(standing.status, "dim" if verdict == "broken" else ""),
                    standing.run.scenario,
                    f"{standing.run.created_at:%Y-%m-%d %H:%M:%S}",
                    standing.run.forked_from,
                )
                for standing in found
            ],
        )
    return 0


def audit(settings: Settings, run_id: str | None, *, as_json: bool) -> int:
    """Print the account of a run; the exit code."""
    url = locate_database(settings, only_known=True)
    run, scenario = load_run(settings, url, run_id, require_schema)

    async def main() -> int:
        async with connected(url, read_only=True) as connection:
            report = await audit_run(url, connection, run, scenario, settings=settings.echo())
        return finish(report, as_json=as_json)

    return run_on_loop(settings.loop, main)
