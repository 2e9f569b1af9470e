"""What the parent and its controller tell each other: one variable in, one file back."""

import contextlib
import os
from pathlib import Path
from typing import Final

import msgspec

VARIABLE: Final = "POINTSMAN_HANDOVER"
READY_FILE: Final = "controller.json"


class Handover(msgspec.Struct, frozen=True):
    """From the parent. Only digests: the secrets stay where they are needed.

    gateway_digest: of the token that the parent's gateways carry
    admin_id, admin_digest: of the token to create where there is no admin token yet
    """

    gateway_digest: str = ""
    admin_id: str = ""
    admin_digest: str = ""


class Ready(msgspec.Struct, frozen=True):
    """From the controller, once it listens. created: the admin token was taken."""

    pid: int
    port: int
    created: bool


def taken_over() -> Handover:
    """What the parent left in the environment; it is not passed on to our own children."""
    return msgspec.json.decode(os.environ.pop(VARIABLE, "{}"), type=Handover)


def say_ready(run: Path, ready: Ready) -> None:
    """Replaces the file as a whole."""
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = run / f"{READY_FILE}.{ready.pid}"
    fresh.write_bytes(msgspec.json.encode(ready))
    fresh.replace(run / READY_FILE)


def read_ready(run: Path) -> Ready | None:
    """What the controller that runs, or the last one, left."""
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode((run / READY_FILE).read_bytes(), type=Ready)
    return None
