"""Find the old code of a workflow: at a revision of git, or in another folder."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from aexp.crash.experiment.workers import Surroundings, TargetCode
from aexp.engine.recorder.sites import is_own_code
from aexp.errors import UsageError

__all__ = ["Upgrade", "open_upgrade"]

_FOLDER = " in "


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The code before a deployment and the code after it."""

    old: TargetCode
    new: TargetCode


@contextmanager
def open_upgrade(
    target: str, origin: str, around: Surroundings, *, place: str = ""
) -> Iterator[Upgrade]:
    """Find the code that was ``target``, which names an object from anywhere, in ``origin``: a
    folder or file, else a revision of git. What is taken from git is gone when the context ends.

    ``around`` is what the code as it is now finds around it. ``place`` names the target with its
    file, where it is a module's name that is found by that. Raises UsageError where there is no
    such code.
    """
    module = _file_of(place or target)
    if Path(origin).exists():
        new_root, old_root = _beside(target, module, Path(origin).absolute())
        yield _upgrade(target, module, new_root, old_root, around)
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
        file = module.resolve().relative_to(new_root.resolve())
        if not (old_root / file).exists():
            raise UsageError(f"{origin} has no {file}: there is no old code of {target}")
        yield _upgrade(target, module, new_root.resolve(), old_root, around)


def _file_of(target: str) -> Path:
    """Return the file of the module of ``target``, or the folder that it is looked for in."""
    named, _, folder = target.partition(_FOLDER)
    module, _, _ = named.rpartition(":")
    if module.endswith(".py") and is_own_code(module):
        return Path(module)
    if folder:
        package = Path(folder, *module.split("."))
        return package if package.is_dir() else package.with_suffix(".py")
    raise UsageError(
        f"{target} is installed, and its old code cannot be found beside it: name a file,"
        " path/to/flows.py:NAME, or run this in the folder of its module"
    )


def _beside(target: str, module: Path, origin: Path) -> tuple[Path, Path]:
    """Return two folders that correspond: one around ``module``, and one of the old code."""
    # A module's name leads to the folder that its outermost package lies in.
    name = target.partition(_FOLDER)[0].rpartition(":")[0]
    depth = 0 if name.endswith(".py") else name.count(".") + (module.name == "__init__.py")
    file = module.relative_to(module.parents[depth])
    if origin.is_file():
        if origin.parts[-len(file.parts) :] != file.parts:
            raise UsageError(
                f"{origin} is another module than {file}: give a file of that name, or a folder"
                " that has one"
            )
        roots = module.parents[depth], origin.parents[depth]
    else:
        found = (
            root
            for root in list(module.parents)[depth:]
            if (origin / module.relative_to(root)).exists()
        )
        if (root := next(found, None)) is None:
            raise UsageError(f"{origin} has no {file}: there is no old code of {target}")
        roots = root, origin
    if roots[0].resolve() == roots[1].resolve():
        raise UsageError(
            f"{origin} is the code as it is now: give a folder with the old code, or a revision"
        )
    return roots


def _upgrade(
    target: str, module: Path, new_root: Path, old_root: Path, around: Surroundings
) -> Upgrade:
    named, _, folder = target.partition(_FOLDER)
    name, _, attribute = named.rpartition(":")
    old = named
    if name.endswith(".py"):
        old = f"{old_root / module.resolve().relative_to(new_root.resolve())}:{attribute}"
    elif folder:
        old = f"{named}{_FOLDER}{_moved(Path(folder), new_root, old_root)}"
    return Upgrade(
        old=TargetCode(target=old, surroundings=_around(around, new_root, old_root, new_root)),
        new=TargetCode(target=target, surroundings=_around(around, new_root, new_root, old_root)),
    )


def _around(around: Surroundings, new_root: Path, root: Path, apart_from: Path) -> Surroundings:
    """Return the surroundings of the code in ``root``: those in ``new_root`` are moved there."""
    here = _moved(around.folder, new_root, root)
    path = [str(_moved(Path(each), new_root, root)) if each else "" for each in around.import_path]
    return replace(
        around,
        import_path=path,
        folder=here if here.is_dir() else root,
        root=root,
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
            f"{told!r} is no file or folder, and git, which would know revisions, is not installed"
        ) from error
    if found.returncode != 0:
        words = " ".join(found.stderr.decode(errors="replace").split())
        raise UsageError(f"{told!r} is no file or folder, nor a revision of git: {words}")
    return found.stdout
