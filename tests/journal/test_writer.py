"""The writer's promises: what has returned is kept, what has failed was never there."""

import errno
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.journal.verify import verify
from pointsman.journal.writer import JournalBrokenError, JournalFullError, Limits, SegmentWriter


def test_what_was_appended_is_read_in_order(stream):
    """Batches come back as they went in, before any sync and while the writer lives."""
    writer = stream.writer()
    stream.append(writer, "a", "b")
    stream.append(writer, "c")

    assert stream.ids(stream.tail().read()) == ["a", "b", "c"]


def test_an_empty_batch_writes_nothing(stream):
    """There is no batch without records."""
    writer = stream.writer()
    before = writer.position

    writer.append([])

    assert writer.position == before


def test_a_batch_is_one_write(stream):
    """However many records a turn of the event loop has, they cost one system call."""
    writer = stream.writer()
    stream.disk.calls.clear()

    stream.append(writer, *map(str, range(500)))

    assert stream.disk.calls["write"] == 1


def test_segments_rotate_by_size_and_stay_one_chain(stream):
    """A new segment starts at the first append past the limit; the chain runs through all."""
    writer = stream.writer(Limits(max_segment_bytes=400, low_water_bytes=0))
    for name in map(str, range(20)):
        stream.append(writer, name)
    writer.close()

    report = verify(stream.directory.parent)

    assert len(stream.segments()) > 3
    assert report.ok
    assert (report.streams[0].records, report.streams[0].anchored) == (20, True)


def test_segments_rotate_by_age(stream):
    """A quiet stream gives its segments up too, so that retention can have them."""
    writer = stream.writer(Limits(max_segment_age_s=0.0, low_water_bytes=0))

    stream.append(writer, "a")
    stream.append(writer, "b")

    assert len(stream.segments()) == 3


def test_rotation_without_sync_keeps_few_files_open(stream):
    """Nobody has to call sync for the descriptors to stay bounded."""
    writer = stream.writer(Limits(max_segment_bytes=130, low_water_bytes=0))
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    for name in map(str, range(50)):
        stream.append(writer, name)

    assert len(list(Path("/proc/self/fd").iterdir())) <= open_before + 2
    writer.close()
    assert verify(stream.directory.parent).ok


def test_a_restarted_writer_goes_on_in_a_new_segment_of_the_same_chain(stream):
    """Old segments are never written again; numbers and hashes go on where they were."""
    for name in ("a", "b", "c"):
        writer = stream.writer()
        stream.append(writer, name)
        writer.close()

    report = verify(stream.directory.parent)

    assert [p.name for p in stream.segments()] == [f"{n:016d}.seg" for n in (1, 2, 3)]
    assert report.ok
    assert report.streams[0].next == 3


def test_indexes_go_on_behind_a_segment_of_which_nothing_is_left(stream):
    """A record keeps its place in the stream, whatever happened to those before."""
    for name in ("a", "b"):
        writer = stream.writer()
        stream.append(writer, name)
        writer.close()
    path = stream.segments()[1]
    path.write_bytes(b"?" * len(path.read_bytes()))

    writer = stream.writer()
    stream.append(writer, "c")
    writer.close()

    reading = verify(stream.directory.parent)
    assert [p.name for p in stream.segments()] == [f"{n:016d}.seg" for n in (1, 2, 3)]
    assert (reading.streams[0].records, reading.streams[0].next) == (2, 2)
    assert {f.kind for f in reading.faults} == {"corrupt"}


def test_a_stream_has_one_writer(stream):
    """A second process on the same stream is refused before it can write a byte."""
    writer = stream.writer()

    with pytest.raises(PointsmanError, match="another process writes") as caught:
        stream.writer()
    assert caught.value.kind is Kind.CONFLICT

    writer.close()
    stream.writer().close()


def test_a_full_disk_keeps_nothing_of_the_batch_and_writing_resumes(stream, monkeypatch):
    """A short write and then no space: the batch is taken back whole, later ones work."""
    monkeypatch.setattr("pointsman.journal.writer._SPACE_CHECK_S", 0.0)
    writer = stream.writer()
    stream.append(writer, "before")
    at = writer.position
    stream.disk.room = 70

    with pytest.raises(JournalFullError, match="No space left"):
        stream.append(writer, "lost")
    assert writer.full
    assert writer.position == at

    stream.disk.room = None
    stream.append(writer, "after")

    assert not writer.full
    assert stream.ids(stream.tail().read()) == ["before", "after"]
    assert verify(stream.directory.parent).ok


def test_a_full_disk_at_rotation_leaves_the_last_segment_in_use(stream, monkeypatch):
    """A segment that could not be begun leaves no file behind."""
    monkeypatch.setattr("pointsman.journal.writer._SPACE_CHECK_S", 0.0)
    writer = stream.writer(Limits(max_segment_bytes=150, low_water_bytes=0))
    stream.append(writer, "a")
    stream.disk.room = 60

    with pytest.raises(JournalFullError):
        stream.append(writer, "lost")
    stream.disk.room = None
    stream.append(writer, "b")

    assert len(stream.segments()) == 2
    assert stream.ids(stream.tail().read()) == ["a"]
    assert verify(stream.directory.parent).streams[0].records == 2


def test_appends_stop_at_the_low_water_mark(stream, monkeypatch):
    """The last space is left to the ingester, which is what frees space."""
    monkeypatch.setattr("pointsman.journal.writer._SPACE_CHECK_S", 0.0)
    writer = stream.writer(Limits(low_water_bytes=1 << 60))

    with pytest.raises(JournalFullError, match="MiB free"):
        stream.append(writer, "a")

    assert writer.full


def test_a_failed_write_is_fatal(stream):
    """After EIO nothing can be trusted: the writer ends, and says so ever after."""
    writer = stream.writer()
    stream.append(writer, "a")
    stream.disk.failures["write"] = errno.EIO

    with pytest.raises(JournalBrokenError, match="the disk failed"):
        stream.append(writer, "b")
    with pytest.raises(JournalBrokenError):
        stream.append(writer, "c")

    assert writer.broken


def test_a_failed_sync_is_fatal_and_never_tried_again(stream):
    """The kernel reports a lost page once; a second sync would say that all is well."""
    writer = stream.writer()
    stream.append(writer, "a")
    stream.disk.failures["sync"] = errno.EIO
    stream.disk.calls.clear()

    with pytest.raises(JournalBrokenError):
        writer.sync()
    with pytest.raises(JournalBrokenError):
        writer.sync()

    assert stream.disk.calls["sync"] == 1
    writer.close()
    assert stream.ids(stream.tail().read()) == ["a"]


def test_taking_a_batch_back_must_work_or_the_writer_ends(stream):
    """A half-written batch that cannot be removed is not written behind."""
    writer = stream.writer()
    stream.disk.room = 70
    stream.disk.failures["truncate"] = errno.EIO

    with pytest.raises(JournalBrokenError):
        stream.append(writer, "a")


def test_waiters_share_a_sync(stream):
    """Many threads that wait at once cost far fewer system calls than threads."""
    writer = stream.writer()
    barrier = threading.Barrier(32)

    def work(name):
        barrier.wait()
        stream.append(writer, name)
        writer.sync()

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(32)]
    stream.disk.calls.clear()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 1 <= stream.disk.calls["sync"] < 32
    assert not writer.pending
    assert sorted(stream.ids(stream.tail().read())) == sorted(map(str, range(32)))


def test_a_large_batch_is_split_and_a_too_large_record_refused(stream):
    """No batch is larger than a reader will believe."""
    writer = stream.writer()
    big = b"\xc6" + (9 << 20).to_bytes(4, "big") + bytes(9 << 20)

    writer.append([big, big])
    with pytest.raises(PointsmanError) as caught:
        writer.append([b"\xc6" + (17 << 20).to_bytes(4, "big") + bytes(17 << 20)])

    assert caught.value.kind is Kind.TOO_LARGE
    frames = [*stream.tail().read(1 << 26).frames]
    assert [f.count for f in frames] == [1, 1]


def test_close_is_idempotent_and_final(stream):
    """Closing syncs; nothing can be appended afterwards."""
    writer = stream.writer()
    stream.append(writer, "a")
    writer.close()
    writer.close()

    assert not writer.pending
    with pytest.raises(ValueError, match="after close"):
        stream.append(writer, "b")


def test_a_stream_name_that_is_none_is_refused(tmp_path):
    """The name becomes a directory."""
    with pytest.raises(ValueError, match="does not match"):
        SegmentWriter(tmp_path / "x", "../x")


_FILLS_UP = """
import sys
from pathlib import Path
from pointsman.journal.writer import JournalFullError, Limits, SegmentWriter

writer = SegmentWriter(Path(sys.argv[1]), "w0", Limits(low_water_bytes=0))
batch = [b"\\xc4\\x64" + bytes(100)] * 10
written = 0
try:
    while True:
        writer.append(batch)
        written += 10
except JournalFullError:
    print(written)
"""


def test_the_kernel_itself_refusing_a_write_leaves_whole_batches(stream):
    """A real short write and a real error, by a file size limit, which needs no privilege."""
    done = subprocess.run(
        [sys.executable, "-c", _FILLS_UP, str(stream.directory)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    report = verify(stream.directory.parent)

    assert report.ok
    assert report.streams[0].faults == ()
    assert report.streams[0].records == int(done.stdout) > 0
