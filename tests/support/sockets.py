"""The short folders in which embedded servers at long paths have their sockets."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from aexp.database.cluster import home_of_socket

__all__ = ["remove_socket_folders"]


def remove_socket_folders(below: Path) -> None:
    """Remove those of servers whose homes are ``below``, which have been stopped."""
    for folder in Path(tempfile.gettempdir()).glob("aexp-*-*"):
        home = home_of_socket(folder)
        if home is not None and home.is_relative_to(below):
            shutil.rmtree(folder)
