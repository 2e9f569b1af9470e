"""One JSON line a check: how the client scripts tell the test what their library saw.

Standard library only: the scripts run in environments that hold one client and nothing of ours.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def case() -> dict[str, Any]:
    """What to ask: the JSON file named on the command line.

    authority: `host:port`; model: the project; pin: a variant's name
    inputs: [{name, datatype, data}], one value a row; rows: how many
    parameters: of every request; expected_classes: of the rows, to tell answers apart
    """
    return dict(json.loads(Path(sys.argv[1]).read_text()))


def check(name: str, call: Callable[[], Any]) -> None:
    """Prints what the call answered, or the error in the client's own words."""
    try:
        line = {"check": name, "answer": call()}
    except Exception as error:  # noqa: BLE001 - every failure of the library is a finding
        line = {"check": name, "error": failure(error)}
    print(json.dumps(line), flush=True)


def failure(error: Exception) -> dict[str, Any]:
    """type: of the exception; message: its text; status: where the client keeps one"""
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    if callable(getattr(error, "status", None)):
        status = error.status()  # type: ignore[attr-defined] # tritonclient: a method
    message = error.message() if callable(getattr(error, "message", None)) else str(error)  # type: ignore[attr-defined] # as above
    body = getattr(error, "body", None)
    return {
        "type": type(error).__name__,
        "message": message if body is None else body,
        "status": None if status is None else str(status),
    }
