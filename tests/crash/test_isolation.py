"""No experiment reaches what another one has written, nor what is the user's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from aexp.crash.experiment.outside import Enclosure, OutsideReached, find_outside, raise_if_outside
from aexp.crash.experiment.user_databases import UserDatabase, find_user_databases
from aexp.database import DatabaseUrl
from aexp.errors import UsageError
from tests.conftest import TEMPLATE
from tests.support.cli import Cli
from tests.support.explorations import PLANTED

OUTSIDE = f"{PLANTED}/outside.py"
STEP = "before:insert dbos.operation_outputs [~:1]#1"
INSIDE = Enclosure(folder="/tmp/point", name="own", copies=["aexp_crash_1"], note="outside")
# Each connects to URL and takes no failure seriously.
DRIVERS = {
    "psycopg": "import psycopg\npsycopg.connect(URL).execute('SELECT 1')",
    "psycopg-async": ("import asyncio, psycopg\nasyncio.run(psycopg.AsyncConnection.connect(URL))"),
    "asyncpg": "import asyncio, asyncpg\nasyncio.run(asyncpg.connect(URL))",
    "asyncpg-pool": "import asyncio, asyncpg\nasyncio.run(pool())",
    "sqlalchemy": (
        "import sqlalchemy\n"
        "url = sqlalchemy.make_url(URL).set(drivername='postgresql+psycopg')\n"
        "sqlalchemy.create_engine(url).connect()"
    ),
}
PROGRAM = """
import contextlib, json, sys, warnings
warnings.simplefilter("ignore")
from aexp.crash.experiment.outside import Enclosure, enclose
enclose(Enclosure(**json.loads(sys.argv[1])))
URL = sys.argv[2]
async def pool():
    import asyncpg
    async with asyncpg.create_pool(URL, min_size=1) as connections:
        await connections.fetchval("SELECT 1")
try:
{connects}
except Exception as error:
    print(f"hidden: {{error}}")
print("went on")
"""


@pytest.mark.parametrize(
    ("host", "database", "outside"),
    [
        ("/tmp/point", "own", None),
        ("db.example", "aexp_crash_1", None),
        ("/tmp/point", "postgres", "postgresql:///postgres?host=/tmp/point&port=5432"),
        ("/tmp/other", "own", "postgresql:///own?host=/tmp/other&port=5432"),
        ("db.example", "own", "postgresql://db.example:5432/own"),
    ],
)
def test_inside_is_its_own_socket_and_its_copies(
    host: str, database: str, outside: str | None
) -> None:
    assert find_outside(INSIDE, host, 5432, database) == outside


def test_a_note_of_a_worker_outside_ends_it_all_with_the_ways_out(tmp_path: Path) -> None:
    note = tmp_path / "outside"
    raise_if_outside(note)
    note.write_text("postgresql://db.example:5432/shop")
    with pytest.raises(OutsideReached, match=r"example:5432/shop; .*--database-env .*--allow-out"):
        raise_if_outside(note)


def connecting(driver: str, url: DatabaseUrl, enclosure: Enclosure) -> tuple[int, str, str]:
    """How a process in ``enclosure`` ends that connects to ``url``."""
    connects = "\n".join(f"    {line}" for line in DRIVERS[driver].splitlines())
    done = subprocess.run(
        [
            sys.executable, "-c", PROGRAM.format(connects=connects),
            json.dumps(dict(enclosure.payload())), url.libpq,
        ],
        capture_output=True, text=True, check=False, env={**os.environ},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_process_that_reaches_outside_ends_whatever_it_catches(
    driver: str, server: DatabaseUrl, tmp_path: Path
) -> None:
    note = tmp_path / "outside"
    inside = Enclosure.around(server, [], note)
    assert connecting(driver, server, inside) == (0, "went on\n", "")
    assert not note.exists()

    elsewhere = Enclosure.around(server.with_name("own"), [], note)
    code, out, err = connecting(driver, server, elsewhere)
    assert (code, out) == (2, "")
    assert f"postgresql:///{server.name}?host={server.socket_folder}" in err
    assert note.read_text() in err


def test_variables_must_name_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_URL", "postgresql+asyncpg://u:hidden@db.example/shop?ssl=prefer")
    monkeypatch.setenv("FILE_URL", "sqlite:///shop")
    (shop,) = find_user_databases(["SHOP_URL", "SHOP_URL"])
    assert isinstance(shop, UserDatabase)
    assert shop.written_for(shop.url.with_name("copy")) == (
        "postgresql+asyncpg://u:hidden@db.example/copy?ssl=prefer"
    )
    with pytest.raises(UsageError, match="--database-env FILE_URL: the database URL names 'sqlite"):
        find_user_databases(["FILE_URL"])
    with pytest.raises(UsageError, match="--database-env NO_URL: the variable is not set"):
        find_user_databases(["NO_URL"])


@pytest.mark.nightly
def test_a_workflow_that_books_elsewhere_is_refused_and_with_a_copy_of_that_it_is_judged(
    cli: Cli, empty_database: DatabaseUrl
) -> None:
    cli.environment = {"SHOP_URL": empty_database.libpq}
    options = ["--template", TEMPLATE, "--replay", STEP]
    refused = cli("crash", f"{OUTSIDE}:sell", *options)
    assert refused.code == 2, refused.stdout
    assert f"than its experiment's: postgresql:///{empty_database.name}?" in refused.error
    # Each point has a copy of it, where no other has booked, and ids of its own are no difference.
    options += ["--database-env", "SHOP_URL", "--json"]
    copied = cli("crash", f"{OUTSIDE}:sell", *options)
    assert copied.code == 0, copied.stderr
    assert (copied.json["verified"], copied.json["broken"]) == (1, [])
    # Its rows are compared, too.
    doubled = cli("crash", f"{OUTSIDE}:sell_twice", *options)
    assert doubled.code == 1, doubled.stderr
    assert "table SHOP_URL.public.booked ends with 2 rows, 1 without a fault" in doubled.stdout
    with psycopg.connect(empty_database.libpq) as connection:
        made = connection.execute("SELECT to_regclass('booked'), to_regnamespace('dbos')")
        assert made.fetchone() == (None, None)
