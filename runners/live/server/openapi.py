"""The server's description of itself in OpenAPI, for people and for the programs that they write."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from runners.live.server.errors import SCHEMA, ProblemDetails, declared
from runners.live.server.middleware import KEY_HEADER, WITHOUT_KEY
from runners.live.server.schemas import BatchAsk, CandlesAsk, WindowAsk

_SCHEMAS = "#/components/schemas/"
_ASKS = (WindowAsk, CandlesAsk, BatchAsk)
_SCHEMES = {
    "key": {"type": "apiKey", "in": "header", "name": KEY_HEADER},
    "password": {"type": "http", "scheme": "basic", "description": "Any name, and the key as the password."},
}


def describe(app: FastAPI, *, keyed: bool, example: WindowAsk) -> dict[str, Any]:
    """What FastAPI knows of the routes, and what it does not: the body that we read ourselves, problems and the key.

    Parameters
    ----------
    keyed
        Whether the key is needed.
    example
        Of a request for a forecast.
    """
    described = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
    )
    window = example.model_dump()
    described["paths"]["/forecast"]["post"]["requestBody"] = {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"oneOf": [{"$ref": _SCHEMAS + kind.__name__} for kind in _ASKS]},
                "examples": {"window": {"value": window}, "batch": {"value": {"batch": [window, window]}}},
            }
        },
    }
    components = described["components"]
    components["schemas"].update(_schemas())
    components["securitySchemes"] = _SCHEMES
    for path, operations in described["paths"].items():
        needed = keyed and path not in WITHOUT_KEY
        for operation in operations.values():
            operation["security"] = [{name: []} for name in _SCHEMES] if needed else []
            if needed:
                operation["responses"]["401"] = declared(_401="The key is missing or wrong.")[401]
    return described


def _schemas() -> dict[str, Any]:
    """JSON schemas of what FastAPI does not see, by the names that references use."""
    kinds: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = [
        *((kind, "validation") for kind in _ASKS),
        (ProblemDetails, "serialization"),
    ]
    _, made = models_json_schema(kinds, ref_template=_SCHEMAS + "{model}")
    schemas = made["$defs"]
    schemas[SCHEMA] = schemas.pop(ProblemDetails.__name__)
    return schemas
