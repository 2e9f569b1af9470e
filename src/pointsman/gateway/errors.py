"""The one error shape of the data plane, and the table from kinds to HTTP statuses."""

from typing import Final

import msgspec

from pointsman.domain.errors import Kind, PointsmanError

STATUS: Final[dict[Kind, int]] = {
    Kind.MALFORMED: 400,
    Kind.INVALID: 400,
    Kind.TOO_LARGE: 413,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.METHOD_NOT_ALLOWED: 405,
    Kind.CONFLICT: 409,
    Kind.NOT_AVAILABLE_YET: 501,
    Kind.TIMEOUT: 504,
    Kind.OVERLOADED: 503,
    Kind.UNAVAILABLE: 503,
    Kind.LOG_UNAVAILABLE: 503,
    Kind.BACKEND_FAILED: 503,
    Kind.INTERNAL: 500,
}

_encoder = msgspec.json.Encoder()

INTERNAL: Final = PointsmanError(
    Kind.INTERNAL,
    "the gateway failed on this request",
    hint="the worker's log has the details; please report it",
)


def body(error: PointsmanError) -> bytes:
    """`{"error": "<text>", "kind": "<kind>", "hint"?: "<text>", "violations"?: [...]}`.

    `error` is a string at the top because Open Inference clients print exactly that member.
    """
    shape: dict[str, object] = {"error": error.message, "kind": error.kind.value}
    if error.hint:
        shape["hint"] = error.hint
    if error.violations:
        shape["violations"] = [
            {"path": v.path, "message": v.message, **({"hint": v.hint} if v.hint else {})}
            for v in error.violations
        ]
    return _encoder.encode(shape)
