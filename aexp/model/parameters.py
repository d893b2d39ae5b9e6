"""The base of a scenario's parameters."""

from __future__ import annotations

from pydantic import (
    BaseModel,
    ConfigDict,
    JsonValue,
)

__all__ = ["NAMES_PLACE", "Parameters"]

# What a field's json_schema_extra says when its value is the URL of a place: a folder, a server or
# a bucket. A service lets requests name them only where it was told so.
NAMES_PLACE: dict[str, JsonValue] = {"x-names-place": True}


class Parameters(BaseModel):
    """Base of a scenario's parameters: immutable, and a name it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
