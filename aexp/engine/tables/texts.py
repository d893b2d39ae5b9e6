"""Read stored texts that may be large."""

from __future__ import annotations

__all__ = ["bounded"]


def bounded(column: str, name: str, most_bytes: str) -> str:
    """Return columns: a text as ``name`` unless it is larger than that, and its size."""
    return (
        f"CASE WHEN octet_length({column}) <= {most_bytes} THEN {column} END AS {name},"
        f" octet_length({column}) AS {name}_bytes"
    )
