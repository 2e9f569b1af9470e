"""docs/reference/journal.md is a test: its example is what we write, its reader reads it."""

import re
from pathlib import Path

import msgspec

from pointsman.domain import records
from pointsman.domain.records import OutcomeRecord
from pointsman.journal import segment
from pointsman.journal.codec import decode_payload, encode_record, payload_of
from pointsman.journal.segment import Header

PAGE = (Path(__file__).parents[2] / "docs/reference/journal.md").read_text(encoding="utf-8")


def block(language):
    """The one fenced block of a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found


def test_the_example_is_what_is_written_today():
    """A change of a single byte of the format is a new format version, and a new page."""
    header = segment.pack_header(
        Header("w0", 1, 0, 1_700_000_000_000, bytes(range(16)), b"8 bytes!", segment.NO_HASH)
    )
    outcome = OutcomeRecord(
        "f-1", "d-1", "label", "yes", 1_700_000_000_500, 1_700_000_000_600, "default"
    )
    payload = payload_of([encode_record(outcome)])
    head = segment.pack_head(b"8 bytes!", payload, 1, 0, segment.link(header))

    assert bytes.fromhex(block("hex")) == header + head + payload
    assert segment.link(head, payload).hex() in PAGE


def test_the_reader_on_the_page_reads_what_a_writer_wrote(stream):
    """It needs nothing of ours."""
    writer = stream.writer()
    stream.append(writer, "a", "b")
    stream.append(writer, "c")
    writer.close()
    page = {}
    exec(compile(block("python"), "journal.md", "exec"), page)
    data = stream.segments()[0].read_bytes()

    found = [r.id for p in page["payloads"](data) for r in decode_payload(p)[0]]

    assert found == ["a", "b", "c"]
    assert list(page["payloads"](data[:-1])) == list(page["payloads"](data))[:1]


def test_the_page_names_every_field_of_every_record_in_order():
    """Whoever reads by position finds each field at its place."""
    for kind in msgspec.inspect.type_info(records.Record).types:
        fields = [field.name for field in kind.fields]
        (row,) = re.findall(rf"^\| `{kind.tag}` \| (.*) \|$", PAGE, re.MULTILINE)
        named = re.sub(r"\(.*?\)+", "", row)
        if kind.tag == "outcome":
            fields.remove("kind")
            named = named.replace("`label` or `reward` or `cost`, ", "")
        words = [word.split()[0] for word in named.split(", ")]
        assert words == fields, kind.tag
