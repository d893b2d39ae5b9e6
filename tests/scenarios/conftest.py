"""What tests of targets share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dbos._dbos import _get_or_create_dbos_registry


@pytest.fixture
def nothing_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the test's files put into this process is taken out again."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield
    imported = {
        name
        for name, module in sys.modules.items()
        if Path(getattr(module, "__file__", None) or "/").is_relative_to(tmp_path)
    }
    for name in imported:
        del sys.modules[name]
    # DBOS would warn of a second workflow, and refuse a second class, of the same name.
    registry = _get_or_create_dbos_registry()
    maps: list[dict[str, Any]] = [
        registry.workflow_info_map,
        registry.class_info_map,
        registry.instance_info_map,
    ]
    for registered in maps:
        for key, value in list(registered.items()):
            if value.__module__ in imported:
                del registered[key]
