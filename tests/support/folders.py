"""Folders of files whose names are hard on whoever lists them."""

from __future__ import annotations

from pathlib import Path

ODD_NAMES = (
    "plain",
    " lead and trail ",
    "50%",
    "50%20",
    "größe/日本/e\u0301",
    "a/b",
    "a-b",
    "a.b",
    "a+b#c?d",
    "a#b#7",
    'quoted"',
    "back\\slash",
    "{[<|>]}",
    "~",
    ".hidden/.too",
)


def make_folder(folder: Path, names: tuple[str, ...] = ODD_NAMES) -> dict[str, int]:
    """A file for each of ``names``, as many bytes as its number; the sizes by name."""
    for size, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    return {name: size for size, name in enumerate(names)}
