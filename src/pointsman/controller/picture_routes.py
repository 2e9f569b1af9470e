"""Pictures over HTTP: what happened when, and what stands behind the figures."""

from typing import Annotated, Any

from fastapi import Query

from pointsman.controller.breakdown import Breakdowns
from pointsman.controller.permissions import Permission, Route
from pointsman.controller.timeline import Timelines
from pointsman.domain.names import qualified

_ROOT = "/v1/tenants/{tenant}/projects/{project}"
_Moment = Annotated[int, Query(ge=0, le=253_402_300_799_999)]


class PictureRoutes:
    """What changes nothing."""

    def __init__(self, timelines: Timelines, breakdowns: Breakdowns) -> None:
        self._timelines = timelines
        self._breakdowns = breakdowns

    def routes(self) -> list[Route]:
        read = Permission.READ
        return [
            Route("GET", _ROOT + "/timeline", read, self.timeline),
            Route("GET", _ROOT + "/looks", read, self.looks),
            Route("GET", _ROOT + "/breakdown", read, self.breakdown),
        ]

    def timeline(
        self,
        tenant: str,
        project: str,
        from_ms: _Moment | None = None,
        until_ms: _Moment = 0,
    ) -> dict[str, Any]:
        return self._timelines.of(qualified(tenant, project), from_ms, until_ms)

    def looks(
        self, tenant: str, project: str, attempt: Annotated[int, Query(ge=0)] = 0
    ) -> dict[str, Any]:
        return self._timelines.looks(qualified(tenant, project), attempt)

    def breakdown(self, tenant: str, project: str, since_ms: _Moment = 0) -> dict[str, Any]:
        return self._breakdowns.of(qualified(tenant, project), since_ms)
