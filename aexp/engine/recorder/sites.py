"""Find the line of a workflow's own code that is running: none of DBOS's, aexp's or a library's."""

from __future__ import annotations

import asyncio
import functools
import sys
import sysconfig
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import dbos
from dbos import _core, _datasource, _outcome

__all__ = ["call_site", "caller", "is_own_code", "tracking_origins"]

_MOST_FRAMES = 200


def _folders(*paths: str) -> tuple[str, ...]:
    """Return the folders as they are named and as they are: no file is looked at later, when a
    workflow runs on the loop.
    """
    return tuple({each for path in paths for each in (path, str(Path(path).resolve()))})


_LIBRARIES = _folders(*(sysconfig.get_path(name) for name in ("stdlib", "platstdlib")))
_INSTALLED = _folders(*(sysconfig.get_path(name) for name in ("purelib", "platlib")))
_OURS = _folders(str(Path(__file__).parents[2]), str(Path(dbos.__file__).parent))
_SCENARIOS = _folders(str(Path(__file__).parents[2] / "scenarios"))
_HERE = f"{Path.cwd()}/"
# What runs a task or a thread: who started that is further down the stack, and has no part in it.
_RUNNERS = frozenset(
    {
        "asyncio.base_events", "asyncio.events", "asyncio.runners", "concurrent.futures.thread",
        "threading", "uvloop",
    }
)  # fmt: skip
# What stands between user code and what that calls.
_INSTRUMENTS = ("aexp.engine.recorder.", "aexp.engine.world.")
# What calls the bodies of steps and workflows.
_CALLERS = frozenset(
    {"aexp.engine.recorder.steps", _core.__name__, _datasource.__name__, _outcome.__name__}
)


@contextmanager
def tracking_origins() -> Iterator[None]:
    """Have coroutines of this thread know where they were made, for :func:`call_site`."""
    before = sys.get_coroutine_origin_tracking_depth()
    sys.set_coroutine_origin_tracking_depth(max(1, before))
    try:
        yield
    finally:
        sys.set_coroutine_origin_tracking_depth(before)


def call_site() -> str | None:
    """Return file and line, ``flows.py:31``, of the innermost frame of a workflow's own code.

    Where a task runs nothing of it, the line that made its coroutine. What is installed as a
    package counts where nothing else does: a user's code may be. None where only DBOS, aexp and
    the standard library are on the stack.
    """
    installed = None
    for frame in _frames(sys._getframe(1)):  # noqa: SLF001 - the cheap way to the stack
        if frame.f_globals.get("__name__") in _RUNNERS:
            break
        kind = _kind(frame.f_code.co_filename)
        if kind == "own":
            return f"{_short(frame.f_code.co_filename)}:{frame.f_lineno}"
        if kind == "installed" and installed is None:
            installed = f"{_short(frame.f_code.co_filename)}:{frame.f_lineno}"
    return _origin() or installed


def _origin() -> str | None:
    """Return the line that made the coroutine of this task, if that is a workflow's own."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return None  # There is no loop in this thread.
    origin = getattr(task.get_coro(), "cr_origin", None) if task is not None else None
    if not origin or _kind(origin[0][0]) != "own":
        return None
    return f"{_short(origin[0][0])}:{origin[0][1]}"


def caller(means: Collection[str]) -> str:
    """Return whose doing it is what happens now: ``own`` where a workflow's code, or a library that
    it uses, is what calls the standard library; ``means`` where one of the modules ``means`` is on
    the way, and ``library`` where DBOS or aexp is.
    """
    frames = _frames(sys._getframe(1))  # noqa: SLF001 - see above
    whose = "own"
    for frame in frames:
        name = frame.f_globals.get("__name__", "")
        if name.startswith(_INSTRUMENTS) and name != "aexp.engine.recorder.steps":
            continue
        if name in means:
            return "means"
        if name in _CALLERS or name in _RUNNERS:
            break  # It called the body, or runs what the body has started.
        kind = _kind(frame.f_code.co_filename)
        if kind in {"own", "library"}:
            whose = kind
            break
    imports = any(frame.f_globals.get("__name__") == "importlib._bootstrap" for frame in frames)
    return "means" if imports else whose


def is_own_code(filename: str) -> bool:
    """Return whether the file is a user's: none of Python's, of an installed package or of aexp."""
    return _kind(filename) == "own"


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    for _ in range(_MOST_FRAMES):
        if frame is None:
            return
        yield frame
        frame = frame.f_back


@functools.cache
def _kind(filename: str) -> str:
    if filename.startswith("<"):
        return "standard"
    if filename.startswith(_OURS) and not filename.startswith(_SCENARIOS):
        return "library"
    if filename.startswith(_INSTALLED):
        return "installed"
    return "standard" if filename.startswith(_LIBRARIES) else "own"


def _short(filename: str) -> str:
    inside = filename.startswith(_HERE)
    return filename.removeprefix(_HERE) if inside else filename.rpartition("/")[2]
