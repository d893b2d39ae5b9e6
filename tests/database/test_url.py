"""One URL in the forms of each driver: drivers read back what was meant, people no password."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

import psycopg
import pytest
from asyncpg import connect_utils
from hypothesis import example, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.engine import make_url
from sqlalchemy.engine import url as sqlalchemy_url

from aexp.database import DatabaseUrl
from aexp.errors import UsageError

# PostgreSQL takes any character but NUL in a name or password.
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
moderate = effort(max_examples=50, deadline=None, database=None)

# What asyncpg's own connect() reads from a URL (asyncpg 0.32, "Connection Parameters") …
READ_BY_ASYNCPG = frozenset(
    {"host", "port", "user", "password", "passfile", "dbname", "service", "servicefile"}
    | {"sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation"}
    | {"ssl_min_protocol_version", "ssl_max_protocol_version"}
    | {"target_session_attrs", "krbsrvname", "gsslib"}
)
# … and what the server itself reads from the start of a session.
READ_BY_SERVER = frozenset({"application_name", "client_encoding", "options", "replication"})


def url_with(
    *, user: str | None = "ada", password: str | None = None, name: str = "aexp", **query: str
) -> DatabaseUrl:
    return DatabaseUrl(
        sqlalchemy_url.URL.create(
            "postgresql", user, password, "db.example", 5433, database=name, query=query
        )
    )


def read_by_asyncpg(dsn: str) -> tuple[list[Any], Any]:
    """Addresses and parameters that asyncpg makes of ``dsn``."""
    read: Any = vars(connect_utils)["_parse_connect_dsn_and_args"]
    nothing: Mapping[str, Any] = dict.fromkeys(signature(read).parameters)
    addresses, parameters = read(**{**nothing, "dsn": dsn})[:2]
    return addresses, parameters


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://ada:secret@db.example:5433/aexp",
        "postgres://ada:secret@db.example:5433/aexp",
        "postgresql+psycopg://ada:secret@db.example:5433/aexp",
        "postgresql+asyncpg://ada:secret@db.example:5433/aexp",
    ],
)
def test_each_spelling_of_the_scheme_is_the_same_database(text: str) -> None:
    url = DatabaseUrl.parse(text)

    assert url == DatabaseUrl.parse("postgresql://ada:secret@db.example:5433/aexp")
    assert url.libpq == url.dsn == "postgresql://ada:secret@db.example:5433/aexp"
    assert url.name == "aexp"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "cannot be read"),
        ("ada:hunter2@db.example/aexp", "cannot be read"),
        ("postgresql://ada:hunter2@db.example:port/aexp", "cannot be read"),
        ("host=db.example password=hunter2", "cannot be read"),
        ("mysql://ada:hunter2@db.example/aexp", "names 'mysql', but aexp needs PostgreSQL"),
        ("sqlite:///aexp.db", "names 'sqlite', but aexp needs PostgreSQL"),
        ("postgresql://ada:hunter2@db.example", "names no database"),
        ("postgresql://ada:hunter2@db.example/", "names no database"),
    ],
)
def test_what_is_no_url_of_postgresql_is_refused_without_telling_its_password(
    text: str, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason) as raised:
        DatabaseUrl.parse(text)

    assert "hunter2" not in str(raised.value)


@given(middle=names)
@moderate
def test_the_password_is_in_nothing_that_is_shown(middle: str) -> None:
    password = f"hunter2{middle}swordfish"
    url = url_with(password=password)

    for shown in (str(url), repr(url), f"{url}", f"{url!r}", f"{DatabaseUrl.parse(url.libpq)}"):
        assert "hunter2" not in shown
        assert "swordfish" not in shown
        assert "db.example" in shown
    assert DatabaseUrl.parse(url.libpq).parsed.password == password


@pytest.mark.parametrize("option", ["password", "sslpassword"])
def test_a_password_among_the_options_is_hidden_too(option: str) -> None:
    url = DatabaseUrl.parse(f"postgresql://db.example/aexp?user=ada&{option}=hunter2")

    assert "hunter2" not in str(url)
    assert "hunter2" not in repr(url)
    assert "hunter2" in url.libpq


@given(user=names, password=names, name=names)
@example(user="ada", password="two words", name="aexp")
@example(user="ada", password="a+b", name="two words")
@example(user="@:/?#%", password="@:/?#[]%", name="?#%")
@moderate
def test_libpq_reads_what_was_meant(user: str, password: str, name: str) -> None:
    read = conninfo_to_dict(url_with(user=user, password=password, name=name).libpq)

    assert read == {
        "user": user,
        "password": password,
        "host": "db.example",
        "port": "5433",
        "dbname": name,
    }


@given(user=names, password=names, name=names)
@example(user="ada", password="a+b c", name="two words")
@example(user="@:/?#%", password="@:/?#[]%", name="?#%")
@moderate
def test_asyncpg_reads_what_was_meant(user: str, password: str, name: str) -> None:
    url = url_with(user=user, password=password, name=name, sslmode="disable")

    addresses, parameters = read_by_asyncpg(url.dsn)

    assert addresses == [("db.example", 5433)]
    assert (parameters.user, parameters.password) == (user, password)
    assert parameters.database == name
    assert not parameters.server_settings


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("application_name", "the nightly run"),
        ("options", "-c search_path=shop -c statement_timeout=5s"),
        ("host", "/run/my sockets"),
    ],
)
def test_an_option_with_spaces_reaches_both_drivers(option: str, value: str) -> None:
    url = DatabaseUrl(
        sqlalchemy_url.URL.create("postgresql", "ada", database="aexp", query={option: value})
    )

    addresses, parameters = read_by_asyncpg(url.dsn)
    if option == "host":
        assert addresses[0] == f"{value}/.s.PGSQL.5432"
    else:
        assert parameters.server_settings == {option: value}
    assert conninfo_to_dict(url.libpq)[option] == value


@given(folder=st.from_regex(r"/[a-z0-9_.-]{1,20}(/[A-Za-z0-9_.-]{1,20}){0,3}", fullmatch=True))
@moderate
def test_a_socket_folder_in_the_query_is_kept(folder: str) -> None:
    url = DatabaseUrl.parse(f"postgresql://ada@/aexp?host={folder}&connect_timeout=3")

    addresses, parameters = read_by_asyncpg(url.dsn)

    assert addresses[0] == f"{folder}/.s.PGSQL.5432"
    assert parameters.database == "aexp"
    assert conninfo_to_dict(url.libpq)["host"] == folder


@pytest.mark.parametrize("option", ["connect_timeout", "keepalives_idle", "channel_binding"])
def test_what_only_libpq_understands_is_dropped_for_asyncpg(option: str) -> None:
    url = url_with(sslmode="disable", **{option: "1"})

    assert url.dsn == url_with(sslmode="disable").dsn
    assert conninfo_to_dict(url.libpq)[option] == "1"


def test_no_option_of_libpq_becomes_a_setting_of_the_session() -> None:
    # asyncpg sends what it does not know to the server, which refuses the session.
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    only_libpq = known - READ_BY_ASYNCPG - READ_BY_SERVER
    assert "connect_timeout" in only_libpq

    left = make_url(url_with(**dict.fromkeys(only_libpq, "1")).dsn).query

    assert sorted(left) == []


def test_what_asyncpg_or_the_server_understands_is_kept() -> None:
    query = {"sslmode": "disable", "application_name": "nightly", "options": "-csearch_path=shop"}

    _, parameters = read_by_asyncpg(url_with(password="secret", **query).dsn)

    assert not parameters.ssl
    assert parameters.server_settings == {
        "application_name": "nightly",
        "options": "-csearch_path=shop",
    }


@given(name=names, other=names)
@moderate
def test_another_database_on_the_same_server(name: str, other: str) -> None:
    url = url_with(password="secret", name=name, sslmode="disable")

    another = url.with_name(other)

    assert (url.name, another.name) == (name, other)
    assert another.with_name(name) == url


@pytest.mark.parametrize(
    ("query", "timeout_s"),
    [
        ("", 10),
        ("?connect_timeout=3", 3),
        ("?connect_timeout=0", 10),
        ("?connect_timeout=-1", 10),
        ("?connect_timeout=soon", 10),
        ("?connect_timeout=", 10),
        ("?connect_timeout=3&connect_timeout=4", 10),
        ("?connect_timeout=²", 10),
    ],
)
def test_the_wait_for_a_connection(query: str, timeout_s: float) -> None:
    assert DatabaseUrl.parse(f"postgresql:///aexp{query}").connect_timeout_s == timeout_s
