"""What leaves the controller for tracing backends and Datadog, as its settings say."""

import os

import structlog
from starlette.types import ASGIApp

from pointsman.controller.traced import TracedApp, Witness
from pointsman.telemetry import connect, sampling, switches
from pointsman.telemetry.dogstatsd import Client
from pointsman.wiring.settings import Settings

_log = structlog.get_logger(__name__)


class Telemetry:
    """The controller's. Does nothing where neither is switched on."""

    def __init__(self, wanted: Settings) -> None:
        tracing = wanted.tracing and not switches.disabled(os.environ)
        self.lost = 0
        self._sampler = sampling.from_environment(os.environ) if tracing else None
        self._outlet = None
        if tracing:
            self._outlet = connect.outlet(
                os.environ, "pointsman-controller", "controller", self._dropped
            )
            self._outlet.start()
        client = Client(wanted.dogstatsd, os.environ) if wanted.dogstatsd else None
        self.witness = Witness(self._outlet, client)

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application, traced where that is switched on."""
        if self._outlet is None or self._sampler is None:
            return app
        return TracedApp(app, self._sampler, self._outlet)

    def close(self) -> None:
        """Sends what is left."""
        if self._outlet is not None:
            self._outlet.close()
        if self.lost:
            _log.warning("spans and events were lost", count=self.lost)

    def _dropped(self, _why: str, count: int) -> None:
        self.lost += count
