"""How the server says no: problem details for HTTP APIs (RFC 9457), which tell what to change and nothing inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field, TypeAdapter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

PROBLEM_JSON = "application/problem+json"
SCHEMA = "Problem"


class InputError(BaseModel):
    """What is wrong with one place of the input."""

    location: list[str | int] = Field(description="Names and numbers (from 0) that lead to the place.")
    message: str


class ProblemDetails(BaseModel):
    """Why a request was not answered as asked."""

    type: str = Field("about:blank", description="Always about:blank: the status says what kind of problem it is.")
    title: str = Field(description="The status in words.")
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="What is wrong and what to do.")
    errors: list[InputError] | None = Field(None, description="What is wrong with the input, place by place.")


class ProblemError(Exception):
    """Ends a request with this status and these details.

    Parameters
    ----------
    detail
        What is wrong and what to do, for the one who asked.
    """

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, errors: Sequence[InputError] = ()
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.errors = status, detail, headers, errors

    def response(self) -> Response:
        details = ProblemDetails(
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            errors=list(self.errors) or None,
        )
        return Response(
            _DETAILS.dump_json(details, exclude_none=True),
            self.status,
            headers=self.headers,
            media_type=PROBLEM_JSON,
        )


_DETAILS = TypeAdapter(ProblemDetails)


async def answer_problem(_request: Request, problem: Exception) -> Response:
    """The handler of our own problems."""
    assert isinstance(problem, ProblemError)
    return problem.response()


async def answer_http_error(request: Request, error: Exception) -> Response:
    """The handler of what routing refuses: an address or a method that there is not."""
    assert isinstance(error, HTTPException)
    details = {
        404: "There is nothing at this address; /openapi.json describes what there is.",
        405: f"This address does not take {request.method[:20]}; see the header Allow.",
    }
    return ProblemError(
        error.status_code, details.get(error.status_code, error.detail), headers=error.headers
    ).response()


def declared(**statuses: str) -> dict[int | str, dict[str, Any]]:
    """Responses for the API's description: ``declared(_422="what it means")``, and that any other may come."""
    described = {"default": "Any other problem.", **{name.lstrip("_"): text for name, text in statuses.items()}}
    schema = {"$ref": f"#/components/schemas/{SCHEMA}"}
    return {
        int(status) if status.isdigit() else status: {
            "description": text,
            "content": {PROBLEM_JSON: {"schema": schema}},
        }
        for status, text in described.items()
    }
