"""Our encoder, held against the OpenTelemetry SDK's own, message for message."""

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.trace import SpanKind as TheirKind

from pointsman.telemetry.spans import Event, Span, SpanKind
from pointsman.telemetry.wire import Encoder

RESOURCE = {"service.name": "s" * 200, "process.pid": 12345}
SCOPE = ("pointsman", "0.1")
THEIR_SCOPE = InstrumentationScope(*SCOPE)
ENCODER = Encoder(RESOURCE, SCOPE)


def hexes(length):
    return st.integers(1, 16**length - 1).map(lambda number: f"{number:0{length}x}")


TEXTS = st.text(max_size=300)
VALUES = st.one_of(
    TEXTS, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)
)
ATTRIBUTES = st.dictionaries(st.text(min_size=1, max_size=200), VALUES, max_size=6)
TIMES = st.integers(0, 2**63)
SPANS = st.builds(
    Span,
    name=TEXTS,
    trace=hexes(32),
    span=hexes(16),
    parent=st.one_of(st.just(""), hexes(16)),
    start_ns=TIMES,
    end_ns=TIMES,
    kind=st.sampled_from(SpanKind),
    attributes=ATTRIBUTES,
    failed=TEXTS,
    remote=st.booleans(),
    state=st.sampled_from(["", "a=1", "a=1,b=2"]),
)
EVENTS = st.builds(
    Event,
    name=st.text(min_size=1, max_size=200),
    at_ns=st.integers(1, 2**63),
    attributes=ATTRIBUTES,
    trace=hexes(32),
    span=hexes(16),
    body=TEXTS,
    warns=st.booleans(),
)


def context(trace, span, state="", *, remote=False):
    states = TraceState.from_header([state]) if state else None
    sampled = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int(trace, 16), int(span, 16), remote, sampled, states)


def theirs(span):
    parent = None
    if span.parent:
        parent = context(span.trace, span.parent, span.state, remote=span.remote)
    return ReadableSpan(
        name=span.name,
        context=context(span.trace, span.span, span.state),
        parent=parent,
        resource=Resource(RESOURCE),
        attributes=span.attributes,
        kind=TheirKind[span.kind.name],
        status=Status(StatusCode.ERROR, span.failed) if span.failed else Status(),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=THEIR_SCOPE,
    )


@given(st.lists(SPANS, min_size=1, max_size=4))
def test_spans_are_what_the_sdk_makes_of_them(spans):
    """Every field, but for the flag `sampled`, which the SDK leaves out of what it sends."""
    ours = ExportTraceServiceRequest.FromString(ENCODER.spans(spans))
    expected = encode_spans([theirs(span) for span in spans])
    for sent in ours.resource_spans[0].scope_spans[0].spans:
        assert sent.flags & 0xFF == 1
    for request in (ours, expected):
        for sent in request.resource_spans[0].scope_spans[0].spans:
            sent.flags &= ~0xFF
            # A span without an error has no status; the SDK sends an empty one.
            if not sent.status.ByteSize():
                sent.ClearField("status")

    assert ours == expected


@given(st.lists(EVENTS, min_size=1, max_size=4))
def test_events_are_what_the_sdk_makes_of_them(events):
    """Every field but the time at which it was encoded."""
    ours = ExportLogsServiceRequest.FromString(ENCODER.events(events))
    records = []
    for event in events:
        severity = SeverityNumber.WARN if event.warns else SeverityNumber.INFO
        around = NonRecordingSpan(context(event.trace, event.span))
        record = LogRecord(
            timestamp=event.at_ns,
            context=set_span_in_context(around),
            severity_number=severity,
            severity_text=severity.name,
            body=event.body or None,
            attributes=event.attributes,
            event_name=event.name,
        )
        records.append(ReadableLogRecord(record, Resource(RESOURCE), THEIR_SCOPE))
    expected = encode_logs(records)
    for request in (ours, expected):
        for sent in request.resource_logs[0].scope_logs[0].log_records:
            sent.ClearField("observed_time_unix_nano")
            if not sent.body.ByteSize():
                sent.ClearField("body")

    assert ours == expected


def test_an_event_of_no_trace_names_none():
    """What a rollout does by itself belongs to nobody's call."""
    request = ExportLogsServiceRequest.FromString(ENCODER.events([Event("e", 1, {"a": True})]))
    (record,) = request.resource_logs[0].scope_logs[0].log_records

    assert (record.trace_id, record.span_id, record.flags) == (b"", b"", 0)
    assert record.observed_time_unix_nano > 0
