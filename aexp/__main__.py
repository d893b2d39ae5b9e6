"""``python -m aexp``, and the console command."""

from __future__ import annotations

import gc
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line. Imports it here: an interrupt during the imports is no traceback."""
    # Imports make many objects and hardly any garbage: to look for it is a seventh of their time.
    # That begins when work does, see aexp.processes.loop.run_on_loop.
    gc.disable()
    try:
        # Absolute: a relative import here breaks anyio.to_process, which imports this module again.
        from aexp.cli import main as run  # noqa: PLC0415
    except KeyboardInterrupt:
        # The terminal shows ^C in the line.
        sys.stderr.write("\n" * sys.stderr.isatty() + "aexp: error: interrupted\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
