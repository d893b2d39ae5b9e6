"""PostgreSQL: where it is, whether it is fit, its schema, and connections to it."""

from aexp.database.connect import Database, open_database
from aexp.database.locate import embedded_home, locate_database, running_database
from aexp.database.schema import SCHEMA_REVISION, ensure_schema, require_schema
from aexp.database.url import DatabaseUrl

__all__ = [
    "SCHEMA_REVISION",
    "Database",
    "DatabaseUrl",
    "embedded_home",
    "ensure_schema",
    "locate_database",
    "open_database",
    "require_schema",
    "running_database",
]
