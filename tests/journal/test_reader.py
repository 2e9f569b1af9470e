"""What a reader yields, whatever a crash, a bit flip or a slow disk has done to the files."""

import os
from itertools import chain, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.journal import ownership, segment
from pointsman.journal.reader import START, Position
from pointsman.journal.verify import verify
from pointsman.journal.writer import Limits

BATCHES = [["a"], ["b", "c"], ["d"], ["e", "f", "g"], ["h"]]
ALL = list(chain(*BATCHES))
ONE_SEGMENT = Limits(low_water_bytes=0)


def flat(batches):
    return list(chain(*batches))


def written(stream, limits=ONE_SEGMENT):
    """A closed stream of BATCHES; the ends of its batches in the (only) segment."""
    writer = stream.writer(limits)
    ends = [writer.position[1]]
    for batch in BATCHES:
        stream.append(writer, *batch)
        ends.append(writer.position[1])
    writer.close()
    return ends


def read_all(tail):
    """Everything there is now, in small bites."""
    readings = []
    while not readings or readings[-1].frames:
        readings.append(tail.read(max_bytes=1))
    return readings


def test_a_position_is_where_reading_goes_on(stream):
    """A reader that starts again at a committed position sees each batch exactly once."""
    written(stream, Limits(max_segment_bytes=300, low_water_bytes=0))
    position, seen = START, []
    while True:
        tail = stream.tail()
        tail.seek(position)
        reading = tail.read(max_bytes=1)
        if not reading.frames:
            break
        assert reading.before == position
        seen += stream.ids(reading)
        position = reading.after

    assert seen == ALL


def test_seeking_back_reads_again(stream):
    """After a failed transaction the same batches come once more."""
    written(stream)
    tail = stream.tail()
    first = tail.read()

    tail.seek(first.before)

    assert stream.ids(tail.read()) == stream.ids(first) == ALL


def test_a_live_stream_is_followed_across_segments(stream):
    """New batches and new segments are seen as they come, and silence in between."""
    tail = stream.tail()
    assert not tail.read().frames
    writer = stream.writer(Limits(max_segment_bytes=200, low_water_bytes=0))
    seen = []
    for name in map(str, range(10)):
        stream.append(writer, name)
        seen += stream.ids(tail.read())
        assert not tail.read().frames

    assert seen == [str(n) for n in range(10)]


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_a_cut_segment_yields_the_batches_before_the_cut(new_stream, cut, live):
    """Wherever a file ends, whole batches are read and nothing else, and nothing is an error.

    While its writer lives the rest is waited for; afterwards it is counted as truncated.
    """
    stream = new_stream()
    ends = written(stream)
    cut %= ends[-1] + 1
    path = stream.segments()[0]
    path.write_bytes(path.read_bytes()[:cut])
    owner = ownership.claim(stream.directory) if live else -1

    tail = stream.tail()
    readings = read_all(tail)

    whole = [b for b, end in zip(BATCHES, ends[1:], strict=True) if end <= cut]
    assert [n for r in readings for n in stream.ids(r)] == flat(whole)
    faults = [f for r in readings for f in r.faults]
    assert all(f.kind == "truncated" for f in faults)
    assert not (live and faults)
    if live:
        os.close(owner)


def test_cutting_at_every_byte_recovers_to_a_sound_chain(new_stream):
    """A writer that starts on any cut file removes only the unfinished batch, and goes on."""
    probe = new_stream()
    size = written(probe)[-1]
    for cut in range(0, size + 1, 7):
        stream = new_stream()
        ends = written(stream)
        path = stream.segments()[0]
        path.write_bytes(path.read_bytes()[:cut])

        writer = stream.writer()
        stream.append(writer, "z")
        writer.close()

        whole = [b for b, end in zip(BATCHES, ends[1:], strict=True) if end <= cut]
        report = verify(stream.directory.parent)
        assert report.ok, (cut, report)
        assert report.streams[0].records == sum(map(len, whole)) + 1
        readings = read_all(stream.tail())
        assert [n for r in readings for n in stream.ids(r)] == [*flat(whole), "z"]


@given(st.integers(0, 10_000), st.integers(1, 255))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_flipped_bit_costs_its_batch_and_no_other(new_stream, at, flip):
    """Damage in the middle is reported with its place and its loss; the rest is kept."""
    stream = new_stream()
    ends = written(stream)
    path = stream.segments()[0]
    data = bytearray(path.read_bytes())
    at %= len(data)
    data[at] ^= flip
    path.write_bytes(bytes(data))

    readings = read_all(stream.tail())

    hit = [not start <= at < end for start, end in pairwise(ends)]
    kept = [batch for batch, sound in zip(BATCHES, hit, strict=True) if sound]
    faults = [f for r in readings for f in r.faults]
    assert [n for r in readings for n in stream.ids(r)] == flat(kept)
    assert len(faults) >= 1
    assert any(f.start <= at < max(f.end, f.start + 1) for f in faults)
    assert not verify(stream.directory.parent).ok or faults[0].kind == "truncated"


@given(st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=40)), max_size=6))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_damage_is_survived(new_stream, wounds):
    """Whatever is written over a segment, reading ends, and yields only what was written."""
    stream = new_stream()
    ends = written(stream)
    path = stream.segments()[0]
    data = bytearray(path.read_bytes())
    for at, content in wounds:
        data[at % ends[-1] : at % ends[-1] + len(content)] = content
    path.write_bytes(bytes(data))

    readings = read_all(stream.tail())

    seen = [n for r in readings for n in stream.ids(r)]
    assert seen == [n for n in ALL if n in seen]


def test_a_frame_inside_a_record_is_never_taken_for_a_batch(stream):
    """A caller cannot plant a batch in a feature: frames begin with the segment's own secret."""
    foreign = segment.pack_head(b"guessed!", b"\xdd\0\0\0\0", 0, 0, bytes(32)) + b"\xdd\0\0\0\0"
    writer = stream.writer()
    writer.append([b"\xc4" + bytes([len(foreign)]) + foreign])
    stream.append(writer, "after")
    writer.close()
    path = stream.segments()[0]
    data = bytearray(path.read_bytes())
    data[segment.HEADER_BYTES + 20] ^= 1
    path.write_bytes(bytes(data))

    reading = stream.tail().read()

    assert stream.ids(reading) == ["after"]
    assert [(f.kind, f.records) for f in reading.faults] == [("corrupt", 1)]


def test_an_unfinished_batch_of_a_live_writer_is_waited_for(stream):
    """Half a batch is no fault while somebody may finish it."""
    writer = stream.writer()
    stream.append(writer, "a")
    path = stream.segments()[0]
    whole = path.read_bytes()
    stream.append(writer, "b")
    complete = path.read_bytes()
    path.write_bytes(complete[:-5])
    tail = stream.tail()

    assert stream.ids(tail.read()) == ["a"]
    assert tail.read() == tail.read()
    assert tail.position.offset == len(whole)

    path.write_bytes(complete)

    assert stream.ids(tail.read()) == ["b"]


def test_a_batch_taken_back_is_not_seen(stream):
    """A reader that saw the first half of a batch reads the one that took its place."""
    writer = stream.writer()
    stream.append(writer, "a")
    tail = stream.tail()
    tail.read()
    stream.disk.room = 80
    path = stream.segments()[0]
    before = path.read_bytes()
    path.write_bytes(before + b"half a batch that is taken back")
    assert not tail.read().frames
    path.write_bytes(before)

    stream.disk.room = None
    stream.append(writer, "b")

    assert stream.ids(tail.read()) == ["b"]


def test_a_missing_segment_is_reported_with_what_it_held(stream):
    """Nobody deletes a segment unseen."""
    written(stream, Limits(max_segment_bytes=130, low_water_bytes=0))
    tail = stream.tail()
    tail.read(max_bytes=1)
    stream.segments()[1].unlink()
    stream.segments()[1].unlink()

    readings = read_all(tail)

    faults = [f for r in readings for f in r.faults]
    lost = len(BATCHES[1] + BATCHES[2])
    assert [(f.kind, f.segment, f.records) for f in faults] == [
        ("missing", 2, -1),
        ("gap", 4, lost),
    ]
    assert not verify(stream.directory.parent).ok


def test_segments_that_retention_took_do_not_count_as_missing(stream):
    """A chain that begins later is whole from there on, and says that it is not anchored."""
    written(stream, Limits(max_segment_bytes=130, low_water_bytes=0))
    for path in stream.segments()[:2]:
        path.unlink()

    report = verify(stream.directory.parent)

    assert report.ok
    assert not report.streams[0].anchored


def test_an_exchanged_segment_breaks_the_chain(new_stream):
    """Sound bytes in the wrong place are found by the hashes, not by the checksums."""
    ours, theirs = new_stream(), new_stream()
    for stream in (ours, theirs):
        written(stream, Limits(max_segment_bytes=130, low_water_bytes=0))
    ours.segments()[2].write_bytes(theirs.segments()[2].read_bytes())

    report = verify(ours.directory.parent)

    assert not report.ok
    assert report.faults[0].kind == "gap"
    assert report.first_bad.startswith("w0/0000000000000003.seg:0: gap")


def test_a_hole_left_by_a_loss_of_power_is_an_unfinished_batch(stream):
    """A file system may have grown the file before the data came: zeros are nobody's batch."""
    written(stream)
    path = stream.segments()[0]
    path.write_bytes(path.read_bytes() + bytes(5000))

    readings = read_all(stream.tail())

    assert [n for r in readings for n in stream.ids(r)] == ALL
    assert [f.kind for r in readings for f in r.faults] == ["truncated"]
    stream.writer().close()
    assert verify(stream.directory.parent).ok


def test_an_empty_position_is_the_beginning(stream):
    """The default position needs no knowledge of which segments are left."""
    assert Position() == START
    assert stream.tail().position == START


def test_verify_names_the_first_bad_place(stream):
    """One line says which file, which offset, what it is and how much is lost."""
    ends = written(stream)
    assert verify(stream.directory.parent).first_bad == ""
    path = stream.segments()[0]
    data = bytearray(path.read_bytes())
    data[ends[1] + 70] ^= 1
    path.write_bytes(bytes(data))

    report = verify(stream.directory.parent)

    assert report.first_bad == f"w0/{path.name}:{ends[1]}: corrupt, 2 records lost"
    assert verify(stream.directory.parent / "nowhere").ok
