"""Answers errors with problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from data.errors import DataError

PROBLEM_JSON = "application/problem+json"
_MAX_ERRORS, _MAX_LENGTH = 20, 200  # number of errors in an answer; characters of each text from the request


class InputError(BaseModel):
    """One error of the input."""

    location: list[str | int] = Field(description="Path to the value: names, and positions from 0.")
    message: str


class Problem(BaseModel):
    """Why a request failed."""

    type: str = Field("about:blank", description="Always about:blank: the status is the type of the problem.")
    title: str = Field(description="Name of the status.")
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="The error, and how to correct it.")
    errors: list[InputError] | None = Field(None, description="All errors of the input.")


class ProblemError(HTTPException):
    """Ends a request with this status and problem details."""

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, errors: Sequence[InputError] = ()
    ) -> None:
        super().__init__(status, detail, headers)
        self.errors = errors

    def response(self) -> Response:
        problem = Problem(
            title=HTTPStatus(self.status_code).phrase,
            status=self.status_code,
            detail=self.detail,
            errors=list(self.errors) or None,
        )
        content = problem.model_dump_json(exclude_none=True)
        return Response(content, self.status_code, headers=self.headers, media_type=PROBLEM_JSON)


def add_error_handlers(app: FastAPI) -> None:
    """Let the application answer errors with problem details."""
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid_request)
    app.add_exception_handler(DataError, _answer_data_error)


def problem_responses(descriptions: Mapping[int | str, str]) -> dict[int | str, dict[str, Any]]:
    """Responses for the OpenAPI description, from the meaning of each status."""
    return {status: {"model": Problem, "description": text} for status, text in descriptions.items()}


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """Answer our own errors, and those of FastAPI's routing and JSON parsing."""
    assert isinstance(error, HTTPException)
    if isinstance(error, ProblemError):
        return error.response()
    status, detail = {
        400: (422, "body: invalid JSON."),
        404: (404, "There is no such route. /openapi.json lists all routes."),
        405: (405, f"This route does not accept {request.method[:20]}. The header Allow lists its methods."),
    }.get(error.status_code, (error.status_code, error.detail))
    return ProblemError(status, detail, headers=error.headers).response()


async def _answer_invalid_request(_request: Request, error: Exception) -> Response:
    """Answer a body that does not match the schema, with texts of the request shortened."""
    assert isinstance(error, RequestValidationError)
    errors = [  # a location begins with "body" and the kind of request, or the position of a JSON error
        InputError(location=[_shortened(part) for part in one["loc"][2:]], message=_shortened(one["msg"]))
        for one in error.errors()[:_MAX_ERRORS]
    ]
    place = ".".join(map(str, errors[0].location)) or "body"
    return ProblemError(422, f"{place}: {errors[0].message}", errors=errors).response()


async def _answer_data_error(_request: Request, error: Exception) -> Response:
    """Answer values that do not fit the models."""
    return ProblemError(422, str(error)).response()


def _shortened(part: Any) -> Any:
    return part if isinstance(part, int) or len(part) <= _MAX_LENGTH else f"{part[:_MAX_LENGTH]}..."
