"""The OpenAPI document, completed."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from aexp.service.examples import EXAMPLES
from aexp.service.middleware import OPEN_PATHS
from aexp.service.schemas import Problem

__all__ = ["describe"]


def describe(app: FastAPI, *, with_token: bool) -> None:
    """Let ``app`` tell of its problems, of examples, and of the token if it needs one."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = make()
            components = document.setdefault("components", {})
            schemas = components.setdefault("schemas", {})
            schemas["Problem"] = Problem.model_json_schema()
            # The framework leaves out what is null.
            for name, example in EXAMPLES.items():
                schemas[name]["examples"] = [example]
            # What the framework would answer, did we not.
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            if with_token:
                components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
                document["security"] = [{"token": []}]
                for path in OPEN_PATHS:
                    for operation in document["paths"][path].values():
                        operation["security"] = []
        document = app.openapi_schema or document
        app.openapi_schema = document
        return document

    app.openapi = openapi  # type: ignore[method-assign]
