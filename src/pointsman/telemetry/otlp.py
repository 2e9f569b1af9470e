"""Spans and events by OTLP: the only file that knows the OpenTelemetry SDK.

Spans are made as the SDK's read-only ones, with the ids and times they have had since the request:
its tracer would draw ids of its own and read the clock again, and takes ten times as long.
"""

import logging
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

import pointsman
from pointsman.telemetry import switches
from pointsman.telemetry.spans import Event, Span
from pointsman.telemetry.spans import SpanKind as OurKind

_SCOPE: Final = InstrumentationScope("pointsman", pointsman.__version__)
_KINDS: Final = {
    OurKind.INTERNAL: SpanKind.INTERNAL,
    OurKind.SERVER: SpanKind.SERVER,
    OurKind.CLIENT: SpanKind.CLIENT,
}
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


class OtlpSink:
    """Exporters as the standard variables say. Raises PointsmanError(INVALID) for variables that
    say nothing we know.

    service: what OTEL_SERVICE_NAME is by default; instance: which of its processes this is
    """

    def __init__(self, environment: Mapping[str, str], service: str, instance: str) -> None:
        # What they say about failures comes again with every batch; the outlet says it once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        logging.getLogger("urllib3").setLevel(logging.WARNING)
        self._resource = _resource(service, instance)
        traces, logs = switches.SignalKind.TRACES, switches.SignalKind.LOGS
        self._spans: SpanExporter | None = None
        self._events: LogRecordExporter | None = None
        if switches.exports(environment, traces):
            self._spans = _span_exporter(switches.protocol(environment, traces))
        if switches.exports(environment, logs):
            self._events = _event_exporter(switches.protocol(environment, logs))

    def send(self, spans: Sequence[Span], events: Sequence[Event]) -> int:
        """How many were not taken; each exporter tries again for as long as its timeout says."""
        lost = 0
        if spans and self._spans is not None:
            taken = self._spans.export([self._span(span) for span in spans])
            lost += 0 if taken is SpanExportResult.SUCCESS else len(spans)
        if events and self._events is not None:
            told = self._events.export([self._event(event) for event in events])
            lost += 0 if told is LogRecordExportResult.SUCCESS else len(events)
        return lost

    def close(self) -> None:
        for exporter in (self._spans, self._events):
            if exporter is not None:
                exporter.shutdown()

    def _span(self, span: Span) -> ReadableSpan:
        state = TraceState.from_header([span.state]) if span.state else None
        parent = _context(span.trace, span.parent, state, remote=span.remote)
        return ReadableSpan(
            name=span.name,
            context=_context(span.trace, span.span, state),
            parent=parent if span.parent else None,
            resource=self._resource,
            attributes=span.attributes,
            kind=_KINDS[span.kind],
            status=Status(StatusCode.ERROR, span.failed) if span.failed else Status(),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=_SCOPE,
        )

    def _event(self, event: Event) -> ReadableLogRecord:
        around = None
        if event.trace:
            around = set_span_in_context(NonRecordingSpan(_context(event.trace, event.span)))
        severity = SeverityNumber.WARN if event.warns else SeverityNumber.INFO
        record = LogRecord(
            timestamp=event.at_ns,
            context=around,
            severity_number=severity,
            severity_text=severity.name,
            body=event.body or None,
            attributes=event.attributes,
            event_name=event.name,
        )
        return ReadableLogRecord(record, self._resource, _SCOPE)


def _context(
    trace: str, span: str, state: TraceState | None = None, *, remote: bool = False
) -> SpanContext:
    return SpanContext(int(trace, 16), int(span or "0", 16), remote, _SAMPLED, state)


def _resource(service: str, instance: str) -> Resource:
    """What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say stands; we say the rest."""
    said = dict(Resource.create({}).attributes)
    if str(said.get("service.name", "")).startswith("unknown_service"):
        said["service.name"] = service
    own: dict[str, Any] = {
        "service.version": pointsman.__version__,
        "host.name": socket.gethostname(),
        "pointsman.process": instance,
        "process.pid": os.getpid(),
    }
    return Resource(own | said)


def _span_exporter(protocol: str) -> SpanExporter:
    if protocol == switches.GRPC:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
        OTLPSpanExporter as ByHttp,
    )

    return ByHttp()


def _event_exporter(protocol: str) -> LogRecordExporter:
    if protocol == switches.GRPC:
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter

        return OTLPLogExporter()
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as ByHttp

    return ByHttp()
