"""The check of the walls around DBOS finds what breaks one, and nothing else."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "walls"

CLEAN = '''
"""Speaks of dbos.workflow_status, and of dbos._context."""

from dbos import DBOS

TABLE = "aexp.runs JOIN dbos"
FILE = "dbos-config.yaml"


def sleep() -> None:
    """Take the place of what dbos.operation_outputs calls DBOS.sleep."""
    DBOS.sleep(1)
    DBOS.__doc__
'''


@pytest.fixture(scope="module")
def walls() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("walls", str(SCRIPT))
    spec = importlib.util.spec_from_loader("walls", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    # A checkout is no place for the bytecode of a script.
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = kept
    return module


def _complaints(
    walls: ModuleType, root: Path, excepted: Mapping[tuple[str, str], str] | None = None
) -> list[str]:
    return list(walls.complaints(list(walls.find_breaches(root)), excepted or {}))


def _plant(root: Path, name: str, source: str) -> str:
    path = root / "aexp" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
    return path.relative_to(root).as_posix()


def test_a_clean_tree_passes(walls: ModuleType, tmp_path: Path) -> None:
    _plant(tmp_path, "runs/store.py", CLEAN)
    assert _complaints(walls, tmp_path) == []


@pytest.mark.parametrize(
    "source",
    [
        "from dbos._context import current_owner_xid",
        "from dbos import _context",
        "import dbos._dbos",
        "import dbos\nregistry = dbos._dbos",
        "from dbos import DBOS\nactive = DBOS._active_workflows_set",
    ],
)
def test_a_private_part_is_for_engine_alone(walls: ModuleType, tmp_path: Path, source: str) -> None:
    _plant(tmp_path, "engine/registry.py", source)
    name = _plant(tmp_path, "runs/store.py", source)
    line = len(source.splitlines())
    assert _complaints(walls, tmp_path) == [f"{name}:{line}: {walls.WHAT[walls.PRIVATE]}"]


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ('QUERY = "SELECT status FROM dbos.workflow_status"', 1),
        ('QUERY = """\n    SELECT status\n    FROM dbos.workflow_status\n"""', 3),
        ('QUERY = (\n    "SELECT status"\n    " FROM dbos.workflow_status"\n)', 3),
        ('QUERY = \'SELECT status FROM "dbos"."workflow_status"\'', 1),
        ('table = "queues"\nquery = f"DELETE FROM dbos.{table}"', 2),
        ('column = "status"\nquery = f"SELECT {column} FROM dbos.queues"', 2),
    ],
)
def test_a_table_is_named_in_engine_tables_alone(
    walls: ModuleType, tmp_path: Path, source: str, line: int
) -> None:
    _plant(tmp_path, "engine/tables/workflows.py", source)
    names = [_plant(tmp_path, name, source) for name in ("engine/runtime.py", "runs/store.py")]
    assert _complaints(walls, tmp_path) == [
        f"{name}:{line}: {walls.WHAT[walls.TABLES]}" for name in names
    ]


@pytest.mark.parametrize(
    "source",
    [
        'import logging\nlogger = logging.getLogger("dbos")',
        'from logging import getLogger\nlogger = getLogger("dbos")',
        'import re\nBEGINS = re.compile(r"Running step, id: (\\d+)")',
        '\nFIELDS = {"operationUUID": "workflow_id"}',
    ],
)
def test_the_log_is_read_in_engine_alone(walls: ModuleType, tmp_path: Path, source: str) -> None:
    _plant(tmp_path, "engine/log_records.py", source)
    name = _plant(tmp_path, "log.py", source)
    assert _complaints(walls, tmp_path) == [f"{name}:2: {walls.WHAT[walls.LOGS]}"]


def test_an_exception_is_for_one_wall_and_must_be_needed(walls: ModuleType, tmp_path: Path) -> None:
    name = _plant(tmp_path, "evidence.py", 'TABLE = "dbos.queues"\n')
    excepted = {(walls.TABLES, name): "its own evidence"}
    assert _complaints(walls, tmp_path, excepted) == []

    _plant(tmp_path, "evidence.py", "import dbos._context\n")
    private, unneeded = _complaints(walls, tmp_path, excepted)
    assert private == f"{name}:1: {walls.WHAT[walls.PRIVATE]}"
    assert unneeded.startswith(f"{name}: keeps to the wall 'tables'")


def test_the_check_of_this_checkout_passes_and_of_another_fails(tmp_path: Path) -> None:
    ours = subprocess.run([sys.executable, SCRIPT, ROOT], check=False, capture_output=True)
    assert ours.returncode == 0, ours.stdout
    _plant(tmp_path, "log.py", "import dbos._context\n")
    other = subprocess.run([sys.executable, SCRIPT, tmp_path], check=False, capture_output=True)
    assert other.returncode == 1
    assert b"aexp/log.py:1: reaches into a private part of dbos" in other.stdout
