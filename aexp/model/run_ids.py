"""Run ids: which texts can be one, and new ones."""

from __future__ import annotations

import hashlib
import re
import secrets

from aexp.errors import UsageError

__all__ = ["RUN_ID_PATTERN", "check_run_id", "new_run_id", "run_id_of_key"]

# A dot separates a run from the children that fan_out makes for it, see aexp.durable.fan_out.
RUN_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,79}$"


def check_run_id(run_id: str) -> str:
    """Return ``run_id`` itself; raises UsageError when it cannot be one."""
    if not re.fullmatch(RUN_ID_PATTERN, run_id):
        raise UsageError(
            f"run id {run_id!r} is not valid: use 1 to 80 letters, digits, '-' and '_',"
            " beginning with a letter or digit"
        )
    return run_id


def new_run_id(scenario: str) -> str:
    """Make a fresh run id that begins with the scenario's name."""
    return _with_token(scenario, secrets.token_hex(4))


def run_id_of_key(scenario: str, key: str) -> str:
    """Return the run id that ``scenario`` and this key always have, and no other."""
    digest = hashlib.sha256(f"{scenario}\n{key}".encode()).hexdigest()
    return _with_token(scenario, digest[:32])


def _with_token(scenario: str, token: str) -> str:
    # A run id begins with a letter or digit.
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", scenario).strip("-_") or "run"
    # With a letter, or it could be the id of another run's child, see begin_run.
    return f"{stem[:40]}-{token if not token.isdecimal() else 'a' + token[1:]}"
