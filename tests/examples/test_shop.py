"""The shop's suite passes, its broken test shows what a failure looks like, and it sells."""

from __future__ import annotations

import json
import shlex
from functools import partial
from pathlib import Path
from xml.etree import ElementTree as ET

import anyio
import psycopg
import pytest

from aexp.database import DatabaseUrl
from aexp.testing import HttpStub
from tests.examples.shop import ci_command, copy_examples, run

_TESTS = 5


def sarif_places(file: Path) -> list[tuple[str, str]]:
    """Code and file of each result."""
    (found,) = json.loads(file.read_text())["runs"]
    return [
        (result["ruleId"], result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"])
        for result in found["results"]
    ]


@pytest.mark.nightly
def test_the_suite_passes_as_the_ci_workflow_runs_it(server: DatabaseUrl, tmp_path: Path) -> None:
    copy_examples(tmp_path)
    command = [*ci_command("pytest"), "-rs", "--aexp-points", "1"]
    ran = run(command, tmp_path, server.with_name("postgres"))
    assert ran.returncode == 0, ran.stdout
    assert f"{_TESTS - 1} passed, 1 skipped" in ran.stdout
    assert "fails on purpose: pytest --show-broken shows how" in ran.stdout
    assert "4 explorations: 4 of 4 points verified, 0 findings" in ran.stdout
    cases = ET.parse(tmp_path / "junit.xml").getroot().findall(".//testcase")
    assert len(cases) == _TESTS
    assert len([case for case in cases if case.find("properties") is not None]) == _TESTS - 1
    assert sarif_places(tmp_path / "results.sarif") == []


def test_the_broken_one_tells_what_is_wrong_and_how_to_see_it_again(
    server: DatabaseUrl, tmp_path: Path
) -> None:
    copy_examples(tmp_path)
    # Where it breaks both promises at once.
    killed = "before:insert dbos.operation_outputs [~:1]#1"
    command = [*ci_command("pytest"), "--show-broken", "--aexp-replay", killed]
    command[command.index("examples/shop")] = "examples/shop/tests/test_broken.py"
    ran = run(command, tmp_path, server.with_name("postgres"))
    assert ran.returncode == 1, ran.stdout
    assert "AX025 a request twice" in ran.stdout
    assert "by step `charge_without_key`" in ran.stdout
    assert "AX022 other rows than without a fault" in ran.stdout
    assert "table public.stock ends with other values" in ran.stdout
    places = sarif_places(tmp_path / "results.sarif")
    assert {code for code, _ in places} == {"AX022", "AX025"}
    assert {(tmp_path / file).is_file() for _, file in places} == {True}
    lines = [line.strip() for line in ran.stdout.splitlines() if line.startswith("  pytest ")]
    assert len(lines) == 2
    # In the other mode of pytest's, in which the module has another name.
    chosen = ["--show-broken", "--import-mode", "importlib"]
    again = ["python", "-m", *shlex.split(lines[0]), *chosen]
    replayed = run(again, tmp_path, server.with_name("postgres"))
    assert replayed.returncode == 1, replayed.stdout
    assert "AX022 other rows than without a fault  at 1 of 1 points" in replayed.stdout


def test_a_mug_is_sold_without_tests(database: DatabaseUrl, tmp_path: Path) -> None:
    shop = copy_examples(tmp_path)

    async def sell() -> tuple[list[str], int]:
        async with HttpStub.from_file(str(shop / "tests" / "payments.yaml")).serve() as served:
            told = []
            for order in ("A17", "A17", "B18"):
                command = ["python", "-m", "shop", order]
                addresses = {
                    "DBOS_SYSTEM_DATABASE_URL": database.libpq,
                    "PAYMENTS_URL": served.url,
                }
                selling = partial(run, command, shop, environment=addresses)
                sold = await anyio.to_thread.run_sync(selling)
                assert sold.returncode == 0, sold.stdout
                told.append(sold.stdout.splitlines()[-1])
            return told, len(served.requests)

    deploy = "import sys, shop.database as d; d.deploy(sys.argv[1])"
    assert run(["python", "-c", deploy, database.libpq], shop).returncode == 0
    with psycopg.connect(database.libpq) as connection:
        connection.execute("INSERT INTO stock VALUES ('mug', 1)")
    assert anyio.run(sell) == (["paid", "paid", "sold out"], 1)
