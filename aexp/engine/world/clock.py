"""A process whose clock is ahead."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from dbos._sys_db import SystemDatabase

from aexp.engine.recorder.replaced import replaced

__all__ = ["clock_ahead"]


@contextmanager
def clock_ahead(seconds: float) -> Iterator[None]:
    """Have the clock of this process be so many seconds ahead, and what DBOS takes from the clock
    of its database, too. The monotonic clock, and what SQL of the user's asks PostgreSQL for, stay.
    """
    # Only who needs it brings it along.
    import time_machine  # noqa: PLC0415

    original = SystemDatabase._now_ms_sql  # noqa: SLF001 - dbos 3.4: deadlines of what is dequeued

    def ahead(self: SystemDatabase) -> Any:
        return original(self) + round(seconds * 1000)

    later = datetime.fromtimestamp(time.time(), UTC) + timedelta(seconds=seconds)
    with (
        time_machine.travel(later, tick=True),
        replaced(SystemDatabase, "_now_ms_sql", ahead),
    ):
        yield
