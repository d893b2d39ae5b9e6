"""Do the user's tables end with the rows of a run without a fault? Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.evidence import Evidence, TableContent
from aexp.crash.judge.spans import writers_of
from aexp.crash.judge.wording import counted
from aexp.model.promise import SAMPLE, Anomaly

__all__ = ["same_rows", "unjudged_rows", "unsteady_tables"]


def same_rows(comparison: BaselineComparison) -> Sequence[Anomaly] | None:
    """Check that each table has as many rows as without a fault, and the same ones but for unsteady
    columns and those that a sequence fills.

    Where workflows took other steps, only a step that ran twice and wrote there each time is to
    blame for more rows.
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
            if cause is not None:
                why = f"it may depend on step `{cause.name}`, which returned something else"
            told = f"table {table} {what} without a fault; that is not judged: {why}"
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
    more = _more(known, found)
    if not more or not (twice or comparison.cause_of_rows(table) is None):
        return []
    what = f"table {table} ends with other values than without a fault{steps}"
    return [Anomaly(what, more, kind="rows_differ", cause=table)]


def _more(known: Sequence[TableContent], found: TableContent) -> list[Mapping[str, Any]]:
    """Return rows that there are more often than without a fault, by what is steady of them."""
    first = known[0]
    if found.rows is None or any(content.rows is None for content in known):
        return []
    columns = [column for column in found.columns if column not in _unsteady_columns(known)]
    if set(columns) - set(first.columns):
        return []
    more = _projected(found, columns) - _projected(first, columns)
    rows = [_shown(columns, row, first.numbered) for row in list(more.elements())[:SAMPLE]]
    return rows or _other_cells(known, found, columns)


def _other_cells(
    known: Sequence[TableContent], found: TableContent, steady: Sequence[str]
) -> list[Mapping[str, Any]]:
    """Return rows whose values in unsteady columns are the same in all runs without a fault, and
    others here: where the ``steady`` columns tell rows apart, as the keys of a table do.
    """
    by_key = [_by_key(content, steady) for content in (*known, found)]
    if any(rows is None for rows in by_key):
        return []
    *runs, ours = (rows or {} for rows in by_key)
    return [
        _shown([*steady, column], (*key, row[column]), found.numbered)
        for key, row in ours.items()
        for column in set(found.columns) - set(steady) - found.numbered
        if len(values := {run[key].get(column, "null") for run in runs if key in run}) == 1
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
    first, *others = known
    if any(content.rows is None for content in known):
        return set()
    unsteady = {
        column
        for column in first.columns
        if any(_projected(other, [column]) != _projected(first, [column]) for other in others)
    }
    steady = [column for column in first.columns if column not in unsteady]
    while len({frozenset(_projected(content, steady).items()) for content in known}) > 1:
        # Each is steady, and which values stand in one row is not.
        unsteady.add(_least_steady(known, steady))
        steady = [column for column in steady if column not in unsteady]
    return unsteady


def _least_steady(known: Sequence[TableContent], columns: Sequence[str]) -> str:
    """Return the column without which the runs have the most rows in common."""

    def in_common(left_out: str) -> int:
        kept = [column for column in columns if column != left_out]
        first, *others = (_projected(content, kept) for content in known)
        return min((first & other).total() for other in others)

    return max(reversed(columns), key=in_common)


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
    """Return the steps of which two bodies may have written to the table: in two processes, or
    because DBOS tried the step again in one.
    """
    return sorted(
        {
            bodies[0].name
            for bodies in (writers_of(comparison.written, table) or {}).values()
            if len(bodies) > 1
        }
    )
