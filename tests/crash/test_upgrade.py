"""New code takes up what old code has left: what breaks there is found, and patched code is not."""

from __future__ import annotations

import shutil
import subprocess
import textwrap

import psycopg
import pytest

from aexp.database import DatabaseUrl
from tests.conftest import TEMPLATE
from tests.examples.shop import SHOP
from tests.support.cli import Cli, Result
from tests.support.nightly import nightly_but

STEP = "after:insert dbos.operation_outputs [~:{}]#1"
OLD = """
from dbos import DBOS

@DBOS.step()
async def reserve(item: str) -> int:
    return 5

@DBOS.step()
async def approve(item: str) -> str:
    return "approved"

@DBOS.step()
async def ship(item: str) -> str:
    return "sent"

@DBOS.workflow()
async def order(item: str = "mug") -> str:
    price = await reserve(item)
    await approve(item)
    await ship(item)
    return f"{item} for {price}"
"""
CHARGE = """
@DBOS.step()
async def charge(item: str) -> str:
    return "charged"
"""
RESERVED = "    price = await reserve(item)\n"
PATCHED = f"""{RESERVED}    if await DBOS.patch_async("charge"):
        await charge(item)
"""

# What the new code has in the place of the old, and what becomes of a run at which point.
WRONG = {
    "added": ([(RESERVED, f"{RESERVED}    await charge(item)\n")], STEP.format(2), "AX017"),
    "removed": ([("    await approve(item)\n", "")], STEP.format(2), "AX017"),
    "renamed": ([("approve(", "agree(")], STEP.format(2), "AX017"),
    "reordered": (
        [("    await approve(item)\n    await ship(item)\n",
          "    await ship(item)\n    await approve(item)\n")],
        STEP.format(2),
        "AX017",
    ),
    "argument": ([("await approve(item)", "await approve(item.upper())")], STEP.format(2), "AX011"),
    "type": (
        [("-> int:\n    return 5", '-> dict:\n    return {"net": 5}'),
         ("{price}", "{price['net']}")],
        STEP.format(1),
        "AX047",
    ),
    "workflow": (
        [("async def order(", "async def place_order("), ("\nCODE", "\norder = place_order")],
        STEP.format(1),
        "AX046",
    ),
}  # fmt: skip
RIGHT = {
    "patched": (
        [(RESERVED, PATCHED)],
        STEP.format(2),
    ),
    "at the end": (
        [("    await ship(item)\n", "    await ship(item)\n    await charge(item)\n")],
        STEP.format(3),
    ),
    "kept name": (
        [("@DBOS.step()\nasync def approve(", '@DBOS.step(name="approve")\nasync def agree('),
         ("await approve(", "await agree(")],
        STEP.format(2),
    ),
    "both types": (
        [("-> int:\n    return 5", '-> dict:\n    return {"net": 5}'),
         ("{price}", "{price if isinstance(price, int) else price['net']}")],
        STEP.format(1),
    ),
    "kept workflow": (
        [("@DBOS.workflow()\nasync def order(",
          '@DBOS.workflow(name="order")\nasync def place_order('),
         ("\nCODE", "\norder = place_order")],
        STEP.format(1),
    ),
    "new argument": (
        [('item: str = "mug")', 'item: str = "mug", gift: bool = False)')],
        STEP.format(1),
    ),
    "argument that none gave": (
        [('order(item: str = "mug") -> str:\n', 'order() -> str:\n    item = "mug"\n')],
        STEP.format(1),
    ),
    "moved lines": ([("from dbos", "# moved\n\n\nfrom dbos")], STEP.format(2)),
}  # fmt: skip

CLASSES = """
from dbos import DBOS, DBOSConfiguredInstance

@DBOS.step()
async def note(item: str) -> str:
    return "noted"

@DBOS.dbos_class()
class Shop(DBOSConfiguredInstance):
    @DBOS.workflow()
    async def order(self, item: str = "mug") -> str:
        await note(item)
        return "ordered"

order = Shop("corner").order
"""
QUEUES = """
from dbos import DBOS

DBOS.register_queue("mails", polling_interval_sec=0.1)

@DBOS.workflow()
async def ship(item: str) -> str:
    return "sent"

@DBOS.workflow()
async def order(item: str = "mug") -> str:
    handle = await DBOS.enqueue_workflow_async("mails", ship, item)
    return await handle.get_result(polling_interval_sec=0.05)
"""


def upgraded(
    cli: Cli, old: str, new: str, point: str | None = None, *options: str
) -> tuple[Result, dict[str, str]]:
    """What comes of runs of ``old`` under ``new``, by the moment of the deployment."""
    for name, text in (("old", old), ("new", new)):
        folder = cli.folder / name
        folder.mkdir()
        (folder / "flows.py").write_text(text)
    chosen = () if point is None else ("--replay", point)
    done = cli(
        "upgrade", "new/flows.py:order", "--from", "old",
        "--template", TEMPLATE, "--json", *chosen, *options,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done, {each["moment"]: each["became"] for each in done.json["points"]}


def changed(changes: list[tuple[str, str]]) -> str:
    text = f"{OLD}{CHARGE}\nCODE"
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text.replace("\nCODE", "")


@pytest.mark.parametrize("name", nightly_but(WRONG, "added", "type"))
def test_what_breaks_a_run_in_flight_is_found(cli: Cli, name: str) -> None:
    changes, point, code = WRONG[name]
    done, _ = upgraded(cli, OLD, changed(changes), point)
    assert done.code == 1, done.stdout
    assert [each["code"] for each in done.json["findings"]] == [code], done.stdout


@pytest.mark.parametrize("name", nightly_but(RIGHT, "patched"))
def test_code_that_minds_runs_in_flight_is_not_accused(cli: Cli, name: str) -> None:
    changes, point = RIGHT[name]
    done, moments = upgraded(cli, OLD, changed(changes), point)
    assert done.code == 0, done.stdout
    assert set(moments.values()) <= {"goes on", "goes on to another result"}


def test_old_code_in_a_folder_of_the_new(cli: Cli) -> None:
    """Each code has its own modules, although one of the folders lies in the other."""
    for name, text, size in ((".", changed(WRONG["added"][0]), 2), ("before", OLD, 1)):
        folder = cli.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "sizes.py").write_text(f"SIZE = {size}\n")
        (folder / "flows.py").write_text(f"from sizes import SIZE\n{text}\nassert SIZE == {size}\n")
    done = cli(
        "upgrade", "flows.py:order", "--from", "before", "--template", TEMPLATE, "--json",
        "--replay", STEP.format(2),
    )  # fmt: skip
    assert done.code == 1, done.stderr
    assert [each["code"] for each in done.json["findings"]] == ["AX017"]


def test_each_moment_of_a_deployment_is_told(cli: Cli) -> None:
    done, moments = upgraded(cli, OLD, changed(WRONG["added"][0]))
    assert moments == {
        "after the beginning": "goes on",
        "after step 1 `reserve`": "goes on",
        "after step 2 `approve`": "diverges",
        "after step 3 `ship`": "diverges",
    }
    (found,) = done.json["findings"]
    assert "was `approve` with ('mug',)" in found["summary"]
    assert "its replay calls `charge` with ('mug',)" in found["summary"]
    told = cli(
        "upgrade", "new/flows.py:order", "--from", "old", "--template", TEMPLATE,
        "--replay", STEP.format(2),
    )  # fmt: skip
    assert "deployed after step 2 `approve`" in told.stdout
    assert "aexp upgrade new/flows.py:order --from old" in told.stdout
    assert "a run stays PENDING until a process of its version recovers it" in told.stdout


def test_a_result_of_neither_code_is_told_and_breaks_nothing(cli: Cli) -> None:
    new = OLD.replace("return 5", "return 6").replace("item} for", "item} at")
    done, moments = upgraded(cli, OLD, new, STEP.format(1))
    assert done.code == 0
    assert list(moments.values()) == ["goes on to another result"]
    (found,) = done.json["findings"]
    assert found["code"] == "AX095"
    assert found["rows"] == [
        {"result": "mug at 5", "old_code": "mug for 5", "new_code": "mug at 6"}
    ]


@pytest.mark.parametrize(
    ("new", "became"),
    [
        (CLASSES.replace("class Shop(", "class Store(").replace("Shop(", "Store("), "cannot go on"),
        (CLASSES.replace('Shop("corner")', 'Shop("market")'), "cannot go on"),
        (
            CLASSES.replace("dbos_class()", 'dbos_class(class_name="Shop")')
            .replace("DBOS.workflow()", 'DBOS.workflow(name="Shop.order")')
            .replace("class Shop(", "class Store(")
            .replace('= Shop("', '= Store("'),
            "goes on",
        ),
    ],
)
@pytest.mark.nightly
def test_a_class_or_an_instance_that_is_gone_is_found(cli: Cli, new: str, became: str) -> None:
    done, moments = upgraded(cli, CLASSES, new, STEP.format(1))
    assert list(moments.values()) == [became], done.stdout
    assert done.code == (became != "goes on")


@pytest.mark.nightly
def test_a_queue_that_is_renamed_is_still_served(cli: Cli) -> None:
    """DBOS keeps queues in its database, so that whoever comes later serves them, too."""
    new = QUEUES.replace('"mails"', '"post"')
    done, moments = upgraded(cli, QUEUES, new)
    assert len(moments) > 3
    assert set(moments.values()) == {"goes on"}, done.stdout


@pytest.mark.nightly
def test_code_at_a_revision_and_its_neighbours(cli: Cli, database: DatabaseUrl) -> None:
    project = cli.folder / "project"
    shutil.copytree(SHOP, project, ignore=shutil.ignore_patterns(".*", "tests", "__pycache__"))

    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", *who, *words], cwd=project, check=True, capture_output=True)

    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "one")
    with psycopg.connect(database.libpq) as connection:
        connection.execute("CREATE TABLE stock (item text PRIMARY KEY, pieces int)")
        connection.execute(
            "CREATE TABLE deliveries"
            " (workflow_id text, item text, pieces int, PRIMARY KEY (workflow_id, item))"
        )
    stock = project / "shop" / "stock.py"
    # The new step stands in a module that the old code does not have.
    (project / "shop" / "notes.py").write_text(
        textwrap.dedent('''
            from dbos import DBOS

            @DBOS.step()
            def note(delivery: dict[str, int]) -> int:
                """Note how much is to come."""
                return sum(delivery.values())
        ''')
    )
    loop = "    for item, pieces in delivery.items():\n        put_on_shelf"
    text = stock.read_text().replace("from dbos import DBOS\n", "from dbos import DBOS\n\n"
                                     "from shop.notes import note\n")  # fmt: skip
    stock.write_text(text.replace(loop, f"    note(delivery)\n{loop}"))
    git("add", "-A")
    git("commit", "-qm", "two")
    command = (
        "upgrade", "project/shop/stock.py:restock", "--from", "HEAD~1", "--json",
        "--set", 'delivery={"mug": 2, "cup": 1}', "--template", database.name,
    )  # fmt: skip
    broken = cli(*command)
    assert broken.code == 1, broken.stderr
    assert {each["moment"]: each["became"] for each in broken.json["points"]} == {
        "after the beginning": "goes on",
        "after insert deliveries + insert stock#1": "goes on",
        "after step 1 `put_on_shelf`": "diverges",
        "after insert deliveries + insert stock#2": "diverges",
        "after step 2 `put_on_shelf`": "diverges",
    }
    patched = '    if DBOS.patch("note"):\n        note(delivery)\n'
    stock.write_text(text.replace(loop, f"{patched}{loop}"))
    held = cli(*command)
    assert held.code == 0, held.stdout
    assert {each["became"] for each in held.json["points"]} == {"goes on"}
    # Nothing of it is left in the project.
    left = subprocess.run(
        ["git", "worktree", "list"], cwd=project, check=True, capture_output=True, text=True
    )
    assert len(left.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("target", "origin", "told"),
    [
        ("flows.py:order", "nowhere", "'nowhere' is no file or folder, nor a revision of git: "),
        ("flows.py:order", "empty", "/empty has no flows.py: there is no old code of "),
        ("flows.py:order", "other.py", "is another module than flows.py"),
        ("flows.py:order", "flows.py", "/flows.py is the code as it is now: give a folder"),
        ("resume", "HEAD", "resume is installed, and its old code cannot be found beside it"),
        ("flows.py:order", "before", "has no 'order'"),
    ],
)
def test_old_code_that_is_not_there_is_one_line(
    cli: Cli, target: str, origin: str, told: str
) -> None:
    (cli.folder / "flows.py").write_text(OLD)
    (cli.folder / "other.py").write_text(OLD)
    for name in ("empty", "before"):
        (cli.folder / name).mkdir()
    (cli.folder / "before" / "flows.py").write_text("")
    done = cli("upgrade", target, "--from", origin)
    assert done.code == 2, done.stderr
    assert told in done.error
