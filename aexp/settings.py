"""Settings: flag > environment > ``dbos-config.yaml`` > default.

Nothing but this module and ``aexp.environment`` reads the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from aexp.environment import DEFAULT_HOME, URL_VARIABLES, configured_url
from aexp.errors import UsageError

__all__ = [
    "Settings",
    "load_settings",
    "otlp_protocol",
    "psql_environment",
    "user_environment",
]


class DbosConfigSource(PydanticBaseSettingsSource):
    """The database URL of ``dbos-config.yaml`` in the working folder.

    ``${NAME}`` stands for an environment variable, as in the ``dbos`` command; one that is not
    set leaves the URL empty, which here means *not given* (``dbos`` would use SQLite).
    """

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        url = configured_url()
        return {"database_url": url} if url else {}


class Settings(BaseSettings):
    """What a process of aexp is told from outside. Immutable; unset means the default."""

    model_config = SettingsConfigDict(
        env_prefix="AEXP_",
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
        validate_default=False,
        populate_by_name=True,
    )

    database_url: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("database_url", *URL_VARIABLES),
        description="PostgreSQL URL; without one, the embedded server",
    )
    home: Path = Field(DEFAULT_HOME, description="folder of the embedded server and of recordings")
    executor_id: str = Field(
        "local",
        min_length=1,
        max_length=100,
        validation_alias=AliasChoices("executor_id", "AEXP_EXECUTOR_ID", "DBOS__VMID"),
        description="name of this executor: a restarted process recovers the work of its own name",
    )
    loop: Literal["uvloop", "asyncio"] = Field("uvloop", description="event loop")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: console on a terminal, JSON lines elsewhere"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severity that is logged; libraries log from warning on"
    )
    executor_threads: int = Field(
        12, ge=2, le=256, description="threads in which DBOS talks to PostgreSQL"
    )
    system_pool_size: int = Field(12, ge=2, le=256, description="connections of DBOS itself")
    database_pool_size: int = Field(
        8, ge=2, le=256, description="asyncpg connections for steps that write"
    )
    poll_interval_s: float = Field(
        0.05, ge=0.005, le=10, description="seconds between two looks at a queue"
    )
    drain_timeout_s: float = Field(
        5.0, ge=0, le=600, description="seconds that a signal leaves to steps in flight"
    )
    # Not AEXP_PORT: Kubernetes sets that to a URL for a service that is named `aexp`.
    listen_host: str = Field(
        "127.0.0.1", min_length=1, description="address on which `aexp serve` listens"
    )
    listen_port: int = Field(
        8000, ge=0, le=65535, description="port of `aexp serve`; 0 lets the system choose"
    )
    api_token: SecretStr | None = Field(
        None, description="what requests to the service must bear, see `aexp serve`"
    )
    debug: bool = Field(default=False, description="show tracebacks")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # Without a prefix a variable is another program's, as DATABASE_URL is.
        assert isinstance(env_settings, EnvSettingsSource)
        env_settings.env_vars = {
            name: value
            for name, value in env_settings.env_vars.items()
            if name not in cls.model_fields
        }
        return init_settings, env_settings, DbosConfigSource(settings_cls)

    def echo(self) -> dict[str, Any]:
        """Return JSON values for a result file, without the database URL and the token."""
        return self.model_dump(mode="json", exclude={"api_token", "database_url"})


def load_settings(flags: Mapping[str, Any]) -> Settings:
    """Read the settings; ``flags`` that are None count as not given.

    Raises UsageError naming the first setting that is wrong and what it takes.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise UsageError(f"setting {name}: {first['msg']}") from error


def otlp_protocol() -> str | None:
    """Return the protocol by which traces are to be sent; None when nobody asks for them.

    By OpenTelemetry's own variables (specification, "Environment Variable Specification"), but
    without an endpoint or an exporter named nothing is sent, where the specification would try
    this machine.
    """
    if _otel("SDK_DISABLED").lower() == "true":
        return None
    exporters = {name.strip() for name in _otel("TRACES_EXPORTER").split(",")} - {""}
    endpoint = _otel("EXPORTER_OTLP_TRACES_ENDPOINT") or _otel("EXPORTER_OTLP_ENDPOINT")
    if "otlp" not in exporters and (exporters or not endpoint):
        return None
    return (
        _otel("EXPORTER_OTLP_TRACES_PROTOCOL") or _otel("EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
    )


def _otel(name: str) -> str:
    return os.environ.get(f"OTEL_{name}", "").strip()


def user_environment(overrides: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a child process of users' code: ours, with ``overrides``.

    It finds this package where we did, also in a checkout that is not installed, and the service's
    token is kept from it.
    """
    package = str(Path(__file__).parent.parent)
    known = os.environ.get("PYTHONPATH")
    path = f"{package}{os.pathsep}{known}" if known else package
    return {**os.environ, "AEXP_API_TOKEN": "", "PYTHONPATH": path, **overrides}


def psql_environment(password: str | None) -> dict[str, str]:
    """Return the environment for psql: ours, with the password, if there is one."""
    return {**os.environ, **({"PGPASSWORD": password} if password is not None else {})}
