"""Alerts over HTTP: what is open, what was, and how those do who hear of it."""

from typing import Annotated, Any, Final

from fastapi import Query, Request

from pointsman.alerts.machine import Alert
from pointsman.controller.alerting import Alerting, Links, shown
from pointsman.controller.delivering import Deliveries
from pointsman.controller.ledger import Ledger
from pointsman.controller.permissions import Permission, Principal, Route, caller
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.store import alerts

_MOST: Final = 1000


class AlertRoutes:
    """Reads, but for the test of a receiver, which sends a message."""

    def __init__(
        self, ledger: Ledger, alerting: Alerting, deliveries: Deliveries, links: Links
    ) -> None:
        self._ledger = ledger
        self._alerting = alerting
        self._deliveries = deliveries
        self._links = links

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v1/alerts", Permission.READ, self.list_alerts),
            Route("POST", "/v1/receivers/{receiver}:test", Permission.ADMIN, self.test),
        ]

    def list_alerts(
        self,
        request: Request,
        project: str = "",
        limit: Annotated[int, Query(ge=0, le=_MOST)] = 50,
    ) -> dict[str, Any]:
        """Open alerts, those that are over, and receivers; of one project, `tenant/project`, where
        one is named. A caller with a tenant sees that tenant's projects alone."""
        who = caller(request)
        wanted = project or None
        if project and not who.may_touch(project.partition("/")[0]):
            raise PointsmanError(Kind.NOT_FOUND, f"no project {project[:200]!r}")
        with self._ledger.reading() as connection:
            firing = alerts.firing(connection, wanted)
            # Those of other tenants are left out only after they were read.
            over = alerts.resolved(connection, _MOST if who.tenant else limit, wanted)
        return {
            "open": [self._shown(one) for one in firing if _sees(who, one.project)],
            "recent": [self._shown(one) for one in over if _sees(who, one.project)][:limit],
            "receivers": self._deliveries.standing(),
            "troubles": self._alerting.unknown_receivers() if not who.tenant else [],
        }

    def test(self, receiver: str) -> dict[str, str]:
        """Whether a receiver takes a message, now."""
        return {"sentence": self._deliveries.test(receiver)}

    def _shown(self, alert: Alert) -> dict[str, Any]:
        return dict(shown(alert, self._links.alert(alert)))


def _sees(who: Principal, project: str) -> bool:
    return not who.tenant or (bool(project) and who.may_touch(project.partition("/")[0]))
