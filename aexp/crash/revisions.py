"""Find the old code of a workflow: at a revision of git, or in another folder."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aexp.crash.experiment.workers import Surroundings, TargetCode
from aexp.errors import UsageError

__all__ = ["Upgrade", "open_upgrade"]

_FOLDER = " in "


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The code before a deployment and the code after it."""

    old: TargetCode
    new: TargetCode


@contextmanager
def open_upgrade(target: str, origin: str) -> Iterator[Upgrade]:
    """Find the code that was ``target``, which names an object from anywhere, in ``origin``: a
    folder or file, else a revision of git. What is taken from git is gone when the context ends.

    Raises UsageError where there is no such code.
    """
    module = _file_of(target)
    if Path(origin).exists():
        new_root, old_root = _beside(module, Path(origin).absolute(), target)
        yield _upgrade(target, new_root, old_root)
        return
    new_root = Path(
        _git(module.parent, "rev-parse", "--show-toplevel", told=origin).decode().strip()
    )
    with tempfile.TemporaryDirectory(prefix="aexp-upgrade-") as folder:
        # The user of an embedded server, too, may have to read it.
        old_root = Path(folder).resolve()
        old_root.chmod(0o755)
        archive = _git(new_root, "archive", "--format=tar", origin, told=origin)
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(old_root, filter="data")
        yield _upgrade(target, new_root.resolve(), old_root)


def _file_of(target: str) -> Path:
    """Return the file of the module of ``target``, or the folder that it is looked for in."""
    named, _, folder = target.partition(_FOLDER)
    module, _, _ = named.rpartition(":")
    if module.endswith(".py"):
        return Path(module)
    if folder:
        package = Path(folder, *module.split("."))
        return package if package.is_dir() else package.with_suffix(".py")
    raise UsageError(
        f"{target} is installed, and its old code cannot be found beside it: name a file,"
        " path/to/flows.py:NAME, or run this in the folder of its module"
    )


def _beside(module: Path, origin: Path, target: str) -> tuple[Path, Path]:
    """Return two folders that correspond: one around ``module``, and one of the old code."""
    if origin.is_file():
        if origin.name != module.name:
            raise UsageError(
                f"--from {origin} is another module than {module.name}: give a file of that name,"
                " or a folder that has one"
            )
        return module.parent, origin.parent
    for root in module.parents:
        if (origin / module.relative_to(root)).exists():
            return root, origin
    raise UsageError(f"--from {origin}: there is no {module.name} for {target}")


def _upgrade(target: str, new_root: Path, old_root: Path) -> Upgrade:
    named, _, folder = target.partition(_FOLDER)
    module, _, attribute = named.rpartition(":")
    if module.endswith(".py"):
        file = old_root / Path(module).resolve().relative_to(new_root.resolve())
        if not file.is_file():
            raise UsageError(f"the old code has no {file.relative_to(old_root)}")
        old = f"{file}:{attribute}"
    else:
        old = f"{named}{_FOLDER}{_moved(Path(folder), new_root, old_root)}"
    return Upgrade(
        old=TargetCode(target=old, surroundings=_around(new_root, old_root, apart_from=new_root)),
        new=TargetCode(
            target=target, surroundings=_around(new_root, new_root, apart_from=old_root)
        ),
    )


def _around(new_root: Path, root: Path, *, apart_from: Path) -> Surroundings:
    """Return the surroundings of this process, those in ``new_root`` moved to ``root``."""
    here = _moved(Path.cwd(), new_root, root)
    return Surroundings(
        import_path=[str(_moved(Path(each), new_root, root)) if each else "" for each in sys.path],
        folder=here if here.is_dir() else root,
        apart_from=apart_from,
    )


def _moved(path: Path, new_root: Path, root: Path) -> Path:
    """Return ``path``, or where it is below ``root`` if it lies in ``new_root`` and is there."""
    resolved, new_root = path.resolve(), new_root.resolve()
    if not resolved.is_relative_to(new_root):
        return path
    moved = root / resolved.relative_to(new_root)
    # An environment in the folder of a project is no part of what is in git.
    return moved if moved.exists() else path


def _git(folder: Path, *arguments: str, told: str) -> bytes:
    """Return what git answers. Raises UsageError with its own words."""
    try:
        # As a shell would find it, and with what stands on the command line.
        found = subprocess.run(  # noqa: S603
            ["git", "-C", str(folder), *arguments],  # noqa: S607
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise UsageError(
            f"--from {told} is no file or folder, and git, which would know revisions, is not"
            " installed"
        ) from error
    if found.returncode != 0:
        words = " ".join(found.stderr.decode(errors="replace").split())
        raise UsageError(f"--from {told} is no file or folder, nor a revision: {words}")
    return found.stdout
