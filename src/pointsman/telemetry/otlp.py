"""OTLP exporters: the only file that knows the OpenTelemetry SDK.

Its exporters do what is hard to do well (addresses, TLS, headers, compression, another try) as the
standard variables say. They are handed encoded messages (`wire`) past their own encoder, so they
are pinned to the minor version they are tested with: `_client`, `_translate_data` and `_count_data`
are their internals.
"""

import logging
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, cast

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource

import pointsman
from pointsman.telemetry import switches
from pointsman.telemetry.spans import Attributes, Event, Span
from pointsman.telemetry.switches import GRPC, SignalKind
from pointsman.telemetry.wire import Encoder

_SCOPE: Final = ("pointsman", pointsman.__version__)


class _Exporter(Protocol):
    def take(self, message: bytes) -> bool: ...

    def shutdown(self) -> None: ...


class OtlpSink:
    """Exporters as the standard variables say. Raises PointsmanError(INVALID) for variables that
    say nothing we know.

    service: what OTEL_SERVICE_NAME is by default; instance: which of its processes this is
    """

    def __init__(self, environment: Mapping[str, str], service: str, instance: str) -> None:
        # What they say about failures comes again with every batch; the outlet says it once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        logging.getLogger("urllib3").setLevel(logging.WARNING)
        self._encoder = Encoder(_resource(service, instance), _SCOPE)
        self._spans = _exporter(environment, SignalKind.TRACES)
        self._events = _exporter(environment, SignalKind.LOGS)

    def send(self, spans: Sequence[Span], events: Sequence[Event]) -> int:
        """How many were not taken; each exporter tries again for as long as its timeout says."""
        lost = 0
        if spans and self._spans is not None and not self._spans.take(self._encoder.spans(spans)):
            lost += len(spans)
        if (
            events
            and self._events is not None
            and not self._events.take(self._encoder.events(events))
        ):
            lost += len(events)
        return lost

    def close(self) -> None:
        for exporter in (self._spans, self._events):
            if exporter is not None:
                exporter.shutdown()


def _resource(service: str, instance: str) -> Attributes:
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
    return {
        name: value if isinstance(value, str | int | float | bool) else str(value)
        for name, value in (own | said).items()
    }


def _exporter(environment: Mapping[str, str], kind: SignalKind) -> _Exporter | None:
    """None where nothing of this kind is to be exported."""
    if not switches.exports(environment, kind):
        return None
    by_grpc = switches.protocol(environment, kind) == GRPC
    if kind is SignalKind.TRACES:
        return _grpc_spans() if by_grpc else _http_spans()
    return _grpc_events() if by_grpc else _http_events()


# A library of one protocol is imported where it is spoken: gRPC alone takes 10 MB of memory.


def _http_spans() -> _Exporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    class Spans(OTLPSpanExporter):
        def take(self, message: bytes) -> bool:
            return self._client.export(message).success

    return Spans()


def _http_events() -> _Exporter:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

    class Events(OTLPLogExporter):
        def take(self, message: bytes) -> bool:
            return self._client.export(message).success

    return Events()


def _grpc_spans() -> _Exporter:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SpanExportResult

    class Spans(OTLPSpanExporter):
        def take(self, message: bytes) -> bool:
            return self.export(cast("Any", message)) is SpanExportResult.SUCCESS

        def _translate_data(self, data: Any) -> ExportTraceServiceRequest:
            made: ExportTraceServiceRequest = ExportTraceServiceRequest.FromString(data)
            return made

        def _count_data(self, data: Any) -> int:
            del data  # counted by the outlet
            return 1

    return Spans()


def _grpc_events() -> _Exporter:
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs.export import LogRecordExportResult

    class Events(OTLPLogExporter):
        def take(self, message: bytes) -> bool:
            return self.export(cast("Any", message)) is LogRecordExportResult.SUCCESS

        def _translate_data(self, data: Any) -> ExportLogsServiceRequest:
            made: ExportLogsServiceRequest = ExportLogsServiceRequest.FromString(data)
            return made

        def _count_data(self, data: Any) -> int:
            del data
            return 1

    return Events()
