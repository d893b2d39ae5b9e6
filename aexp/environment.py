"""What says where the database is, as it is written: without pydantic, and quickly.

For ``aexp.settings``, which checks it, and for the completion of a shell, which must not wait.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from aexp.errors import UsageError

__all__ = [
    "DEFAULT_HOME",
    "URL_VARIABLES",
    "announce_url",
    "configured_url",
    "home_of_environment",
    "read_variable",
    "url_of_environment",
]

_DBOS_VARIABLE = "DBOS_SYSTEM_DATABASE_URL"
URL_VARIABLES = ("AEXP_DATABASE_URL", _DBOS_VARIABLE)
DEFAULT_HOME = Path(".aexp")

CONFIG_FILE = Path("dbos-config.yaml")
_VARIABLE = re.compile(r"\$\{([^}]+)\}")


def url_of_environment() -> str | None:
    """Return the database URL that a variable gives."""
    return next((url for name in URL_VARIABLES if (url := os.environ.get(name))), None)


def announce_url(url: str, variable: str = _DBOS_VARIABLE) -> None:
    """Set ``variable`` to the URL of the database that is used, for modules that are imported from
    now on. Unless another is named, it is the one in which DBOS and its users look.
    """
    os.environ[variable] = url


def read_variable(name: str) -> str | None:
    """Return what a variable of the user's says; None when it is empty or not set."""
    return os.environ.get(name) or None


def home_of_environment() -> Path:
    """Return the folder of the embedded server that a variable gives, or the default."""
    given = os.environ.get("AEXP_HOME")
    return Path(given) if given else DEFAULT_HOME


def configured_url() -> str | None:
    """Return the database URL of ``dbos-config.yaml`` in the working folder.

    ``${NAME}`` stands for an environment variable, as in the ``dbos`` command; one that is not set
    leaves the URL empty, which here means *not given* (``dbos`` would use SQLite). Raises
    UsageError.
    """
    if not CONFIG_FILE.is_file():
        return None
    import yaml  # noqa: PLC0415 - only where there is such a file

    try:
        text = CONFIG_FILE.read_text(encoding="utf-8")
        text = _VARIABLE.sub(lambda match: os.environ.get(match[1], ""), text)
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{CONFIG_FILE} is not YAML: {_reason(error)}") from error
    if not isinstance(document, Mapping):
        raise UsageError(f"{CONFIG_FILE} must hold a mapping, see the README")
    return document.get("system_database_url") or None


def _reason(error: Exception) -> str:
    """Say what is wrong and in which line, without the text there, which may hold a password."""
    problem = getattr(error, "problem", None) or getattr(error, "reason", None)
    mark = getattr(error, "problem_mark", None)
    where = f" in line {mark.line + 1}" if mark is not None else ""
    return f"{problem or type(error).__name__}{where}"
