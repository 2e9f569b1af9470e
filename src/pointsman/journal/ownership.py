"""Who writes a stream: one process at a time, and readers can tell whether it still lives.

An open-file-description lock: gone with its holder however that ends, and readable by others
without taking it (a reader that took it, even for a moment, could keep a starting writer out).
"""

import fcntl
import os
import struct
from pathlib import Path
from typing import Final

from pointsman.domain.errors import Kind, PointsmanError

_LOCK_FILE: Final = "lock"
_FLOCK: Final = struct.Struct("hhqqi4x")


def claim(stream_directory: Path) -> int:
    """Descriptor that holds the stream until it is closed. Raises PointsmanError(CONFLICT)."""
    path = stream_directory / _LOCK_FILE
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except (BlockingIOError, PermissionError):
        os.close(descriptor)
        raise PointsmanError(
            Kind.CONFLICT,
            f"{stream_directory}: another process writes this journal stream",
            hint="give each process a stream of its own, or stop the other one",
        ) from None
    return descriptor


def is_claimed(stream_directory: Path) -> bool:
    """Whether a living process writes the stream."""
    try:
        descriptor = os.open(stream_directory / _LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        ask = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        answer = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, ask))
        return bool(answer[0] != fcntl.F_UNLCK)
    finally:
        os.close(descriptor)
