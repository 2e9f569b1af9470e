"""Loss of power, by a disk that forgets what it was not told to keep."""

import os
import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.journal.disk import Disk
from pointsman.journal.writer import Limits, SegmentWriter

LIMITS = Limits(max_segment_bytes=400, low_water_bytes=0)


class ForgetfulDisk(Disk):
    """A real disk that knows what of it would survive.

    kept: bytes of each file that a sync has covered; named: files whose directory entry is kept
    """

    def __init__(self) -> None:
        self.open: dict[int, Path] = {}
        self.kept: dict[Path, int] = {}
        self.named: set[Path] = set()

    def create(self, path):
        descriptor = super().create(path)
        self.open[descriptor] = path
        self.kept[path] = 0
        return descriptor

    def sync(self, descriptor):
        path = self.open[descriptor]
        self.kept[path] = path.stat().st_size

    def sync_directory(self, path):
        self.named |= {file for file in self.kept if file.parent == path}

    def close(self, descriptor):
        super().close(descriptor)
        del self.open[descriptor]

    def lose_power(self, dice):
        """Leaves of each file what was synced, and of the rest anything: part, zeros, garbage."""
        for path, kept in self.kept.items():
            data = path.read_bytes()
            if path not in self.named and dice.random() < 0.5:
                path.unlink()
                continue
            rest = bytearray(data[kept:])
            match dice.randrange(4):
                case 0:
                    rest = rest[: dice.randrange(len(rest) + 1)]
                case 1:
                    rest = bytearray(len(rest))
                case 2 if rest:
                    rest[dice.randrange(len(rest))] ^= 0xFF
            path.write_bytes(data[:kept] + rest)


@given(st.integers(0, 1 << 32))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_whatever_was_synced_survives_a_loss_of_power(new_stream, seed):
    """And whatever was not is either whole or not there; the stream goes on afterwards."""
    dice = random.Random(seed)
    stream = new_stream()
    disk = ForgetfulDisk()
    writer = SegmentWriter(stream.directory, stream.name, LIMITS, disk=disk)
    sent, durable = [], 0
    for number in range(dice.randrange(25)):
        names = [f"{number}-{i}" for i in range(dice.randrange(1, 4))]
        stream.append(writer, *names)
        sent += names
        if dice.random() < 0.3:
            writer.sync()
            durable = len(sent)
    # Power goes: nobody closes anything, and the lock goes with its holder.
    crash(writer, disk, dice)

    survivor = SegmentWriter(stream.directory, stream.name, LIMITS)
    stream.append(survivor, "after")
    survivor.close()
    tail, seen = stream.tail(), []
    while (reading := tail.read()).frames:
        seen += stream.ids(reading)

    assert seen[:durable] == sent[:durable]
    assert seen[-1] == "after"
    assert [n for n in sent if n in seen] == seen[:-1]


def crash(writer, disk, dice):
    """What is open is closed as the kernel does it, and then the disk forgets."""
    for descriptor in list(disk.open):
        os.close(descriptor)
    os.close(writer._lock)
    disk.lose_power(dice)
