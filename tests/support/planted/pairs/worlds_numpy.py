"""Bodies and steps that draw by numpy."""

from __future__ import annotations

import numpy as np
from dbos import DBOS


@DBOS.step(name="numpy_publish")
async def publish(given: object) -> None:
    """Take what was drawn."""


@DBOS.step(name="numpy_draw")
async def draw() -> float:
    return float(np.random.default_rng().random())


@DBOS.workflow()
async def wrong_numpy() -> str:
    await publish(float(np.random.rand()))
    return "done"


@DBOS.workflow()
async def wrong_generator() -> str:
    await publish(float(np.random.default_rng().random()))
    return "done"


@DBOS.workflow()
async def right_numpy() -> str:
    await publish(await draw())
    await publish(float(np.random.default_rng(7).random()))
    return "done"
