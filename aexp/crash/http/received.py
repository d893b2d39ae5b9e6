"""What a stub notes of each request. Pure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ReceivedRequest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedRequest:
    """A request that came in whole, at ``at`` (monotonic), and the ``status`` of its answer.

    ``stub`` is the variable that has the stub's address. ``path`` is as it was sent, with its
    query, ``route`` the path of the route that answered, None where there was none. ``key`` is the
    ``Idempotency-Key``; ``replayed`` says that it was answered by what had been answered to that
    key, ``safe`` that its route may be asked twice. ``body`` is text; of a longer one its beginning
    and its digest. ``life`` is the life of the worker that sent it, None where that is not known.
    """

    stub: str
    method: str
    path: str
    body: str
    key: str | None
    at: float
    route: str | None
    status: int
    replayed: bool = False
    safe: bool = False
    life: int | None = None
