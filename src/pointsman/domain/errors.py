"""Every error Pointsman answers with: what kind it is, whose fault, what happened, what to do.

Kinds belong here; status codes belong to the edges (gateway and controller each keep one table from
`Kind` to status, and a test holds that every kind has a row).
"""

from enum import StrEnum
from typing import Any

import msgspec


class Fault(StrEnum):
    """Whose move it is."""

    CALLER = "caller"
    OURS = "ours"
    BACKEND = "backend"
    OPERATOR = "operator"


class Kind(StrEnum):
    """The closed set of things that go wrong, one word each."""

    MALFORMED = "malformed"  # the bytes are not what the protocol says
    INVALID = "invalid"  # well-formed, but breaks a rule of the spec or signature
    TOO_LARGE = "too_large"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"  # compare-and-swap lost, or the same id with another body
    NOT_AVAILABLE_YET = "not_available_yet"  # parsed, but its engine comes later
    TIMEOUT = "timeout"
    OVERLOADED = "overloaded"
    UNAVAILABLE = "unavailable"  # a part we need is not there (no table, model not loaded)
    LOG_UNAVAILABLE = "log_unavailable"  # what cannot be recorded is not acknowledged
    BACKEND_FAILED = "backend_failed"  # a model or registry answered wrongly or not at all
    INTERNAL = "internal"


UNREADABLE = "which are not probabilities"
"""In the message where a model answered, and what it answered cannot be used: NaN, for example."""


_FAULT: dict[Kind, Fault] = {
    Kind.MALFORMED: Fault.CALLER,
    Kind.INVALID: Fault.CALLER,
    Kind.TOO_LARGE: Fault.CALLER,
    Kind.UNAUTHENTICATED: Fault.CALLER,
    Kind.FORBIDDEN: Fault.CALLER,
    Kind.NOT_FOUND: Fault.CALLER,
    Kind.METHOD_NOT_ALLOWED: Fault.CALLER,
    Kind.CONFLICT: Fault.CALLER,
    Kind.NOT_AVAILABLE_YET: Fault.CALLER,
    Kind.TIMEOUT: Fault.BACKEND,
    Kind.OVERLOADED: Fault.OURS,
    Kind.UNAVAILABLE: Fault.OPERATOR,
    Kind.LOG_UNAVAILABLE: Fault.OURS,
    Kind.BACKEND_FAILED: Fault.BACKEND,
    Kind.INTERNAL: Fault.OURS,
}


class Violation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing wrong at one place, and what to do about it.

    path: dotted, as a user would write it: `spec.rules[1].split`
    file, line, column: 1-based; empty and 0 where there is no file
    """

    path: str
    message: str
    hint: str = ""
    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.file else ""
        path = f"{self.path}: " if self.path else ""
        hint = f"\n  hint: {self.hint}" if self.hint else ""
        return f"{place}{path}{self.message}{hint}"


class PointsmanError(Exception):
    """An expected failure: `message` says what, `hint` what to do, `violations` where."""

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        hint: str = "",
        violations: tuple[Violation, ...] = (),
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.hint = hint
        self.violations = violations

    @property
    def fault(self) -> Fault:
        return _FAULT[self.kind]

    def as_dict(self) -> dict[str, Any]:
        """The one error shape of the admin API (RFC 9457 members plus ours), without the status."""
        body: dict[str, Any] = {
            "type": f"urn:pointsman:error:{self.kind.value}",
            "title": self.kind.value,
            "detail": self.message,
            "fault": self.fault.value,
        }
        if self.hint:
            body["hint"] = self.hint
        if self.violations:
            body["violations"] = [msgspec.to_builtins(v) for v in self.violations]
        return body
