"""What a careless author makes of the scenario ``credentials``: the secret gets out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog
from dbos import DBOS

from aexp.scenarios.credentials.workflow import SCENARIO, credentials, describe_pages

log = structlog.stdlib.get_logger("leaks")


@DBOS.step()
async def headers() -> Mapping[str, str]:
    return {"Authorization": f"Bearer {(await credentials()).reveal()}"}


@DBOS.workflow()
async def to_a_checkpoint(**given: Any) -> Any:
    await headers()
    return await describe_pages(**given)


def refuse(secret: str) -> None:
    raise PermissionError(f"401 for {secret}")


@DBOS.step()
async def refused() -> None:
    refuse((await credentials()).reveal())


@DBOS.workflow()
async def to_an_error(**given: Any) -> Any:
    try:
        await refused()
    except PermissionError:
        log.warning("leaks.refused")
    return await describe_pages(**given)


@DBOS.step()
async def say() -> None:
    secret = (await credentials()).reveal()
    log.info("leaks.asking", headers=[{"Authorization": f"Bearer {secret}"}])
    logging.getLogger("a.library").warning("asking with %s", secret)
    try:
        refuse(secret)
    except PermissionError:
        log.exception("leaks.refused")


@DBOS.workflow()
async def to_the_log(**given: Any) -> Any:
    await say()
    return await describe_pages(**given)


CHECKPOINT = replace(SCENARIO, name="to-a-checkpoint", workflow=to_a_checkpoint)
ERROR = replace(SCENARIO, name="to-an-error", workflow=to_an_error)
LOG = replace(SCENARIO, name="to-the-log", workflow=to_the_log)
