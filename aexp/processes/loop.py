"""Run a coroutine on an event loop of its own, and leave the terminal as it was."""

from __future__ import annotations

import gc
import sys
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

import anyio

__all__ = ["leave_terminal_clean", "run_on_loop"]

_R = TypeVar("_R")


def run_on_loop(
    loop: Literal["uvloop", "asyncio"],
    main: Callable[[], Coroutine[Any, Any, _R]],
    *,
    factory: Callable[[], AbstractEventLoop] | None = None,
) -> _R:
    """Run ``main`` to its end on a new event loop of this kind, or on one that ``factory`` makes,
    with garbage collected.
    """
    if not gc.isenabled():
        # What was imported until now stays, see aexp.__main__: nobody has to look at it again.
        gc.freeze()
        gc.enable()
    options: dict[str, Any] = {"use_uvloop": loop == "uvloop"}
    if factory is not None:
        options = {"loop_factory": factory}
    return anyio.run(main, backend="asyncio", backend_options=options)


def leave_terminal_clean() -> None:
    """Erase the line in which a progress bar or ^C stands, and show the cursor, which the bar has
    hidden, before this process just ends.
    """
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[2K\x1b[?25h")
        sys.stderr.flush()
