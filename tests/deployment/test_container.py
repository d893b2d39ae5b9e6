"""The image builds, serves and drains; the compose file starts nothing before what it needs.

No engine is needed: the Dockerfile's own commands run in a fresh venv.
"""

from __future__ import annotations

import re
import signal
import socket
import tomllib
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml

from aexp.cli.commands.worker import worker
from aexp.database import DatabaseUrl, embedded
from aexp.runs.host.opening import POOL_SIZE
from aexp.service.server import GRACE_S
from aexp.settings import Settings
from tests.conftest import server_folder
from tests.support.cli import TIMEOUT_S, Cli, wait_until
from tests.support.container import Image, build, compose_problems, parse_image

ROOT = Path(__file__).parent.parent.parent
TOKEN = "a-token-that-is-long-enough"
COMPOSE = (ROOT / "compose.yaml").read_text()
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE)["services"]


def free_port() -> int:
    """A port on which nobody listens at the moment, for a program that must be told one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def image_of_the_checkout() -> Image:
    return parse_image((ROOT / "Dockerfile").read_text())


def problems(text: str) -> list[str]:
    return compose_problems(
        text,
        image_of_the_checkout(),
        documented=(ROOT / "envrc-template").read_text(),
        settings={f"AEXP_{name.upper()}" for name in Settings.model_fields},
        drain_s=Settings().drain_timeout_s + GRACE_S,
    )


@pytest.mark.nightly
def test_what_the_dockerfile_builds_migrates_serves_and_drains(
    empty_database: DatabaseUrl, tmp_path: Path
) -> None:
    image = build(ROOT, tmp_path)
    files = sorted(image.folder.rglob("*"))
    port = free_port()
    given = {
        "DBOS_SYSTEM_DATABASE_URL": empty_database.libpq,
        "AEXP_API_TOKEN": TOKEN,
        "AEXP_LISTEN_PORT": str(port),
    }
    # It goes without the embedded server, and says so to those who name no other.
    alone = image.run(["aexp", "db", "url"], {})
    assert (alone.returncode, alone.stdout) == (3, "")
    assert "set DBOS_SYSTEM_DATABASE_URL" in alone.stderr

    migrated = image.run(SERVICES["migrate"]["command"], given)
    assert migrated.returncode == 0, migrated.stderr
    assert image.run(image.healthcheck, given).returncode != 0
    with image.running(image.command, given) as service:
        wait_until(lambda: image.run(image.healthcheck, given).returncode == 0, poll_s=0.2)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert client.get("/runs").status_code == 401
            ran = client.post(
                "/trigger_sync?scenario=resume",
                json={"kills": 1},
                headers={"Authorization": f"Bearer {TOKEN}"},
                timeout=TIMEOUT_S,
            )
        assert (ran.status_code, ran.json()["ok"]) == (200, True)
        service.send_signal(getattr(signal, image.stop_signal))
        said, _ = service.communicate(timeout=TIMEOUT_S)
        assert service.returncode == 0, said
    with psycopg.connect(empty_database.libpq) as connection:
        assert connection.execute(
            "SELECT count(DISTINCT position) FROM aexp.publications"
        ).fetchone() == (20,)
    # Whoever it runs as there may write nothing.
    assert sorted(image.folder.rglob("*")) == files


def test_the_image_is_of_a_python_that_will_do_and_nobody_in_particular() -> None:
    image = image_of_the_checkout()
    version = image.base.removeprefix("python:").partition("-")[0]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]
    assert image.user.partition(":")[0].isdecimal()
    assert int(image.user.partition(":")[0]) != 0
    assert image.environment["AEXP_LISTEN_PORT"] in image.ports


@pytest.mark.parametrize(
    ("dockerfile", "reason"),
    [
        ("COPY ignored.txt ./", "the context has no ignored.txt"),
        ("RUN echo broken >&2; exit 1", "broken"),
        ("ONBUILD RUN true", "ONBUILD is not carried out"),
    ],
)
def test_a_dockerfile_that_does_not_build_is_found_out(
    tmp_path: Path, dockerfile: str, reason: str
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM python\nWORKDIR /here\n{dockerfile}\n")
    (tmp_path / ".dockerignore").write_text("*.txt\n")
    (tmp_path / "ignored.txt").touch()
    with pytest.raises(AssertionError, match=reason):
        build(tmp_path, tmp_path / "built")


def test_the_compose_file_is_one_and_starts_nothing_before_what_it_needs() -> None:
    assert problems(COMPOSE) == []
    for name, service in SERVICES.items():
        if name != "postgres":
            assert service["depends_on"]["postgres"]["condition"] == "service_healthy"
    for name in ("service", "worker"):
        condition = SERVICES[name]["depends_on"]["migrate"]["condition"]
        assert condition == "service_completed_successfully"


def test_the_database_has_room_for_all_that_its_executors_may_take() -> None:
    scaled = re.search(r"--scale worker=(\d+)", COMPOSE)
    room = re.search(r"-cmax_connections=(\d+)", COMPOSE)
    assert scaled is not None
    assert room is not None
    runs: Any
    (runs,) = (option.default for option in worker.params if option.name == "max_active_runs")
    # What a host has besides its runs: its two pools, DBOS's, its hold, and one to be probed with.
    besides = POOL_SIZE + POOL_SIZE // 2 + 2 + 2
    assert int(room[1]) >= (1 + int(scaled[1])) * (30 * runs + besides)


def test_the_password_of_the_database_need_not_stand_in_the_url(tmp_path: Path) -> None:
    with server_folder() as folder:
        url = embedded.start(folder / ".aexp")
        with psycopg.connect(url.libpq, autocommit=True) as connection:
            connection.execute("ALTER ROLE CURRENT_USER PASSWORD 'any: char@cter/s'")
            (rules,) = connection.execute("SHOW hba_file").fetchone() or ("",)
            Path(rules).write_text("local all all scram-sha-256\n")
            connection.execute("SELECT pg_reload_conf()")
        assert "PGPASSWORD" in SERVICES["service"]["environment"]
        with Cli(folder=tmp_path, url=url) as cli:
            wait_until(lambda: cli("db", "migrate").code == 3, poll_s=0.1)
            cli.environment = {"PGPASSWORD": "any: char@cter/s"}
            ran = cli("run", "resume", "--json")
            assert ran.code == 0, ran.stderr
            assert ran.json["account"]["messages"]["once"] == 20


@pytest.mark.parametrize(
    ("right", "wrong", "reason"),
    [
        ("      postgres:\n        c", "      postgre:\n        c", "waits for postgre, which is"),
        ("service_healthy", "service_started", "which says nothing"),
        ("      test: [", "      x-test: [", "to be healthy, which nobody checks"),
        ('restart: "no"', "restart: always", "the end of migrate, which is started again"),
        ("stop_grace_period: 60s", "stop_grace_period: 10s", "is killed after 10 s"),
        ("${AEXP_API_TOKEN:?", "${AEXP_TOKEN:?", "AEXP_TOKEN is explained nowhere"),
        ("AEXP_API_TOKEN: ", "AEXP_TOKEN: ", "sets AEXP_TOKEN, which nobody reads"),
        (":8000:8000", ":8000:80", "on which the image does not listen"),
    ],
)
def test_a_compose_file_with_a_mistake_is_found_out(right: str, wrong: str, reason: str) -> None:
    assert right in COMPOSE
    found = problems(COMPOSE.replace(right, wrong))
    assert any(reason in problem for problem in found), found


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("service_healthy", "service_health"),
        ("stop_grace_period", "stop_grace"),
        ("60s", "60 moments"),
        ('test: ["CMD", ', 'test: ["RUN", '),
    ],
)
def test_what_is_no_compose_file_is_found_out(right: str, wrong: str) -> None:
    assert right in COMPOSE
    with pytest.raises(ValueError, match="services"):
        problems(COMPOSE.replace(right, wrong))


@pytest.mark.parametrize(
    "name",
    ["migrate", "service", "worker"],
)
def test_the_services_run_commands_that_there_are(cli: Cli, name: str) -> None:
    program, *arguments = SERVICES[name].get("command", image_of_the_checkout().command)
    assert program == "aexp"
    assert cli(*arguments, "--help").code == 0
