"""How the admin API answers when something is wrong: RFC 9457 problem documents."""

from typing import Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from pointsman.domain.errors import Kind, PointsmanError, Violation

_log = structlog.get_logger(__name__)

STATUS: Final[dict[Kind, int]] = {
    Kind.MALFORMED: 400,
    Kind.INVALID: 422,
    Kind.TOO_LARGE: 413,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.METHOD_NOT_ALLOWED: 405,
    Kind.CONFLICT: 409,
    Kind.NOT_AVAILABLE_YET: 422,
    Kind.TIMEOUT: 504,
    Kind.OVERLOADED: 503,
    Kind.UNAVAILABLE: 503,
    Kind.LOG_UNAVAILABLE: 503,
    Kind.BACKEND_FAILED: 502,
    Kind.INTERNAL: 500,
}

_KIND_OF_STATUS: Final = {
    400: Kind.MALFORMED,
    404: Kind.NOT_FOUND,
    405: Kind.METHOD_NOT_ALLOWED,
    413: Kind.TOO_LARGE,
}


def answer(error: PointsmanError) -> JSONResponse:
    """The error as an HTTP response, `application/problem+json`."""
    status = STATUS[error.kind]
    headers = {"www-authenticate": "Bearer"} if error.kind is Kind.UNAUTHENTICATED else None
    return JSONResponse(
        {**error.as_dict(), "status": status},
        status_code=status,
        media_type="application/problem+json",
        headers=headers,
    )


def install(app: FastAPI) -> None:
    """Makes every way out of the application speak the one error shape."""
    app.add_exception_handler(PointsmanError, _expected)
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(DBAPIError, _database)
    app.add_exception_handler(PoolTimeoutError, _database)
    app.add_exception_handler(Exception, _unexpected)


def _expected(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, PointsmanError):
        raise error
    return answer(error)


def _bad_request(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    found = tuple(
        Violation(".".join(str(part) for part in item["loc"]), str(item["msg"]))
        for item in error.errors()
    )
    return answer(PointsmanError(Kind.INVALID, "the request is not valid", violations=found))


def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    kind = _KIND_OF_STATUS.get(error.status_code, Kind.INTERNAL)
    message = f"{request.method} {request.url.path}: {error.detail}"
    return answer(PointsmanError(kind, message, hint="GET /v1/openapi.json lists what there is"))


def _database(_: Request, error: Exception) -> JSONResponse:
    _log.error("database", error=str(error))
    return answer(
        PointsmanError(
            Kind.UNAVAILABLE,
            "the database cannot be used just now; nothing was changed",
            hint="gateways keep serving; see the controller's log and `pointsman doctor`",
        )
    )


def _unexpected(_: Request, _error: Exception) -> JSONResponse:
    # The server logs the traceback: it gets the exception after this answer.
    return answer(
        PointsmanError(
            Kind.INTERNAL,
            "an error nobody foresaw; the controller's log has the traceback",
            hint="please report it with that traceback",
        )
    )
