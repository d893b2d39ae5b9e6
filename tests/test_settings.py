"""Settings: flag > environment > ``dbos-config.yaml`` > default, and no password is shown."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from aexp.errors import UsageError
from aexp.log import mask
from aexp.settings import Settings, load_settings, user_environment

URL = "postgresql://ada:hunter2@db.example/aexp"

# From the strongest to the weakest.
URL_SOURCES = ("flag", "AEXP_DATABASE_URL", "DBOS_SYSTEM_DATABASE_URL", "dbos-config.yaml")
EXECUTOR_SOURCES = ("flag", "AEXP_EXECUTOR_ID", "DBOS__VMID")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith(("AEXP_", "DBOS_")):
            monkeypatch.delenv(name)


def write_config(text: str) -> None:
    """Write ``dbos-config.yaml`` into the working folder, which is the test's own."""
    Path("dbos-config.yaml").write_text(text, encoding="utf-8")


def url_of(settings: Settings) -> str | None:
    url = settings.database_url
    return url.get_secret_value() if url is not None else None


def test_without_anything_the_defaults_hold() -> None:
    settings = load_settings({})

    assert settings.database_url is None
    assert settings.home == Path(".aexp")
    assert settings.executor_id == "local"
    assert settings.loop == "uvloop"
    assert settings.debug is False


@pytest.mark.parametrize("strongest", URL_SOURCES)
def test_the_strongest_source_of_the_database_url_wins(
    strongest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {}
    for source in URL_SOURCES[URL_SOURCES.index(strongest) :]:
        url = f"postgresql://{source.lower()}/aexp"
        if source == "flag":
            flags["database_url"] = url
        elif source == "dbos-config.yaml":
            write_config(f"system_database_url: {url}\n")
        else:
            monkeypatch.setenv(source, url)

    assert url_of(load_settings(flags)) == f"postgresql://{strongest.lower()}/aexp"


@pytest.mark.parametrize("strongest", EXECUTOR_SOURCES)
def test_the_strongest_source_of_the_executor_wins(
    strongest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {}
    for source in EXECUTOR_SOURCES[EXECUTOR_SOURCES.index(strongest) :]:
        if source == "flag":
            flags["executor_id"] = source
        else:
            monkeypatch.setenv(source, source)

    assert load_settings(flags).executor_id == strongest


def test_a_flag_that_is_none_was_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AEXP_LOOP", "asyncio")

    assert load_settings({"loop": None}).loop == "asyncio"
    assert load_settings({"loop": "uvloop"}).loop == "uvloop"


@pytest.mark.parametrize("name", ["DATABASE_URL", "database_url"])
def test_the_database_of_another_program_is_not_taken(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Many platforms export this for an application's own database, which aexp would migrate.
    monkeypatch.setenv(name, "postgresql://production/shop")

    assert load_settings({}).database_url is None


def test_the_database_of_another_program_does_not_outrank_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # This is how a supervisor tells its child which database to use.
    monkeypatch.setenv("AEXP_DATABASE_URL", URL)
    monkeypatch.setenv("DATABASE_URL", "postgresql://production/shop")

    assert url_of(load_settings({})) == URL


def test_the_executor_of_another_program_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECUTOR_ID", "jenkins-7")

    assert load_settings({}).executor_id == "local"


def test_an_empty_variable_was_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = load_settings({})
    for name in Settings.model_fields:
        monkeypatch.setenv(f"AEXP_{name.upper()}", "")
    monkeypatch.setenv("DBOS_SYSTEM_DATABASE_URL", "")

    assert load_settings({}) == defaults


def test_an_empty_variable_leaves_the_weaker_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AEXP_DATABASE_URL", "")
    write_config(f"system_database_url: {URL}\n")

    assert url_of(load_settings({})) == URL


def test_the_config_names_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_PASSWORD", "hunter2")
    write_config("system_database_url: postgresql://ada:${BROKER_PASSWORD}@db.example/aexp\n")

    assert url_of(load_settings({})) == URL


@pytest.mark.parametrize(
    "text",
    ["system_database_url: ${NOT_SET_ANYWHERE}\n", "system_database_url:\n", "name: aexp\n"],
    ids=["a variable that is not set", "no value", "no key"],
)
def test_a_config_without_a_url_gives_none(text: str) -> None:
    write_config(text)

    assert load_settings({}).database_url is None


def test_the_config_of_another_folder_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(f"system_database_url: {URL}\n")
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)

    assert load_settings({}).database_url is None


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("loop", "trio", "'uvloop' or 'asyncio'"),
        ("log_level", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("executor_threads", "1", "greater than or equal to 2"),
        ("database_pool_size", "many", "valid integer"),
        ("poll_interval_s", "0", "greater than or equal to 0.005"),
        ("executor_id", "x" * 101, "at most 100 characters"),
        ("debug", "perhaps", "valid boolean"),
        ("listen_port", "65536", "less than or equal to 65535"),
    ],
)
def test_a_bad_value_is_named_wherever_it_comes_from(
    name: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=f"^setting {name}: ") as from_flag:
        load_settings({name: value})
    monkeypatch.setenv(f"AEXP_{name.upper()}", value)
    with pytest.raises(UsageError, match=f"^setting {name}: ") as from_environment:
        load_settings({})

    assert reason in str(from_flag.value)
    assert reason in str(from_environment.value)


def test_a_url_that_is_no_text_is_named_without_its_password() -> None:
    write_config(f"system_database_url: [{URL!r}]\n")

    with pytest.raises(UsageError, match=r"^setting database_url: ") as raised:
        load_settings({})

    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    ["system_database_url: [\n", "name: 'aexp\n", "a: b: c\n", "\tname: aexp\n", "a: \x07\n"],
    ids=["open list", "open quote", "two colons", "tab", "control character"],
)
def test_a_malformed_config_is_named_in_one_line(text: str) -> None:
    write_config(text)

    with pytest.raises(UsageError, match=r"^dbos-config\.yaml is not YAML: ") as raised:
        load_settings({})

    assert "\n" not in str(raised.value)


def test_a_config_with_an_impossible_date_is_a_usage_error() -> None:
    write_config("released: 2024-13-45\n")

    with pytest.raises(UsageError, match=r"^dbos-config\.yaml "):
        load_settings({})


def test_a_config_that_is_not_utf8_is_a_usage_error() -> None:
    Path("dbos-config.yaml").write_bytes(b"name: caf\xe9\n")

    with pytest.raises(UsageError, match=r"^dbos-config\.yaml "):
        load_settings({})


@pytest.mark.parametrize("text", ["- system_database_url\n", "aexp\n", "7\n"])
def test_a_config_that_is_no_mapping_is_refused(text: str) -> None:
    write_config(text)

    with pytest.raises(UsageError, match=r"^dbos-config\.yaml must hold a mapping"):
        load_settings({})


@pytest.mark.parametrize("user", ["ada", "a" * 60], ids=["whole in the excerpt", "cut by it"])
def test_a_malformed_config_does_not_tell_its_password(user: str) -> None:
    # The parser quotes some 70 characters around the fault.
    write_config(f"system_database_url: postgresql://{user}:hunter2@h/d: x\n")

    with pytest.raises(UsageError) as raised:
        load_settings({})

    assert "hunter2" not in mask(str(raised.value))  # as the command prints it


def test_the_password_is_in_nothing_that_is_shown() -> None:
    settings = load_settings({"database_url": URL})

    shown = [repr(settings), str(settings), json.dumps(settings.echo()), settings.model_dump_json()]
    assert all("hunter2" not in text for text in shown)
    assert url_of(settings) == URL


def test_the_echo_is_json_and_has_every_setting_but_the_url() -> None:
    echo = load_settings({"database_url": URL, "home": Path("elsewhere")}).echo()

    assert json.loads(json.dumps(echo)) == echo
    assert set(echo) == set(Settings.model_fields) - {"api_token", "database_url"}
    assert echo["home"] == "elsewhere"


def test_settings_do_not_change() -> None:
    settings = load_settings({})

    with pytest.raises(ValidationError, match="frozen"):
        settings.loop = "asyncio"  # type: ignore[misc]


def test_a_child_gets_our_environment_and_what_overrides_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KEPT", "kept")
    monkeypatch.setenv("REPLACED", "old")

    monkeypatch.setenv("PYTHONPATH", "theirs")

    monkeypatch.setenv("AEXP_API_TOKEN", "not for a scenario")

    environment = user_environment({"REPLACED": "new", "ADDED": "added"})

    ours, theirs = environment["PYTHONPATH"].split(os.pathsep)
    assert (Path(ours) / "aexp" / "settings.py").is_file()
    assert theirs == "theirs"
    # Empty is as good as not set.
    assert environment["AEXP_API_TOKEN"] == ""
    assert environment["KEPT"] == "kept"
    assert (environment["REPLACED"], environment["ADDED"]) == ("new", "added")
    assert (os.environ["REPLACED"], os.environ.get("ADDED")) == ("old", None)
