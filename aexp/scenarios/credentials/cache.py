"""Credentials of one process: fetched when first asked for, shared by all coroutines, refreshed."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Literal, NoReturn, final

import anyio
import anyio.abc

__all__ = ["Credential", "CredentialsCache", "CredentialsUnavailable", "Reason"]

# Why credentials are fetched: there were none, or those that there were had expired.
Reason = Literal["first", "expired"]


class CredentialsUnavailable(Exception):
    """There are no credentials; the text says why and what to do, and holds no secret."""


@final
class Credential:
    """A secret and its life, from ``fetched_at`` to ``expires_at`` on the process's own clock.

    It shows its secret to :meth:`reveal` only, and it cannot be pickled: DBOS checkpoints pickles.
    """

    __slots__ = ("_secret", "expires_at", "fetched_at")

    def __init__(self, secret: str, *, fetched_at: float, expires_at: float) -> None:
        self._secret = secret
        self.fetched_at = fetched_at
        self.expires_at = expires_at

    def reveal(self) -> str:
        """Return the secret itself: for a request's header, not for an input, output or log."""
        return self._secret

    def __repr__(self) -> str:
        return f"Credential(***, fetched_at={self.fetched_at!r}, expires_at={self.expires_at!r})"

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a Credential is not pickled: its secret stays in this process")


class _Flight:
    """One fetch under way, and those who wait for it."""

    def __init__(self) -> None:
        self.landed = anyio.Event()
        self.credential: Credential | None = None
        self.error: Exception | None = None


class CredentialsCache:
    """Credentials for every coroutine of one event loop, from one ``fetch`` at a time.

    However many ask at once, one fetch answers them all. It belongs to the cache and not to who
    asked first, who may be cancelled. Expired credentials are fetched anew; a failed fetch fails
    for all who wait for it, and the next to ask tries again. ``clock`` is what expiry is read on,
    in seconds.

    An async context manager: at its end a fetch under way is given up.
    """

    def __init__(
        self,
        fetch: Callable[[Reason], Awaitable[Credential]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._held: Credential | None = None
        self._flight: _Flight | None = None
        self._fetches: anyio.abc.TaskGroup = anyio.create_task_group()

    async def __aenter__(self) -> CredentialsCache:
        await self._fetches.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Any:
        self._fetches.cancel_scope.cancel()
        return await self._fetches.__aexit__(kind, error, trace)

    async def get(self) -> Credential:
        """Return credentials that had not expired when they were asked for, or were fetched since.

        Raises CredentialsUnavailable, from what the fetch raised.
        """
        asked_at = self._clock()
        credential = self._held
        # A fetch that was under way already may bring what had expired before it was asked for;
        # one that begins from now on does not.
        while credential is None or credential.expires_at <= asked_at:
            credential = await self._fetched()
        return credential

    async def _fetched(self) -> Credential:
        """Return what the fetch under way brings, or a new one."""
        if self._flight is None:
            self._flight = _Flight()
            self._fetches.start_soon(self._fly, self._flight)
        flight = self._flight
        await flight.landed.wait()
        if flight.credential is None:
            # Each waiter raises an error of its own: tracebacks of many tasks do not mix in one.
            reason = str(flight.error) if flight.error is not None else "this process is ending"
            raise CredentialsUnavailable(reason) from flight.error
        return flight.credential

    async def _fly(self, flight: _Flight) -> None:
        try:
            flight.credential = await self._fetch("first" if self._held is None else "expired")
            self._held = flight.credential
        except Exception as error:
            flight.error = error
        finally:
            self._flight = None
            flight.landed.set()
