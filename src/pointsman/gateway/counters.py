"""Counters as plain integers in a mapped file, one file a worker slot, summed by any reader.

A restarted worker maps its predecessor's file and counts on. Nothing is ever removed: entries are
only appended, so counters never go back. An entry is published by raising `count` after its name
and value are in place, and each value is one aligned 64-bit word, so a reader in another process
sees whole numbers of whole entries at any moment.

Layout: 64 bytes of header (magic, capacity, bytes for names, count), `capacity` 64-bit values, then
names, each with its length as 32 bits before it.
"""

import mmap
import os
import struct
from pathlib import Path
from typing import Final

import msgspec

COUNTERS: Final = "counters"
"""Directory of a gateway's counter files, below DATA/gateway."""

_MAGIC: Final = b"PMCOUNT1"
_HEADER: Final = struct.Struct("<8sQQQ")
_HEADER_BYTES: Final = 64
_COUNT_WORD: Final = 3
_LENGTH: Final = struct.Struct("<I")
CAPACITY: Final = 16_384
NAME_BYTES: Final = 4 << 20

Labels = tuple[tuple[str, str], ...]
Key = tuple[str, Labels]

_decoder = msgspec.json.Decoder(Key)
OVERFLOW: Final[Key] = ("pointsman_counters_overflow", ())


class Counters:
    """The counters of one slot. Only one process may hold a slot at a time.

    values: the words themselves; `values[index(...)] += 1` is all a counter costs
    """

    def __init__(
        self, path: Path, *, capacity: int = CAPACITY, name_bytes: int = NAME_BYTES
    ) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        size = _HEADER_BYTES + 8 * capacity + name_bytes
        if path.exists() and _sound_header(path, size) is None:
            path.replace(path.with_suffix(".damaged"))
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.ftruncate(handle, size)
            self._map = mmap.mmap(handle, size)
        finally:
            os.close(handle)
        if self._map[:8] != _MAGIC:
            _HEADER.pack_into(self._map, 0, _MAGIC, capacity, name_bytes, 0)
        self._words = memoryview(self._map)[: _HEADER_BYTES + 8 * capacity].cast("Q")
        self.values = self._words[_HEADER_BYTES // 8 :]
        self._names_at = _HEADER_BYTES + 8 * capacity
        self._capacity = capacity
        keys, self._names_end = _names(self._map, self._words[_COUNT_WORD], self._names_at)
        self._index = {key: place for place, key in enumerate(keys)}
        self._overflow = self.index(*OVERFLOW)

    def index(self, name: str, labels: Labels = ()) -> int:
        """Where this counter lives, made on first use. When the file is full: a shared one, whose
        being other than zero says so."""
        key = (name, labels)
        found = self._index.get(key)
        if found is not None:
            return found
        encoded = msgspec.json.encode(key)
        place, end = len(self._index), self._names_end + _LENGTH.size + len(encoded)
        if place >= self._capacity or end > len(self._map):
            return self._overflow
        _LENGTH.pack_into(self._map, self._names_end, len(encoded))
        self._map[self._names_end + _LENGTH.size : end] = encoded
        self.values[place] = 0
        self._names_end = end
        self._index[key] = place
        self._words[_COUNT_WORD] = place + 1
        return place

    def add(self, name: str, labels: Labels = (), amount: int = 1) -> None:
        """Counts something rare; what is frequent keeps its index."""
        self.values[self.index(name, labels)] += amount

    def set(self, name: str, labels: Labels, value: int) -> None:
        """A gauge: the last value stands."""
        self.values[self.index(name, labels)] = value

    def close(self) -> None:
        self.values.release()
        self._words.release()
        self._map.close()


def read(path: Path) -> dict[Key, int]:
    """All counters of one slot, while its worker counts on or after it has died.

    Empty where the file is missing or not ours.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return {}
    try:
        size = os.fstat(handle).st_size
        if size < _HEADER_BYTES:
            return {}
        with mmap.mmap(handle, size, prot=mmap.PROT_READ) as mapped:
            magic, capacity, name_bytes, count = _HEADER.unpack_from(mapped, 0)
            names_at = _HEADER_BYTES + 8 * capacity
            if magic != _MAGIC or size != names_at + name_bytes:
                return {}
            keys, _ = _names(mapped, count, names_at)
            # One word at a time: a word is read whole, a run of bytes need not be.
            with memoryview(mapped) as view, view[:names_at].cast("Q") as words:
                start = _HEADER_BYTES // 8
                return {key: words[start + place] for place, key in enumerate(keys)}
    finally:
        os.close(handle)


def merged(directory: Path) -> dict[Key, int]:
    """Sums over all slots, those of dead workers included. Gauges carry their worker as a label."""
    total: dict[Key, int] = {}
    for path in sorted(directory.glob("*.counters")):
        for key, value in read(path).items():
            total[key] = total.get(key, 0) + value
    return total


def _names(mapped: mmap.mmap, count: int, start: int) -> tuple[list[Key], int]:
    keys: list[Key] = []
    at = start
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(mapped, at)
        keys.append(_decoder.decode(mapped[at + _LENGTH.size : at + _LENGTH.size + length]))
        at += _LENGTH.size + length
    return keys, at


def _sound_header(path: Path, size: int) -> list[Key] | None:
    """The keys of a file that can be counted on, None where it is damaged or of another shape."""
    try:
        if path.stat().st_size != size:
            return None
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            magic, capacity, name_bytes, count = _HEADER.unpack_from(mapped, 0)
            names_at = _HEADER_BYTES + 8 * capacity
            if magic != _MAGIC or count > capacity or size != names_at + name_bytes:
                return None
            return _names(mapped, count, names_at)[0]
    except (OSError, ValueError, struct.error):
        return None
