"""An outlet for one process, as its environment says: made where tracing is switched on."""

from collections.abc import Callable, Mapping

from pointsman.telemetry.outlet import Outlet, Sink, bounds_from


def outlet(
    environment: Mapping[str, str],
    service: str,
    instance: str,
    dropped: Callable[[str, int], None],
) -> Outlet:
    """Not started yet. Raises PointsmanError(INVALID).

    environment: the process's own; the exporters read it by themselves
    service: its name where OTEL_SERVICE_NAME gives none; instance: which process of it
    dropped: as `Outlet` has it
    """

    def connect() -> Sink:
        # A second of imports that nobody else has to pay for.
        from pointsman.telemetry.otlp import OtlpSink

        return OtlpSink(environment, service, instance)

    return Outlet(connect, dropped, bounds_from(environment))
