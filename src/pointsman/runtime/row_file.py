"""Features of many rows in a file: written in any order, read back by their numbers.

Whoever writes it and whoever reads it hold one row in memory. A row is its number and the length of
its JSON, 32 bits each, little-endian, then the JSON.
"""

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

_HEAD: Final = struct.Struct("<II")


def write(file: BinaryIO, number: int, features: bytes) -> int:
    """Appends a row; how many bytes it takes. number: on [0, 2^32)"""
    file.write(_HEAD.pack(number, len(features)))
    file.write(features)
    return _HEAD.size + len(features)


class Places:
    """Where the rows of a file are. Raises ValueError where the file ends within a row."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[int, tuple[int, int]] = {}
        end = path.stat().st_size
        with path.open("rb") as file:
            while head := file.read(_HEAD.size):
                if len(head) < _HEAD.size:
                    raise ValueError(f"{path.name} ends within a row")
                number, length = _HEAD.unpack(head)
                self._places[number] = file.tell(), length
                if file.seek(length, 1) > end:
                    raise ValueError(f"{path.name} ends within a row")

    def __contains__(self, number: int) -> bool:
        return number in self._places

    def read(self, numbers: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """These rows, in this order; without those that are not there."""
        with self._path.open("rb") as file:
            for number in numbers:
                if number in self._places:
                    start, length = self._places[number]
                    file.seek(start)
                    yield number, file.read(length)
