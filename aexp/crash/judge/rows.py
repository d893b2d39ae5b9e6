"""Do the user's tables end with the rows of a run without a fault? Pure."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.evidence import Evidence, TableContent
from aexp.crash.judge.wording import counted
from aexp.model.promise import SAMPLE, Anomaly

__all__ = ["same_rows", "unjudged_rows", "unsteady_tables"]

# A number, a time or a date, as JSON has it.
_TIMELY = re.compile(r'"?-?\d')


def same_rows(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    """Check that each table has as many rows as without a fault, and the same ones but for unsteady
    columns and those that a sequence fills.

    Where something may be why a table has other rows, only a step of which more bodies wrote there
    than without a fault is to blame.
    """
    known, found = [run.tables for run in comparison.baseline.runs], comparison.found.tables
    if not found and not any(known):
        return None
    anomalies = []
    for table in sorted({name for tables in (*known, found) for name in tables}):
        contents = [tables.get(table) for tables in known]
        content = found.get(table)
        given = [each for each in contents if each is not None]
        if len(given) < len(contents) or content is None:
            as_before = comparison.same_path or not comparison.may_act_otherwise
            steady = len(given) in {0, len(contents)}
            if as_before and steady and bool(content) != bool(given):
                state = "is there" if content else "is not there"
                what = f"table {table} {state}, other than without a fault"
                anomalies.append(Anomaly(what, kind="rows_differ", cause=table))
            continue
        anomalies += _compare(comparison, table, given, content)
    return anomalies[:SAMPLE]


def unjudged_rows(comparison: BaselineComparison) -> Sequence[Anomaly]:
    """Tell of tables that end with other rows, where that may be right."""
    known = [run.tables for run in comparison.baseline.runs]
    why = "the workflows took another way"
    anomalies = []
    in_all = set.intersection(*(set(tables) for tables in known))
    if comparison.may_act_otherwise and not comparison.same_path:
        anomalies += [
            Anomaly(
                f"table {table} is not there, other than without a fault; that is not judged:"
                f" {why}",
                kind="rows_not_judged",
                cause=table,
            )
            for table in sorted(in_all - set(comparison.found.tables))
        ]
    for table, content in sorted(comparison.found.tables.items()):
        given = [tables[table] for tables in known if table in tables]
        counts = {each.count for each in given}
        if len(given) < len(known) or len(counts) > 1:
            continue
        if content.count not in counts:
            what = f"ends with {content.count}, not {counted(counts.pop(), 'row')} as"
        elif _more(given, content):
            what = "ends with other values than"
        else:
            continue
        if not _compare(comparison, table, given, content):
            cause = comparison.cause_of_rows(table)
            because = why
            if cause is not None:
                because = f"it may depend on step `{cause.name}`, which returned something else"
            told = f"table {table} {what} without a fault; that is not judged: {because}"
            anomalies.append(Anomaly(told, kind="rows_not_judged", cause=table))
    return anomalies[:SAMPLE]


def unsteady_tables(runs: Sequence[Evidence]) -> Mapping[str, Sequence[str]]:
    """Return, by table, the columns that differ without any fault; ``*`` is the number of rows."""
    found = {}
    for table in sorted({name for run in runs for name in run.tables}):
        contents = [run.tables[table] for run in runs if table in run.tables]
        if len({content.count for content in contents}) > 1:
            found[table] = ["*"]
        elif columns := sorted(_unsteady_columns(contents)):
            found[table] = columns
    return found


def _compare(
    comparison: BaselineComparison,
    table: str,
    known: Sequence[TableContent],
    found: TableContent,
) -> list[Anomaly]:
    counts = {content.count for content in known}
    if len(counts) > 1:
        return []
    (expected,) = counts
    twice = _wrote_twice(comparison, table)
    steps = f"; step `{twice[0]}` ran twice and wrote there each time" if twice else ""
    numbers = {"rows": found.count, "expected": expected}
    ends = f"table {table} ends with {counted(found.count, 'row')}"
    others = comparison.may_have_other_rows(table)
    # Where workflows take more steps now and then, these may make more rows.
    if found.count > expected and (twice or not (others or comparison.baseline.paths_vary)):
        rows = _more(known, found)
        what = f"{ends}, {expected} without a fault{steps}"
        return [Anomaly(what, [numbers, *rows], kind="rows_repeated", cause=table)]
    if found.count < expected and not others:
        what = f"{ends}, {expected} without a fault"
        return [Anomaly(what, [numbers], kind="rows_missing", cause=table)]
    if found.count != expected:
        return []
    more = _more(known, found, twice=bool(twice))
    if not more or not (twice or comparison.cause_of_rows(table) is None):
        return []
    what = f"table {table} ends with other values than without a fault{steps}"
    return [Anomaly(what, more, kind="rows_differ", cause=table)]


def _more(
    known: Sequence[TableContent], found: TableContent, *, twice: bool = False
) -> list[Mapping[str, Any]]:
    """Return rows that there are more often than without a fault, by what is steady of them; what
    a clock may say only where a step has written ``twice``.
    """
    first = known[0]
    if found.rows is None or any(content.rows is None for content in known):
        return []
    if any(_projected(found, found.columns) == _projected(each, found.columns) for each in known):
        return []
    unsteady = _unsteady_columns(known)
    columns = [column for column in found.columns if column not in unsteady]
    if set(columns) - set(first.columns):
        return []
    more = _projected(found, columns) - _projected(first, columns)
    rows = [_shown(columns, row, first.numbered) for row in list(more.elements())[:SAMPLE]]
    return rows or _other_cells(known, found, columns, clock=not twice)


def _other_cells(
    known: Sequence[TableContent],
    found: TableContent,
    steady: Sequence[str],
    *,
    clock: bool,
) -> list[Mapping[str, Any]]:
    """Return rows whose values in columns that are unsteady by themselves are the same in all runs
    without a fault, and others here: where the ``steady`` columns tell rows apart, as the keys of a
    table do. What a ``clock`` may be behind, a number or a time, is left out.
    """
    unsteady = _unsteady_alone(known)
    by_key = [_by_key(content, steady) for content in (*known, found)]
    if any(rows is None for rows in by_key):
        return []
    *runs, ours = (rows or {} for rows in by_key)
    return [
        _shown([*steady, column], (*key, row[column]), found.numbered)
        for key, row in ours.items()
        for column in sorted(unsteady - found.numbered)
        if not (clock and _TIMELY.match(row[column]))
        and len(values := {run[key].get(column, "null") for run in runs if key in run}) == 1
        and all(key in run for run in runs)
        and row[column] not in values
    ][:SAMPLE]


def _by_key(
    content: TableContent, columns: Sequence[str]
) -> Mapping[tuple[str, ...], Mapping[str, str]] | None:
    """Return the rows by these columns; None where some do not tell them apart."""
    keyed = {_part(row, columns, content.numbered): row for row in content.rows or ()}
    return keyed if columns and len(keyed) == content.count else None


def _shown(
    columns: Sequence[str], row: Sequence[str], numbered: frozenset[str]
) -> Mapping[str, Any]:
    return {
        column: json.loads(text)
        for column, text in zip(columns, row, strict=True)
        if column not in numbered or text == "null"
    }


def _unsteady_columns(known: Sequence[TableContent]) -> set[str]:
    first = known[0]
    if any(content.rows is None for content in known):
        return set()
    alone = _unsteady_alone(known)
    steady: list[str] = []
    for column in first.columns:
        # Each may be steady, and which values stand in one row not.
        if column not in alone and _agree(known, [*steady, column]):
            steady.append(column)
    return set(first.columns) - set(steady)


def _unsteady_alone(known: Sequence[TableContent]) -> set[str]:
    """Return the columns whose values, whatever stands beside them, are not the same in all."""
    return {column for column in known[0].columns if not _agree(known, [column])}


def _agree(known: Sequence[TableContent], columns: Sequence[str]) -> bool:
    first, *others = (_projected(content, columns) for content in known)
    return all(other == first for other in others)


def _projected(content: TableContent, columns: Sequence[str]) -> Counter[tuple[str, ...]]:
    return Counter(_part(row, columns, content.numbered) for row in content.rows or ())


def _part(
    row: Mapping[str, str], columns: Sequence[str], numbered: frozenset[str]
) -> tuple[str, ...]:
    """Return the row in these columns; of one that a sequence fills, whether there is a number."""
    texts = ((column, row.get(column, "null")) for column in columns)
    return tuple(
        text if column not in numbered or text == "null" else '"numbered"' for column, text in texts
    )


def _wrote_twice(comparison: BaselineComparison, table: str) -> list[str]:
    """Return the steps of which more bodies may have written to the table than in any run without a
    fault: in two processes, or because DBOS tried the step again in one.
    """
    usual = comparison.baseline.bodies_that_write(table)
    bodies = comparison.bodies_that_wrote(table)
    return sorted(
        {step.name for step, number in bodies.items() if number > max(1, usual.get(step, 0))}
    )
