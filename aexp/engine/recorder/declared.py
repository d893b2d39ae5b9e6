"""Record the effects that workflows declare themselves."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from dbos import DBOS

from aexp.engine.recorder.records import DeclaredEffect, Record
from aexp.engine.recorder.sites import call_site

__all__ = ["effect_reporter"]


def effect_reporter(write: Callable[[Record], None]) -> Callable[[str, str, bool], None]:
    """Return what :func:`aexp.durable.effect.report_effects` takes: it hands ``write`` a record of
    each effect that is declared in a workflow.
    """

    def report(name: str, key: str, idempotent: bool) -> None:  # noqa: FBT001 - as it is called
        workflow_id = DBOS.workflow_id
        if workflow_id is None:
            return
        write(
            DeclaredEffect(
                workflow_id=workflow_id,
                step_id=DBOS.step_id,
                pid=os.getpid(),
                at=time.monotonic(),
                epoch=time.time(),
                name=name,
                key=key,
                idempotent=idempotent,
                site=call_site(),
            )
        )

    return report
