"""A process that keeps a PostgreSQL of an explorer's own, and stops and starts it when told to.

The server is its child, so that it hears at once when it has ended. It reads ``stop`` and ``start``
on stdin, one a line, and tells on stdout, a JSON object a line, that it is done or why not. At the
end of its stdin, however that came about, it stops the server, removes its folder, and ends.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aexp.database.cluster import (
    complaint,
    prepare_cluster,
    read_postmaster_file,
    server_environment,
    socket_url,
)
from aexp.database.programs import program
from aexp.errors import AexpError, EmbeddedServerError

__all__ = ["main"]

_START_TIMEOUT_S = 60
# PostgreSQL kills what is left of itself 5 s after it was told to end at once (18.5).
_STOP_TIMEOUT_S = 30
_LOOK_S = 0.01
# It loses what a server loses that ends at once: its memory. What it has written the kernel keeps,
# so that only a machine that fails would need these, and every stop and copy is dearer with them.
_OPTIONS = ("-c", "fsync=off", "-c", "full_page_writes=off")


class _Server:
    """The server of ``home``: data in a folder below, a log beside it. Everything blocks."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._log = home / "log"
        self._process: subprocess.Popen[bytes] | None = None
        # The server's user must pass through.
        home.chmod(0o711)
        self._cluster = prepare_cluster(home, "TMPDIR")
        self._cluster.initialise()

    @property
    def url(self) -> str:
        """Where it listens, once it has started."""
        file = read_postmaster_file(self._cluster.data)
        assert file is not None
        return socket_url(file.socket_folder, "postgres").libpq

    def discard(self) -> None:
        """Remove its data."""
        self._cluster.discard()

    def start(self) -> None:
        """Start it, and wait until it takes connections. Raises EmbeddedServerError."""
        postgres = program("postgres")
        assert postgres is not None
        known = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - of the wheel
                [postgres, *self._cluster.options(), *_OPTIONS],
                cwd="/",
                env=server_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._cluster.user.process_options,
            )
        give_up_at = time.monotonic() + _START_TIMEOUT_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > give_up_at:
                reason = complaint(self._log, known) or "it does not say why"
                raise EmbeddedServerError(f"the server of --postgres did not start: {reason}")
            time.sleep(_LOOK_S)

    def _is_ready(self) -> bool:
        file = read_postmaster_file(self._cluster.data)
        assert self._process is not None
        return file is not None and file.pid == self._process.pid and file.is_ready

    def stop(self) -> None:
        """Stop it at once, without a checkpoint: "immediate" shutdown."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGQUIT)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def serve(home: Path) -> None:
    """Make a server, tell its URL, and obey until stdin ends; then ``home`` is removed."""
    server = None
    try:
        try:
            server = _Server(home)
            server.start()
            _say({"url": server.url})
            for line in sys.stdin:
                if line.strip() == "stop":
                    server.stop()
                else:
                    server.start()
                _say({"done": line.strip()})
        except (AexpError, OSError) as error:
            _say({"error": str(error)})
    finally:
        if server is not None:
            server.stop()
            server.discard()
        shutil.rmtree(home, ignore_errors=True)


def _say(message: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Keep a server until stdin ends: ``python -m aexp.crash.experiment.server_process HOME``."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    serve(Path(sys.argv[1]))
    # What remains to be done at the end of an interpreter concerns a folder that is gone.
    os._exit(0)


if __name__ == "__main__":
    main()
