"""Small values that every journal test needs."""

import errno
import os
from collections import Counter
from pathlib import Path

import pytest

from pointsman.domain.records import OutcomeRecord
from pointsman.journal.codec import decode_payload, encode_record
from pointsman.journal.disk import Disk
from pointsman.journal.reader import Reading, Tail
from pointsman.journal.writer import Limits, SegmentWriter

ANY_SPACE = Limits(low_water_bytes=0)


class FaultyDisk(Disk):
    """The real disk, until a test says that a call fails.

    room: bytes that can still be written, None = no bound; the last write is cut short
    failures: error numbers by method name, each used once
    """

    def __init__(self) -> None:
        self.room: int | None = None
        self.failures: dict[str, int] = {}
        self.calls: Counter[str] = Counter()

    def _meet(self, call: str) -> None:
        self.calls[call] += 1
        number = self.failures.pop(call, 0)
        if number:
            raise OSError(number, os.strerror(number))

    def write(self, descriptor: int, data: bytes) -> int:
        self._meet("write")
        if self.room is not None:
            if self.room == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = data[: self.room]
            self.room -= len(data)
        return super().write(descriptor, data)

    def truncate(self, descriptor: int, size: int) -> None:
        self._meet("truncate")
        super().truncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        self._meet("sync")
        super().sync(descriptor)

    def create(self, path: Path) -> int:
        self._meet("create")
        return super().create(path)


class Stream:
    """One stream below a temporary directory, with a writer and the ids it was given."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.name = directory.name
        self.disk = FaultyDisk()

    def writer(self, limits: Limits = ANY_SPACE) -> SegmentWriter:
        return SegmentWriter(self.directory, self.name, limits, disk=self.disk)

    def tail(self) -> Tail:
        return Tail(self.directory, self.name)

    def append(self, writer: SegmentWriter, *names: str) -> None:
        """One batch of outcomes by those ids: the shortest records there are."""
        writer.append(
            [encode_record(OutcomeRecord(n, "d", "label", "yes", 1, 2, "default")) for n in names]
        )

    def ids(self, reading: Reading) -> list[str]:
        """Ids of the records that were read, in order."""
        return [r.id for frame in reading.frames for r in decode_payload(frame.payload)[0]]

    def segments(self) -> list[Path]:
        return sorted(self.directory.glob("*.seg"))


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    return Stream(tmp_path / "journal" / "w0")


@pytest.fixture(scope="session")
def new_stream(tmp_path_factory):
    """Makes as many streams as a property test asks for."""
    return lambda: Stream(tmp_path_factory.mktemp("journal") / "journal" / "w0")
