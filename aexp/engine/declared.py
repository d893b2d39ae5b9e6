"""Import a module of somebody's as its own program would, but launch nothing.

Programs make a DBOS at module level, launch it, register their queues and apply their schedules
there. Here a process launches DBOS itself, later and on its own loop, so that while such a module
is imported DBOS is not launched: what the module gives to it is noted, for the launch that comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from dbos import DBOS, Queue

from aexp.engine.registry import make_queue

__all__ = ["Declarations", "noting_declarations"]

log = structlog.stdlib.get_logger("aexp.engine.declared")

# What would work on the database, start something, or throw away what is there. A module may do so
# in a process of its own; each process of ours would do it again, while the run goes on.
_HELD_OFF = (
    "apply_schedules",
    "create_schedule",
    "delete_queue",
    "delete_schedule",
    "launch",
    "reset_system_database",
    "set_latest_application_version",
)


@dataclass(frozen=True, slots=True)
class Declarations:
    """What a module gives to DBOS when it is imported.

    ``config`` is its DBOSConfig, and ``queues`` are the options of DBOS.register_queue by name.
    ``held_off`` names the methods of DBOS that it called and that did nothing.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    queues: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    held_off: tuple[str, ...] = ()

    @property
    def serializer(self) -> Any:
        """How results are written and read; None for DBOS's own way."""
        return self.config.get("serializer")


# The singleton that DBOS is was made once in a process, by whichever module came first.
_latest = Declarations()


@contextmanager
def noting_declarations() -> Iterator[Callable[[], Declarations]]:
    """Note what modules give to DBOS in the context, and launch nothing; call what is yielded to
    learn it. A module that makes no DBOS shares that of one imported before.
    """
    config: dict[str, Any] = {}
    queues: dict[str, Mapping[str, Any]] = {}
    held_off: list[str] = []
    make = DBOS.__init__

    def note_config(dbos: DBOS, **options: Any) -> None:
        # DBOS takes the first that it is given, and no notice of those after it.
        config.update(options["config"] if not config else {})
        make(dbos, **options)

    def hold_off(name: str) -> Callable[..., None]:
        def noted(*_given: Any, **_options: Any) -> None:
            if name not in held_off:
                held_off.append(name)
                log.warning("module.call_held_off", call=f"DBOS.{name}", reason=_reason(name))

        return noted

    def note_queue(name: str, **options: Any) -> Queue:
        queue = make_queue(name, options)
        queues[name] = {key: options[key] for key in options if key != "on_conflict"}
        return queue

    def learn() -> Declarations:
        global _latest  # noqa: PLW0603 - as the singleton of DBOS
        if config or queues:
            _latest = Declarations(config or _latest.config, queues, tuple(held_off))
        return Declarations(_latest.config, queues, tuple(held_off))

    with ExitStack() as stack:
        stack.enter_context(_replaced("__init__", note_config))
        stack.enter_context(_replaced("register_queue", staticmethod(note_queue)))
        for name in _HELD_OFF:
            stack.enter_context(_replaced(name, staticmethod(hold_off(name))))
        yield learn


@contextmanager
def _replaced(name: str, method: object) -> Iterator[None]:
    known = DBOS.__dict__[name]
    setattr(DBOS, name, method)
    try:
        yield
    finally:
        setattr(DBOS, name, known)


def _reason(name: str) -> str:
    if name == "launch":
        return "aexp launches DBOS itself once the module is imported"
    return "aexp imports the module in each of its processes, while runs go on"
