"""What OpenTelemetry's standard variables say about exporting.

The exporters read the rest by themselves: endpoint, headers, certificates, compression, timeout.
"""

import importlib.util
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.telemetry import sampling
from pointsman.telemetry.outlet import bounds_from

GRPC: Final = "grpc"
HTTP: Final = "http/protobuf"
SECRET: Final = frozenset(
    {
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
    }
)
"""Variables that hold keys of tracing backends: for those who export alone."""


class SignalKind(StrEnum):
    """What OTLP carries for us; its value is the name in the variables."""

    TRACES = "TRACES"
    LOGS = "LOGS"


def disabled(environment: Mapping[str, str]) -> bool:
    """Whether the standard switch turns off what the setting turned on."""
    return environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def exports(environment: Mapping[str, str], kind: SignalKind) -> bool:
    """Whether this kind is exported. Raises PointsmanError(INVALID)."""
    name = f"OTEL_{kind.value}_EXPORTER"
    text = environment.get(name, "").strip().lower() or "otlp"
    if text not in {"otlp", "none"}:
        raise PointsmanError(
            Kind.INVALID, f"{name}: {text[:40]!r} is not known here", hint="write otlp, or none"
        )
    return text == "otlp"


def protocol(environment: Mapping[str, str], kind: SignalKind) -> str:
    """`grpc`, or `http/protobuf`, the standard's own default. Raises PointsmanError(INVALID)."""
    own, shared = f"OTEL_EXPORTER_OTLP_{kind.value}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"
    text = (environment.get(own, "") or environment.get(shared, "")).strip().lower() or HTTP
    if text not in {GRPC, HTTP}:
        raise PointsmanError(
            Kind.INVALID,
            f"{own if environment.get(own) else shared}: {text[:40]!r} is not spoken here",
            hint=f"write {GRPC} or {HTTP}",
        )
    return text


def check(environment: Mapping[str, str]) -> None:
    """Returns where tracing can be switched on. Raises PointsmanError(INVALID): what is missing."""
    if importlib.util.find_spec("opentelemetry") is None or any(
        importlib.util.find_spec(f"opentelemetry.{part}") is None
        for part in ("sdk", "exporter.otlp.proto.grpc", "exporter.otlp.proto.http")
    ):
        raise PointsmanError(
            Kind.INVALID,
            "--tracing needs the OpenTelemetry SDK and its OTLP exporters",
            hint="install them: pip install 'pointsman[otel]'",
        )
    sampling.from_environment(environment)
    bounds_from(environment)
    for kind in SignalKind:
        exports(environment, kind)
        protocol(environment, kind)
