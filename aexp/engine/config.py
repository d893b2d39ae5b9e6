"""The configuration with which a process launches DBOS: a user's own, but for what must be ours."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import structlog
from dbos import DBOSConfig

from aexp.database import DatabaseUrl
from aexp.database.connect import alive_when_used
from aexp.engine.declared import Declarations
from aexp.engine.tracing import begin_tracing
from aexp.settings import Settings

__all__ = [
    "APPLICATION_NAME",
    "SCHEDULER_POLL_S",
    "make_config",
    "merge_config",
    "warn_of_overridden",
]

APPLICATION_NAME = "aexp"
SCHEDULER_POLL_S = 0.25
# How DBOS is told of another database than ours, of another process than this one, or of somebody
# who manages it from elsewhere.
_NEVER_THEIRS = frozenset(
    {
        "auto_upgrade", "auto_upgrade_grace_sec", "auto_upgrade_interval_sec",
        "conductor_executor_metadata", "conductor_key", "conductor_metadata_only_mode",
        "conductor_url", "dbos_system_schema", "sharding", "system_database_engine",
        "transact_enterprise_key",
    }
)  # fmt: skip
# Ours only where the module says nothing.
_DEFAULTS = frozenset(
    {"max_executor_threads", "notification_listener_polling_interval_sec", "sys_db_pool_size"}
)
_SYSTEM_SCHEMA = "dbos"

log = structlog.stdlib.get_logger("aexp.engine.config")


def make_config(
    settings: Settings,
    url: DatabaseUrl,
    declared: Declarations,
    *,
    application: str,
    version: str,
    session_name: str,
) -> DBOSConfig:
    """Make the configuration of a process, and say in the log what of ``declared`` it overrides."""
    ours: DBOSConfig = {
        "name": application,
        "system_database_url": url.libpq,
        "application_version": version,
        "executor_id": settings.executor_id,
        # DBOS's default is unbounded: a thousand gathered calls would make a thousand threads.
        "max_executor_threads": settings.executor_threads,
        "sys_db_pool_size": settings.system_pool_size,
        "db_engine_kwargs": {
            **alive_when_used(),
            "connect_args": {"application_name": session_name},
        },
        "notification_listener_polling_interval_sec": 0.1,
        "scheduler_polling_interval_sec": SCHEDULER_POLL_S,
        # What aexp.log has set: DBOS would set its logger back to INFO.
        "log_level": logging.getLevelName(logging.getLogger("dbos").getEffectiveLevel()),
        "run_migrations": False,
        # To the provider of aexp.engine.tracing, which says where they go.
        "enable_otlp": begin_tracing(),
        "otel_attribute_format": "semconv",
    }
    config, overridden = merge_config(ours, declared.config)
    if overridden:
        log.warning("config.overridden", keys=", ".join(overridden))
    return config


def warn_of_overridden(settings: Settings, url: DatabaseUrl, declared: Declarations) -> None:
    """Say in the log what of ``declared`` is overridden, for who launches DBOS elsewhere."""
    if declared.config:
        make_config(
            settings,
            url,
            declared,
            application=APPLICATION_NAME,
            version=f"{APPLICATION_NAME}-",
            session_name=APPLICATION_NAME,
        )


def merge_config(ours: DBOSConfig, theirs: Mapping[str, Any]) -> tuple[DBOSConfig, list[str]]:
    """Return ``theirs`` with what must be ours, and the names of what was overridden by it.

    Theirs are the serializer, patching, and how many threads and connections there may be; ours are
    the database, and what keeps runs and processes apart.
    """
    given = {name: value for name, value in theirs.items() if value is not None}
    merged = {name: value for name, value in given.items() if name not in _NEVER_THEIRS}
    merged |= {name: value for name, value in ours.items() if name not in _DEFAULTS & given.keys()}
    options: Mapping[str, Any] = given.get("db_engine_kwargs", {})
    merged["db_engine_kwargs"] = {**options, **(ours.get("db_engine_kwargs") or {})}
    expected: Mapping[str, Any] = {"dbos_system_schema": _SYSTEM_SCHEMA, **ours}
    overridden = [
        name
        for name, value in given.items()
        if name != "db_engine_kwargs"
        and merged.get(name, expected.get(name)) != value
        and (value or name not in _NEVER_THEIRS)
    ]
    settings: Any = merged
    config: DBOSConfig = settings
    return config, sorted(overridden)
