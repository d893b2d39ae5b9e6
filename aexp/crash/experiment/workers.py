"""Workers that an explorer starts, kills and waits for: forked by processes of their own.

There are two of these, which differ in the order in which their sets iterate (``PYTHONHASHSEED``):
a process that follows a killed one finds strings hashed otherwise, as a restarted one would.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aexp.crash.experiment.outside import Enclosure
from aexp.database import DatabaseUrl
from aexp.engine.world.entering import WorldPlan
from aexp.environment import URL_VARIABLES
from aexp.model.run import Run
from aexp.processes.child import Child, ForkServer, open_forkserver
from aexp.settings import Settings

__all__ = [
    "TAKEN_VARIABLES",
    "Surroundings",
    "TargetCode",
    "WorkerJob",
    "Workers",
    "open_servers",
    "open_workers",
]

_TEMPORARY = "TMPDIR"
# What the environment of a worker says of itself.
TAKEN_VARIABLES = (*URL_VARIABLES, _TEMPORARY)

_HASH_SEEDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a process of the user's finds around it: where modules are looked for, the working
    folder, and variables of the environment. Modules of its own must not lie in ``apart_from``,
    where other code has the same names; its own code is that of ``root``, which may lie in there.
    """

    import_path: Sequence[str]
    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    root: Path | None = None
    apart_from: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetCode:
    """The code of a workflow: the target that names it, in its surroundings."""

    target: str
    surroundings: Surroundings


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerJob:
    """What a worker is to do: work on ``run`` with this ``url`` as its only way to the database.

    ``folder`` takes what it writes, ``log`` its log lines, ``bodies`` a note of each step body that
    begins. Without ``instances`` it forgets every configured instance before it launches DBOS.
    It has ``deadline_s`` to come to the end of the run.
    ``variables`` are added to its environment, ``databases`` are its own beside that of ``url``.
    With an ``enclosure`` it reaches no PostgreSQL outside. Without ``surroundings`` it has those of
    the process that forked it. In a ``world`` it is tried what its workflows depend on. ``ahead_s``
    is how far its clock is ahead.
    """

    run: Run
    settings: Settings
    url: DatabaseUrl
    folder: Path
    log: Path
    bodies: Path
    deadline_s: float
    instances: bool = True
    variables: Mapping[str, str] = field(default_factory=dict)
    databases: Sequence[DatabaseUrl] = ()
    enclosure: Enclosure | None = None
    surroundings: Surroundings | None = None
    world: WorldPlan | None = None
    ahead_s: float = 0.0

    def payload(self) -> dict[str, Any]:
        """Return it as :func:`aexp.crash.experiment.worker.live` reads it."""
        run = {name: value for name, value in asdict(self.run).items() if name != "created_at"}
        around = self.surroundings
        chosen = {"executor_id", "loop", "log_level", "debug", "poll_interval_s"}
        settings = self.settings.model_dump(mode="json", include=chosen)
        return {
            "run": run,
            # A file of log lines is read by people only.
            "settings": {**settings, "log_format": "console"},
            "url": self.url.libpq,
            "databases": [database.libpq for database in self.databases],
            "bodies": str(self.bodies),
            "deadline_s": self.deadline_s,
            "instances": self.instances,
            "enclosure": None if self.enclosure is None else self.enclosure.payload(),
            "import_path": None if around is None else list(around.import_path),
            "working_folder": None if around is None else str(around.folder),
            "root": _text(None if around is None else around.root),
            "apart_from": _text(None if around is None else around.apart_from),
            "world": None if self.world is None else asdict(self.world),
            "ahead_s": self.ahead_s,
        }

    def environment(self) -> dict[str, str]:
        """Return what is added to its environment."""
        return {
            **({} if self.surroundings is None else self.surroundings.variables),
            **self.variables,
            **dict.fromkeys(URL_VARIABLES, self.url.libpq),
            # What it leaves in files lasts from life to life of a point, and touches no other.
            _TEMPORARY: str(self.folder),
        }


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


class Workers:
    """Starts workers. ``folder`` is for what they write; it goes when they do."""

    def __init__(self, servers: Sequence[ForkServer], folder: Path) -> None:
        self._servers = servers
        self.folder = folder

    async def start(self, job: WorkerJob, life: int) -> Child:
        """Start the worker of the ``life``-th life, 0 being the first, on a run."""
        server = self._servers[life % len(self._servers)]
        return await server.start(
            "aexp.crash.experiment.worker:live",
            job.payload(),
            environment=job.environment(),
            log=job.log,
        )


@asynccontextmanager
async def open_servers(
    target: str | None = None, *, seed: int = 0, folder: Path | None = None
) -> AsyncIterator[Sequence[ForkServer]]:
    """Start the processes that fork workers; all are gone when the context ends.

    They fork those of any ``target``, the one that is named a little faster. They differ in their
    hash seeds, which ``seed`` chooses. Should this process be killed, they remove ``folder``.
    """
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                open_forkserver(
                    "aexp.crash.experiment.worker:warm",
                    *([target] if target is not None else []),
                    environment={"PYTHONHASHSEED": str((_HASH_SEEDS * seed + number) % 2**32)},
                    folder=folder,
                )
            )
            for number in range(_HASH_SEEDS)
        ]


@asynccontextmanager
async def open_workers(
    target: str, *, seed: int, servers: Sequence[ForkServer] = ()
) -> AsyncIterator[Workers]:
    """Open what starts workers for ``target``, by ``servers`` or by some of its own."""
    folder = Path(tempfile.mkdtemp(prefix="aexp-crash-"))
    try:
        if servers:
            yield Workers(servers, folder)
        else:
            async with open_servers(target, seed=seed, folder=folder) as own:
                yield Workers(own, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
