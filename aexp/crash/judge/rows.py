"""Do the user's tables end with the rows of a run without a fault? Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from aexp.crash.judge.comparison import BaselineComparison
from aexp.crash.judge.evidence import Evidence, TableContent
from aexp.crash.judge.repetitions import repeated_bodies
from aexp.crash.judge.spans import body_spans
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
    cause = comparison.cause_of_effects
    why = "the workflows took another way"
    if cause is not None:
        why = f"it may depend on step `{cause.name}`, which returned something else"
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
            what = f"ends with {content.count}, not {counted(counts.pop(), 'row')}"
        elif _more(given, content):
            what = "ends with other values"
        else:
            continue
        if not _compare(comparison, table, given, content):
            told = f"table {table} {what} as without a fault; that is not judged: {why}"
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
    if found.count > expected and (twice or _is_comparable(comparison)):
        rows = _more(known, found)
        what = f"{ends}, {expected} without a fault{steps}"
        return [Anomaly(what, [numbers, *rows], kind="rows_repeated", cause=table)]
    if found.count < expected and not comparison.may_act_otherwise:
        what = f"{ends}, {expected} without a fault"
        return [Anomaly(what, [numbers], kind="rows_missing", cause=table)]
    if found.count != expected:
        return []
    more = _more(known, found)
    if not more or not (twice or comparison.cause_of_effects is None):
        return []
    what = f"table {table} ends with other values than without a fault{steps}"
    return [Anomaly(what, more, kind="rows_differ", cause=table)]


def _is_comparable(comparison: BaselineComparison) -> bool:
    """Return whether there should be no more rows: nothing that was steady has changed."""
    return comparison.same_path and not comparison.changed_steps


def _more(known: Sequence[TableContent], found: TableContent) -> list[Mapping[str, Any]]:
    """Return rows that there are more often than without a fault, by their steady columns."""
    if found.rows is None or known[0].rows is None:
        return []
    left_out = _unsteady_columns(known) | found.numbered
    columns = [column for column in found.columns if column not in left_out]
    if set(columns) - set(known[0].columns):
        return []
    more = _projected(found.rows, columns) - _projected(known[0].rows, columns)
    return [
        {column: json.loads(text) for column, text in zip(columns, row, strict=True)}
        for row in list(more.elements())[:SAMPLE]
    ]


def _unsteady_columns(known: Sequence[TableContent]) -> set[str]:
    first, *others = known
    if first.rows is None:
        return set()
    return {
        column
        for column in first.columns
        if column not in first.numbered
        and any(
            other.rows is None
            or _projected(other.rows, [column]) != _projected(first.rows, [column])
            for other in others
        )
    }


def _projected(
    rows: Sequence[Mapping[str, str]], columns: Sequence[str]
) -> Counter[tuple[str, ...]]:
    return Counter(tuple(row.get(column, "null") for column in columns) for row in rows)


def _wrote_twice(comparison: BaselineComparison, table: str) -> list[str]:
    """Return the steps that ran in two lives and alone may have written to the table in both."""
    found = comparison.found
    schema, _, name = table.rpartition(".")
    times = [
        (seen.life, seen.at) for seen in found.writes if _writes_to(seen.write.name, schema, name)
    ]
    if not times:
        return []
    spans = body_spans(found)
    return sorted(
        {
            step
            for (workflow_id, step_id), step in repeated_bodies(found).items()
            if len(
                {
                    life
                    for life, at in times
                    if any(span.covers(life, at) for span in spans.get((workflow_id, step_id), ()))
                }
            )
            > 1
        }
    )


def _writes_to(write: str, schema: str, name: str) -> bool:
    return any(
        len(words) > 1 and words[1] in {name, f"{schema}.{name}"}
        for words in (part.split() for part in write.split(" + "))
    )
