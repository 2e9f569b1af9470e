"""A writer killed by SIGKILL at any instant: whatever it had acknowledged is there, once."""

import random
import subprocess
import sys

from pointsman.journal.verify import verify

_WRITES_UNTIL_KILLED = """
import sys
from pathlib import Path
from pointsman.domain.records import OutcomeRecord
from pointsman.journal.codec import encode_record
from pointsman.journal.writer import Limits, SegmentWriter

start, sync = int(sys.argv[2]), sys.argv[3] == "sync"
writer = SegmentWriter(Path(sys.argv[1]), "w0", Limits(max_segment_bytes=5000, low_water_bytes=0))
number = start
while True:
    batch = [
        encode_record(OutcomeRecord(str(number + i), "d", "label", "yes", 1, 2, "default"))
        for i in range(1 + number % 7)
    ]
    writer.append(batch)
    if sync:
        writer.sync()
    number += len(batch)
    # The acknowledgement leaves only now.
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def test_sigkill_at_any_instant_loses_nothing_acknowledged(stream):
    """25 times over the same stream: no gap, no double, nothing that was never sent."""
    dice = random.Random(7)
    sent = 0
    for attempt in range(25):
        writer = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _WRITES_UNTIL_KILLED,
                str(stream.directory),
                str(sent),
                "sync" if attempt % 2 else "os",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        acknowledged = sent
        for _ in range(dice.randrange(1, 400)):
            acknowledged = int(writer.stdout.readline())
        writer.kill()
        # What was written to the pipe before the kill was acknowledged as well.
        rest = writer.stdout.read()
        writer.wait(timeout=10)
        acknowledged = max([acknowledged, *(int(n) for n in rest.split("\n")[:-1])])

        names, tail = [], stream.tail()
        while reading := tail.read():
            if not reading.frames:
                break
            names += stream.ids(reading)

        assert names == [str(n) for n in range(len(names))]
        assert acknowledged <= len(names) <= acknowledged + 7
        assert verify(stream.directory.parent).ok
        # The next one goes on behind what is there, as a caller that retries would.
        sent = len(names)
