"""What a statement of SQL writes: which tables, whose workflow and step, or which end of a
transaction it is.

sqlglot reads the statements: its tokens tell what begins or ends a transaction and name what it
cannot parse, its trees find the writes in a WITH and the parameters that hold ids. It is a grammar
of many dialects in pure Python, without PostgreSQL's own parser behind it: what it cannot read is
named by its tokens, and never taken for a read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import TypeAlias

import sqlglot
from sqlglot import Token, TokenType, exp
from sqlglot.dialects.postgres import Postgres
from sqlglot.errors import SqlglotError

__all__ = ["LONGEST_SQL", "Action", "Control", "Slot", "Statement", "read"]

# The beginning of a longer one tells what it writes; the rest is data.
LONGEST_SQL = 16 * 1024

_WORKFLOW_COLUMNS = frozenset({"workflow_uuid", "workflow_id", "destination_uuid"})
_STEP_COLUMNS = frozenset({"function_id", "step_id", "consumed_by_function_id"})
# The states of a workflow are so many kinds of write.
_STATED = {"dbos.workflow_status": "status"}
_PARSED = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "SELECT", "WITH", "COPY"})
_VERBS = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE"})
_READS = frozenset(
    {
        "SELECT", "WITH", "VALUES", "TABLE", "SHOW", "SET", "RESET", "LISTEN", "UNLISTEN", "NOTIFY",
        "FETCH", "MOVE", "CLOSE", "DECLARE", "DEALLOCATE", "DISCARD", "LOCK", "CHECKPOINT", "LOAD",
        "EXPLAIN", "PREPARE",
    }
)  # fmt: skip
# Commands whose second word says to what kind of thing they do it.
_OF_KINDS = frozenset({"CREATE", "ALTER", "DROP", "COMMIT", "ROLLBACK", "REFRESH", "IMPORT"})
# Words between what is done and the name of what it is done to.
_FILLERS = frozenset(
    {
        "OR", "REPLACE", "UNIQUE", "TEMP", "TEMPORARY", "UNLOGGED", "CONCURRENTLY", "IF", "NOT",
        "EXISTS", "ONLY", "LOCAL", "GLOBAL", "INTO", "FROM", "MATERIALIZED", "RECURSIVE", "ON",
    }
)  # fmt: skip

# A placeholder's number, or a literal as it stands.
Slot: TypeAlias = int | str


class Control(Enum):
    """What a statement does to the transaction it is in."""

    BEGIN = auto()
    COMMIT = auto()
    ROLLBACK = auto()
    SAVEPOINT = auto()
    ROLLBACK_TO = auto()
    RELEASE = auto()


_CONTROLS = {
    "BEGIN": Control.BEGIN,
    "START TRANSACTION": Control.BEGIN,
    "COMMIT": Control.COMMIT,
    "END": Control.COMMIT,
    "PREPARE TRANSACTION": Control.COMMIT,
    "ROLLBACK": Control.ROLLBACK,
    "ABORT": Control.ROLLBACK,
    "SAVEPOINT": Control.SAVEPOINT,
    "RELEASE": Control.RELEASE,
}


@dataclass(frozen=True, slots=True)
class Action:
    """One kind of write to one table, and where the statement has the ids and the state.

    Of several workflows there is one slot each; a step is told only for a single row.
    """

    verb: str
    table: str
    workflows: tuple[Slot, ...] = ()
    step: Slot | None = None
    state: Slot | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. ``counted``: the rows in its command tag are all that it writes.

    ``savepoint`` is the name in SAVEPOINT and ROLLBACK TO. ``copies_in``: its rows come in
    messages of their own.
    """

    actions: tuple[Action, ...] = ()
    control: Control | None = None
    savepoint: str = ""
    counted: bool = False
    copies_in: bool = False


@lru_cache(maxsize=4096)
def read(sql: str) -> tuple[Statement, ...]:
    """Read the statements of ``sql``, in order; empty ones are left out."""
    try:
        tokens = Postgres.Tokenizer().tokenize(sql[:LONGEST_SQL])
    except SqlglotError:
        # Cut off within a string, or no SQL: its first words are all there is to go by.
        words = sql[:LONGEST_SQL].split(None, 4)[:4]
        return (_from_words([word.strip("(").replace('"', "") for word in words]),)
    return tuple(_statement(sql, part) for part in _split(tokens))


def _split(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    part: list[Token] = []
    for token in tokens:
        if token.token_type is not TokenType.SEMICOLON:
            part.append(token)
        elif part:
            yield part
            part = []
    if part:
        yield part


def _statement(sql: str, tokens: Sequence[Token]) -> Statement:
    words = _words(tokens)
    if not words:
        # An empty string or name: no statement, which the server refuses.
        return Statement()
    if (ending := _control(words, tokens)) is not None:
        return ending
    keywords = {word.upper() for word in words}
    if words[0].upper() in _PARSED and _may_write(keywords, tokens):
        text = sql[tokens[0].start : tokens[-1].end + 1]
        try:
            return _from_tree(sqlglot.parse_one(text, read="postgres"))
        except SqlglotError:
            if keywords & _VERBS and words[0].upper() in {"SELECT", "WITH"}:
                return Statement((Action("write", _target(words)),))
    return _from_words(words)


def _may_write(keywords: set[str], tokens: Sequence[Token]) -> bool:
    """Return whether a look at the tree is worth its millisecond."""
    if keywords & (_VERBS | {"INTO", "COPY"}):
        return True
    kinds = [token.token_type for token in tokens]
    return any(
        kinds[at] is TokenType.DOT and kinds[at + 2 : at + 3] == [TokenType.L_PAREN]
        for at in range(len(kinds))
    )


def _words(tokens: Sequence[Token]) -> list[str]:
    """Return the words of a statement, names with their schema in one piece."""
    words: list[str] = []
    dotted = False
    for token in tokens:
        if token.token_type is TokenType.DOT and words:
            words[-1] += "."
            dotted = True
        elif dotted:
            words[-1] += _folded(token)
            dotted = False
        elif token.token_type is TokenType.IDENTIFIER:
            words += [token.text] if token.text else []
        else:
            # A command that sqlglot does not know is one word and a string with the rest of it.
            words += _folded(token).split()
    return words


def _folded(token: Token) -> str:
    """Return the text of ``token`` as PostgreSQL reads it, small unless it stands in quotes."""
    return token.text if token.token_type is TokenType.IDENTIFIER else token.text.lower()


def _control(words: Sequence[str], tokens: Sequence[Token]) -> Statement | None:
    first, *rest = (word.upper() for word in words[:4])
    second = rest[0] if rest else ""
    if second == "PREPARED":
        return None
    control = _CONTROLS.get(f"{first} {second}") or _CONTROLS.get(first)
    if control is Control.ROLLBACK and "TO" in rest:
        control = Control.ROLLBACK_TO
    if control is None:
        return None
    last = tokens[-1]
    quoted = last.token_type is TokenType.IDENTIFIER
    return Statement(control=control, savepoint=last.text if quoted else last.text.lower())


def _from_words(words: Sequence[str]) -> Statement:
    """Read a statement that is not parsed: what it begins with, and the first name in it."""
    keywords = [word.upper() for word in words]
    # EXPLAIN ANALYZE does what it explains.
    if not words or (keywords[0] in _READS and "ANALYZE" not in "".join(keywords[1:2])):
        return Statement()
    first = words[0].lower()
    if first == "copy":
        # What stands in parentheses is a query, and goes out.
        inward = "FROM" in keywords and words[1] != "("
        copied = Statement((Action(first, _target(words)),), counted=True, copies_in=True)
        return copied if inward else Statement()
    if keywords[0] in _OF_KINDS and len(words) > 1:
        at = next((at for at, word in enumerate(keywords) if at and word not in _FILLERS), 1)
        return Statement((Action(f"{first} {words[at].lower()}", _target(words[at:])),))
    target = "" if first in {"do", "explain"} else _target(words)
    return Statement((Action(first, target),), counted=keywords[0] in _VERBS)


def _target(words: Sequence[str]) -> str:
    return next((word for word in words[1:] if word.upper() not in _FILLERS), "").split("(")[0]


def _from_tree(tree: exp.Expr) -> Statement:
    found = [node for node in tree.dfs() if isinstance(node, _WRITING) and _counts(node)]
    # Those of a WITH are done first, and are what a reader finds first.
    found.sort(key=lambda node: node.find_ancestor(exp.CTE) is None)
    actions = tuple(_action(node) for node in found)
    return Statement(
        actions,
        counted=len(found) == 1 and found[0] is tree,
        copies_in=isinstance(tree, exp.Copy) and bool(actions),
    )


_WRITING = (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Copy, exp.Into, exp.Dot)


def _counts(node: exp.Expr) -> bool:
    if isinstance(node, exp.Copy):
        return bool(node.args.get("kind"))  # FROM
    if isinstance(node, exp.Dot):
        # A function of a schema of its own may do anything; those of pg_catalog that write
        # (setval, lo_put) do so outside the transaction, or are not for workflows.
        return isinstance(node.expression, exp.Anonymous) and node.this.name != "pg_catalog"
    # The branches of a MERGE are one write with it.
    return node.find_ancestor(exp.When) is None


def _action(node: exp.Expr) -> Action:
    if isinstance(node, exp.Dot):
        return Action("select", f"{node.this.name}.{node.expression.name}()".lower())
    table = node.find(exp.Table)
    name = "" if table is None else ".".join(map(_named, filter(None, _parts(table))))
    if isinstance(node, exp.Into):
        return Action("create table", name)
    rows = list(_inserted(node)) if isinstance(node, exp.Insert) else []
    if isinstance(node, exp.Insert):
        pairs = [pair for row in rows for pair in row]
    else:
        pairs = list(_assigned(node))
    single = len(rows) <= 1
    steps = _slots(pairs, _STEP_COLUMNS)
    states = _slots(pairs, {_STATED[name]}) if name in _STATED else []
    return Action(
        node.key,
        name,
        workflows=tuple(_slots(_where(node) or pairs, _WORKFLOW_COLUMNS)),
        step=next(iter(steps or _slots(_where(node), _STEP_COLUMNS)), None) if single else None,
        state=next(iter(states), None),
    )


def _parts(table: exp.Table) -> Sequence[exp.Expr | None]:
    return table.args.get("db"), table.this


def _named(identifier: exp.Expr) -> str:
    quoted = isinstance(identifier, exp.Identifier) and bool(identifier.args.get("quoted"))
    return identifier.name if quoted else identifier.name.lower()


_Pairs: TypeAlias = Sequence[tuple[str, exp.Expr]]


def _slots(pairs: _Pairs, columns: Iterable[str]) -> list[Slot]:
    found = (_slot(value) for column, value in pairs if column in columns)
    return [slot for slot in found if slot is not None]


def _slot(value: exp.Expr) -> Slot | None:
    while isinstance(value, (exp.Cast, exp.Alias, exp.Paren)):
        value = value.this
    if isinstance(value, exp.Parameter) and value.name.isdecimal():
        return int(value.name)
    return str(value.this) if isinstance(value, exp.Literal) else None


def _inserted(node: exp.Insert) -> Iterator[list[tuple[str, exp.Expr]]]:
    """Return, by row, the columns and what goes into them."""
    if not isinstance(node.this, exp.Schema):
        return
    columns = [column.name for column in node.this.expressions]
    source = node.expression
    if isinstance(source, exp.Select):
        yield list(zip(columns, source.expressions, strict=False))
    elif isinstance(source, exp.Values):
        for row in source.expressions:
            yield list(zip(columns, row.expressions, strict=False))


def _assigned(node: exp.Expr) -> Iterator[tuple[str, exp.Expr]]:
    for equation in node.expressions:
        if isinstance(equation, exp.EQ):
            yield equation.this.name, equation.expression


def _where(node: exp.Expr) -> list[tuple[str, exp.Expr]]:
    """Return the columns that are compared with one value or a list of them, in conditions that
    must all hold.
    """
    where = node.args.get("where")
    if where is None:
        return []
    condition = where.this
    found: list[tuple[str, exp.Expr]] = []
    for part in condition.flatten() if isinstance(condition, exp.And) else [condition]:
        if isinstance(part, exp.EQ):
            found.append((part.this.name, part.expression))
        elif isinstance(part, exp.In):
            found += [(part.this.name, value) for value in part.expressions]
    return found
