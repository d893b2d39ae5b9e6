"""What became durable, by the server's own account: its write-ahead log, read with pg_waldump."""

from __future__ import annotations

import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from aexp.database import DatabaseUrl, programs

_RECORD = re.compile(r"rmgr: (\w+) .*? tx: +(\d+), .*? desc: (\S+)(.*)")
_RELATION = re.compile(r"rel \d+/(\d+)/(\d+)")
_SUBTRANSACTIONS = re.compile(r"subxacts:((?: \d+)+)")
_CHANGES = {"INSERT", "INSERT+INIT", "MULTI_INSERT", "MULTI_INSERT+INIT", "DELETE", "UPDATE"}
_CHANGES |= {"UPDATE+INIT", "HOT_UPDATE"}


@dataclass
class Durable:
    """By the tables that they changed, how many transactions were committed."""

    commits: Counter[frozenset[str]] = field(default_factory=Counter)


@contextmanager
def durable(url: DatabaseUrl) -> Iterator[Durable]:
    """Filled on the way out: the transactions of the database that were committed meanwhile and
    changed rows of its tables."""
    found = Durable()
    with psycopg.connect(url.libpq, autocommit=True) as connection:
        start = _one(connection, "SELECT pg_current_wal_flush_lsn()::text")
        yield found
        # Only what is flushed can be read: a commit of our own flushes what was before it.
        connection.execute("CREATE TEMPORARY TABLE flushed ()")
        end = _one(connection, "SELECT pg_current_wal_flush_lsn()::text")
        folder = _one(connection, "SHOW data_directory")
        oid = _one(
            connection, "SELECT oid::text FROM pg_database WHERE datname = current_database()"
        )
        names: dict[str, str] = dict(
            connection.execute(
                "SELECT pg_relation_filenode(c.oid)::text, ltrim(nspname || '.' || relname, '.')"
                " FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
                " WHERE relkind = 'r' AND nspname NOT IN ('pg_catalog', 'information_schema')"
                " AND nspname NOT LIKE 'pg_temp%'"
            ).fetchall()
        )
    arguments = ["--start", start, "--end", end, "--path", f"{folder}/pg_wal"]
    pg_waldump = programs.program("pg_waldump")
    assert pg_waldump is not None
    listing = subprocess.run([pg_waldump, *arguments], capture_output=True, text=True, check=True)
    found.commits = _commits(listing.stdout, oid, names)


def _one(connection: psycopg.Connection, statement: str) -> str:
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return str(row[0])


def _commits(listing: str, oid: str, names: dict[str, str]) -> Counter[frozenset[str]]:
    changed: defaultdict[str, set[str]] = defaultdict(set)
    commits: Counter[frozenset[str]] = Counter()
    for line in listing.splitlines():
        record = _RECORD.match(line)
        if record is None:
            continue
        manager, transaction, what, rest = record.groups()
        if manager in {"Heap", "Heap2"} and what in _CHANGES:
            for database, node in _RELATION.findall(rest):
                if database == oid and node in names:
                    changed[transaction].add(names[node])
        elif manager == "Transaction" and what == "COMMIT":
            members = [transaction]
            for under in _SUBTRANSACTIONS.findall(rest):
                members += under.split()
            tables = frozenset().union(*(changed[member] for member in members))
            if tables:
                commits[tables] += 1
    return commits
