"""Answers errors as problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, TypeAdapter
from starlette.exceptions import HTTPException

from data.errors import DataError

PROBLEM_JSON = "application/problem+json"
_MAX_ERRORS, _MAX_LENGTH = 20, 200  # in an answer: number of errors, and characters of each text from the request


class InputError(BaseModel):
    """What is wrong at one place of the input."""

    location: list[str | int] = Field(description="Names and numbers (from 0) that lead to the place.")
    message: str


class Problem(BaseModel):
    """Why a request was not answered as asked."""

    type: str = Field("about:blank", description="Always about:blank: the status says what kind of problem it is.")
    title: str = Field(description="The status in words.")
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="What is wrong and what to do.")
    errors: list[InputError] | None = Field(None, description="What is wrong with the input, place by place.")


_PROBLEM = TypeAdapter(Problem)


class ProblemError(HTTPException):
    """Ends a request with this status and these details.

    Parameters
    ----------
    detail
        What is wrong and what to do, for the client.
    """

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
        content = _PROBLEM.dump_json(problem, exclude_none=True)
        return Response(content, self.status_code, headers=self.headers, media_type=PROBLEM_JSON)


def add_error_handlers(app: FastAPI) -> None:
    """Let the application answer each error as a problem."""
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid_request)
    app.add_exception_handler(DataError, _answer_data_error)


def problem_responses(descriptions: Mapping[int | str, str]) -> dict[int | str, dict[str, Any]]:
    """Responses for the OpenAPI description, from what each status means."""
    return {status: {"model": Problem, "description": text} for status, text in descriptions.items()}


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """Our own problems, and those of FastAPI's routing and body parsing."""
    assert isinstance(error, HTTPException)
    if isinstance(error, ProblemError):
        return error.response()
    status, detail = {
        400: (422, "body: it cannot be read as JSON."),
        404: (404, "There is nothing at this address; /openapi.json describes what there is."),
        405: (405, f"This address does not take {request.method[:20]}; see the header Allow."),
    }.get(error.status_code, (error.status_code, error.detail))
    return ProblemError(status, detail, headers=error.headers).response()


async def _answer_invalid_request(_request: Request, error: Exception) -> Response:
    """A body that does not match the schema; the answer repeats nothing long of it."""
    assert isinstance(error, RequestValidationError)
    errors = [  # a location begins with "body", and the kind of request or the position of a JSON error
        InputError(location=[_shortened(part) for part in one["loc"][2:]], message=_shortened(one["msg"]))
        for one in error.errors()[:_MAX_ERRORS]
    ]
    place = ".".join(map(str, errors[0].location)) or "body"
    return ProblemError(422, f"{place}: {errors[0].message}", errors=errors).response()


async def _answer_data_error(_request: Request, error: Exception) -> Response:
    """Values that the models cannot read."""
    return ProblemError(422, str(error)).response()


def _shortened(part: Any) -> Any:
    return part if isinstance(part, int) or len(part) <= _MAX_LENGTH else f"{part[:_MAX_LENGTH]}..."
