"""Secrets by reference: settings say where a secret is, never what it is.

Arguments of a process are there for every user of the machine to read, and settings end up in
files under version control. So a secret is named as `${env:NAME}` or `${file:/path}`, and read when
it is needed: a file that changes is heeded without a restart.
"""

import base64
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pointsman.domain.errors import Kind, PointsmanError

_REFERENCE: Final = re.compile(r"\$\{(env:[A-Za-z_][A-Za-z0-9_]*|file:/[^}\0]+)\}")
_MOST_BYTES: Final = 8192
HINT: Final = "write ${env:NAME} or ${file:/path}, in single quotes in a shell"


def is_reference(text: str) -> bool:
    return _REFERENCE.fullmatch(text) is not None


def variable(reference: str) -> str:
    """The environment variable it names; empty for a file."""
    inner = reference.removeprefix("${").removesuffix("}")
    return inner.removeprefix("env:") if inner.startswith("env:") else ""


def read(reference: str, what: str) -> str:
    """The secret, without the end of its line. what: it is for, as errors call it

    Raises PointsmanError(UNAVAILABLE), which never holds any of the secret.
    """
    name = variable(reference)
    if name:
        found = os.environ.get(name)
        if found is None:
            raise _unusable(reference, what, "there is no such variable")
    else:
        path = Path(reference.removeprefix("${file:").removesuffix("}"))
        try:
            with path.open("rb") as file:
                raw = file.read(_MOST_BYTES + 1)
        except OSError as error:
            raise _unusable(reference, what, error.strerror or "it cannot be read") from None
        if len(raw) > _MOST_BYTES:
            raise _unusable(reference, what, f"it holds more than {_MOST_BYTES} bytes")
        found = raw.decode("ascii", errors="replace")
    secret = found.rstrip("\r\n")
    if not secret:
        raise _unusable(reference, what, "it is empty")
    if not (secret.isascii() and secret.isprintable()):
        raise _unusable(reference, what, "it holds something else than printable ASCII")
    return secret


def bearer(reference: str, what: str) -> Callable[[], str]:
    """Makes the Authorization header of a token."""
    return lambda: f"Bearer {read(reference, what)}"


def basic(reference: str, what: str) -> Callable[[], str]:
    """Makes the Authorization header of `user:password`."""

    def header() -> str:
        login = read(reference, what)
        if ":" not in login:
            raise _unusable(reference, what, "it is not of the form USER:PASSWORD")
        return f"Basic {base64.b64encode(login.encode()).decode()}"

    return header


def _unusable(reference: str, what: str, why: str) -> PointsmanError:
    return PointsmanError(Kind.UNAVAILABLE, f"{what}: {reference} cannot be used: {why}", hint=HINT)
