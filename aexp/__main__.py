"""``python -m aexp``."""

# Absolute: a relative import here breaks anyio.to_process, which imports this module again.
from aexp.cli import main

if __name__ == "__main__":
    main()
