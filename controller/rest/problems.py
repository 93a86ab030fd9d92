"""What REST says when it cannot do what it is asked: problem+json (RFC 9457), in answers and in their description."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from controller.domain.reports import Model
from controller.errors import CannotRun, Conflict, InvalidChannel, NotAdmitted, Outdated, UnknownChannel
from controller.topology_file.source import one_line

LOG = logging.getLogger(__name__)
PROBLEM = "application/problem+json"
RETRY_AFTER_S = 1

Responses = dict[int | str, dict[str, Any]]


class Problem(Model):
    """What went wrong, in the form of RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


class KeyProblem(Model):
    """What is wrong with one key of an entry; with all of it where `key` is empty."""

    key: str
    message: str


class InvalidProblem(Problem):
    """An entry that is not valid, with everything that is wrong with it."""

    errors: tuple[KeyProblem, ...] = ()


class RefusedProblem(Problem):
    """A change that does not go together with what is there. `reasons` are those of admission, if it refuses."""

    reasons: tuple[str, ...] = ()


def describing(*statuses: HTTPStatus, model: type[Model] = Problem) -> Responses:
    """For the description of a route: it may answer with these."""
    return {int(status): {"model": model, "description": status.phrase} for status in statuses}


def problem(
    status: int, detail: str, headers: Mapping[str, str] | None = None, model: type[Problem] = Problem, **more: Any
) -> JSONResponse:
    """An answer that says what went wrong, whatever characters the request had."""
    made = model(title=HTTPStatus(status).phrase, status=status, detail=one_line(detail), **more)
    return JSONResponse(made.model_dump(), status_code=status, headers=headers, media_type=PROBLEM)


def add_problems(app: FastAPI) -> None:
    """Have `app` answer every error with a problem, and say so in its description."""
    app.add_exception_handler(StarletteHTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(InvalidChannel, _invalid)
    app.add_exception_handler(NotAdmitted, _not_admitted)
    app.add_exception_handler(CannotRun, _unavailable)
    app.add_exception_handler(TimeoutError, _busy)
    for error, status in _STATUSES.items():
        app.add_exception_handler(error, _plain(status))
    app.add_exception_handler(Exception, _unforeseen)
    app.openapi = _with_media_type(app.openapi)  # type: ignore[method-assign]


_STATUSES = {
    Conflict: HTTPStatus.CONFLICT,
    Outdated: HTTPStatus.PRECONDITION_FAILED,
    UnknownChannel: HTTPStatus.NOT_FOUND,
}


def _plain(status: HTTPStatus) -> Callable[[Request, Exception], JSONResponse]:
    model = RefusedProblem if status is HTTPStatus.CONFLICT else Problem
    return lambda _, error: problem(status, str(error), model=model)


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    is_plain = error.detail == HTTPStatus(error.status_code).phrase
    detail = f"{request.method} {request.url.path} is not served here; see /docs" if is_plain else error.detail
    return problem(error.status_code, detail, error.headers)


def _validation(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [KeyProblem(key=one_line(".".join(map(str, each["loc"]))), message=each["msg"]) for each in error.errors()]
    return _invalid_problem(errors)


def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, InvalidChannel)
    return _invalid_problem([KeyProblem(key=key, message=message) for key, message in error.problems])


def _invalid_problem(errors: list[KeyProblem]) -> JSONResponse:
    detail = "; ".join(f"{each.key}: {each.message}" if each.key else each.message for each in errors)
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, model=InvalidProblem, errors=tuple(errors))


def _not_admitted(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, NotAdmitted)
    detail = "the links cannot keep all deadlines with this channel"
    return problem(HTTPStatus.CONFLICT, detail, model=RefusedProblem, reasons=error.reasons)


def _unavailable(_: Request, error: Exception) -> JSONResponse:
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), {"Retry-After": str(RETRY_AFTER_S)})


def _busy(request: Request, _: Exception) -> JSONResponse:
    return _unavailable(request, CannotRun("the domain is busy", "try again in a moment"))


def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    LOG.error("%s %s: %r", request.method, request.url.path, error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the controller's log says more")


def _with_media_type(describe: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """FastAPI gives every answer the media type of those without an error, and adds an error of its own."""

    def described() -> dict[str, Any]:
        description = describe()
        for operations in description["paths"].values():
            for operation in operations.values():
                operation["responses"] = _mended(operation["responses"])
        for unused in ("HTTPValidationError", "ValidationError"):
            description["components"]["schemas"].pop(unused, None)
        return description

    return described


def _mended(responses: Mapping[str, Any]) -> dict[str, Any]:
    mended = {}
    for status, response in responses.items():
        schema = response.get("content", {}).get("application/json", {}).get("schema", {})
        name = schema.get("$ref", "").rpartition("/")[2]
        if name.endswith("Problem"):
            mended[status] = {**response, "content": {PROBLEM: {"schema": schema}}}
        elif name != "HTTPValidationError":
            mended[status] = response
    return mended
