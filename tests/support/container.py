"""The container's own files, carried out and judged without a container engine."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from compose_spec import PyCompose, parse_duration
from docker.utils.build import exclude_paths
from dockerfile_parse import DockerfileParser

from tests.support.cli import TIMEOUT_S

__all__ = ["Image", "build", "compose_problems", "parse_image"]

BUILD_TIMEOUT_S = 600
_VARIABLE = re.compile(r"\$\{(\w+)(?P<required>:\?[^}]+)?[^}]*\}")


@dataclass
class Image:
    """What a Dockerfile says, and, once it is built, where."""

    base: str = ""
    steps: list[tuple[str, str]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "root"
    stop_signal: str = "SIGTERM"
    ports: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    folder: Path = Path()
    path: str = ""

    def variables(self, given: Mapping[str, str]) -> dict[str, str]:
        """The environment of a process in the container: the image's, what is given, no more."""
        return {"PATH": self.path, "HOME": "/", **self.environment, **given}

    def run(
        self, command: Sequence[str], given: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run ``command`` to its end as the container would."""
        return subprocess.run(
            [self.program(command[0]), *command[1:]],
            cwd=self.folder,
            env=self.variables(given),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    @contextmanager
    def running(
        self, command: Sequence[str], given: Mapping[str, str]
    ) -> Iterator[subprocess.Popen[str]]:
        """``command`` as the container would run it, for the life of the context."""
        with subprocess.Popen(
            [self.program(command[0]), *command[1:]],
            cwd=self.folder,
            env=self.variables(given),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def program(self, name: str) -> str:
        """Where the image finds the command ``name``."""
        found = shutil.which(name, path=self.path)
        assert found is not None, f"the image has no {name}"
        return found


def parse_image(text: str) -> Image:
    """What the Dockerfile ``text`` says; fails on an instruction that this does not know."""
    image = Image()
    parser = DockerfileParser(fileobj=io.BytesIO(text.encode()), env_replace=False)
    for item in parser.structure:
        instruction, value = item["instruction"], item["value"]
        match instruction:
            case "COMMENT":
                pass
            case "FROM":
                assert not image.base, "an image of one stage"
                image.base = value
            case "WORKDIR" | "COPY" | "RUN":
                image.steps.append((instruction, value))
            case "ENV":
                image.environment |= dict(pair.split("=", 1) for pair in shlex.split(value))
            case "USER":
                image.user = value
            case "EXPOSE":
                image.ports.append(value)
            case "STOPSIGNAL":
                image.stop_signal = value
            case "HEALTHCHECK":
                # A list, as CMD: a shell as process 1 would pass no signal on.
                image.healthcheck = json.loads(value.partition("CMD ")[2])
            case "CMD":
                image.command = json.loads(value)
            case _:
                raise AssertionError(f"{instruction} is not carried out here")
    return image


def build(root: Path, folder: Path) -> Image:
    """Carry out the Dockerfile of ``root`` in ``folder``, with a fresh venv for the base image.

    Of ``root`` it sees what .dockerignore leaves. pip keeps the settings and the cache of whoever
    builds: where packages come from is theirs to say.
    """
    image = parse_image((root / "Dockerfile").read_text())
    context = folder / "context"
    ignored = (root / ".dockerignore").read_text().splitlines()
    for name in exclude_paths(str(root), [line for line in ignored if not line.startswith("#")]):
        if (root / name).is_file():
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, context / name)
    python = folder / "python"
    image.folder = folder / "root"
    image.path = f"{python / 'bin'}{os.pathsep}{os.defpath}"
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    environment = {"PATH": image.path, "HOME": os.environ["HOME"], **pip}
    for instruction, value in image.steps:
        match instruction:
            case "WORKDIR":
                image.folder = folder / "root" / value.lstrip("/")
                image.folder.mkdir(parents=True)
            case "COPY":
                _copy(context, image.folder, shlex.split(value))
            case "RUN":
                if not python.exists():
                    venv.create(python, with_pip="pip" in value)
                done = subprocess.run(
                    ["/bin/sh", "-c", value],
                    cwd=image.folder,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=BUILD_TIMEOUT_S,
                    check=False,
                )
                assert done.returncode == 0, f"RUN {value}: {done.stdout}{done.stderr}"
    return image


def _copy(context: Path, folder: Path, names: Sequence[str]) -> None:
    *sources, target = names
    for source in (context / name for name in sources):
        assert source.exists(), f"COPY: the context has no {source.name}"
        if source.is_dir():
            shutil.copytree(source, folder / target, dirs_exist_ok=True)
        else:
            shutil.copy(source, folder / target / source.name if target.endswith("/") else target)


def compose_problems(
    text: str, image: Image, *, documented: str, settings: set[str], drain_s: float
) -> list[str]:
    """What is wrong with the compose file ``text``, of which the engine itself would not tell.

    ``documented`` is where its variables are explained, ``settings`` are the variables that the
    program reads, ``drain_s`` is what a process may take to end. Raises ValueError when it is no
    compose file.
    """
    document = yaml.safe_load(text)
    # Without the merge keys of YAML, which the parser leaves to whoever reads the file.
    PyCompose.from_yaml(yaml.safe_dump(document))
    services: dict[str, dict[str, Any]] = document["services"]
    problems = [
        f"{name} is explained nowhere"
        for name in sorted({match[1] for match in _VARIABLE.finditer(text)})
        if name not in documented
    ]
    for name, service in services.items():
        for wanted, how in service.get("depends_on", {}).items():
            problems += _unfit(name, wanted, how["condition"], services, image)
        if "build" not in service:
            continue
        grace_s = parse_duration(service["stop_grace_period"])
        if grace_s <= drain_s:
            problems.append(f"{name} is killed after {grace_s:g} s, and drains for {drain_s:g} s")
        problems += [
            f"{name} sets {variable}, which nobody reads"
            for variable in service["environment"]
            if variable.startswith("AEXP_") and variable not in settings
        ]
        problems += [
            f"{name} publishes {port}, on which the image does not listen"
            for port in service.get("ports", ())
            if port.rpartition(":")[2] not in image.ports
        ]
    return problems


def _unfit(
    name: str,
    wanted: str,
    condition: str,
    services: Mapping[str, Mapping[str, Any]],
    image: Image,
) -> list[str]:
    """Why ``name`` cannot wait for ``wanted`` in this way."""
    other = services.get(wanted)
    if other is None:
        return [f"{name} waits for {wanted}, which is not there"]
    check = other.get("healthcheck", {})
    healthy = bool(check.get("test") or ("build" in other and image.healthcheck))
    ends = other.get("restart", "no") == "no"
    match condition:
        case "service_healthy" if not healthy or check.get("disable"):
            return [f"{name} waits for {wanted} to be healthy, which nobody checks"]
        case "service_completed_successfully" if not ends:
            return [f"{name} waits for the end of {wanted}, which is started again"]
        case "service_started":
            return [f"{name} waits for {wanted} to have started, which says nothing"]
    return []
