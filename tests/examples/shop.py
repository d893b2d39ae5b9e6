"""The shop of ``examples``: its suite as a process, in a copy, on the session's server."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import aexp
from aexp.database import DatabaseUrl

__all__ = ["CI", "REPOSITORY", "SHOP", "ci_command", "ci_steps", "copy_examples", "run"]

REPOSITORY = Path(aexp.__file__).parent.parent
SHOP = REPOSITORY / "examples" / "shop"
CI = REPOSITORY / "examples" / "ci" / "crash-tests.yml"

_MADE = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")


def ci_steps() -> Sequence[Mapping[str, Any]]:
    """The steps of the workflow's one job."""
    (job,) = yaml.safe_load(CI.read_text())["jobs"].values()
    steps: Sequence[Mapping[str, Any]] = job["steps"]
    return steps


def ci_command(module: str) -> Sequence[str]:
    """The words of the one command of the workflow that runs ``python -m MODULE``."""
    commands = [shlex.split(step["run"]) for step in ci_steps() if "run" in step]
    (command,) = (command for command in commands if command[2] == module)
    return command


def copy_examples(checkout: Path) -> Path:
    """Copy the examples to where they lie in a ``checkout``; return the folder of the shop."""
    shutil.copytree(SHOP.parent, checkout / "examples", ignore=_MADE)
    return checkout / "examples" / "shop"


def run(
    command: Sequence[str],
    folder: Path,
    server: DatabaseUrl | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ``python …``, if it runs tests on ``server``; what it wrote on both streams is one."""
    assert command[0] == "python"
    options = () if server is None else ("--aexp-database-url", server.libpq)
    return subprocess.run(
        [sys.executable, *command[1:], *options],
        cwd=folder,
        env={**os.environ, **(environment or {}), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )
