"""What a service is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aexp.database import DatabaseUrl
from aexp.runs.host import StandingRun
from aexp.settings import Settings

__all__ = ["ServiceOptions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceOptions:
    """How a service is to work.

    ``hosts`` are the names that the Host header may have, None for any. ``input_root`` is the
    folder below which inputs may lie, None to refuse them all; ``allow_outbound`` lets requests
    name servers and buckets that the service then talks to. ``body_limit`` is in bytes. A client
    has ``send_deadline_s`` to take each part of an answer, however long nothing is sent between
    them. ``keep`` is a run that is there for as long as the service.
    """

    settings: Settings
    url: DatabaseUrl
    hosts: frozenset[str] | None
    max_active_runs: int
    input_root: Path | None = None
    allow_outbound: bool = False
    body_limit: int = 1024 * 1024
    request_deadline_s: float = 10.0
    send_deadline_s: float = 30.0
    keep: StandingRun | None = None
    lag_limit_ms: float = 1000.0

    @property
    def token(self) -> str | None:
        """The token that requests must bear, None when none is needed."""
        token = self.settings.api_token
        return token.get_secret_value() if token is not None else None
