"""Everything alerts consist of, put together: who looks, who is told, and the loops of both."""

from functools import partial
from typing import Final

from pointsman.controller.alert_routes import AlertRoutes
from pointsman.controller.alerting import Alerting, Links
from pointsman.controller.delivering import Deliveries
from pointsman.controller.ledger import Ledger
from pointsman.controller.lookout import Lookout
from pointsman.controller.permissions import Route
from pointsman.controller.process import Loop
from pointsman.controller.reachable import Reachable
from pointsman.ports import Clock
from pointsman.wiring.receivers import receivers
from pointsman.wiring.settings import Settings

LOOK_S: Final = 2.0
SEND_S: Final = 1.0
REACH_S: Final = 30.0


class Alerts:
    """Raises PointsmanError for a receiver that cannot be used as it is set up."""

    def __init__(
        self, wanted: Settings, ledger: Ledger, clock: Clock, lookout: Lookout, links: Links
    ) -> None:
        people = receivers(wanted, clock)
        self._ledger = ledger
        self._links = links
        self.deliveries = Deliveries(ledger, people, links)
        # A loop each: one that does not answer keeps nobody else waiting.
        self._sending = [
            Loop(f"alerts to {name}", partial(self.deliveries.turn, name), SEND_S)
            for name in people
        ]
        self.alerting = Alerting(ledger, lookout, list(people), links, self._nudge)

    def loops(self, reachable: Reachable) -> list[Loop]:
        reaching = [Loop("reach", reachable.look, REACH_S)] if reachable.any else []
        return [Loop("alerts", self.alerting.turn, LOOK_S), *self._sending, *reaching]

    def routes(self) -> list[Route]:
        routes = AlertRoutes(self._ledger, self.alerting, self.deliveries, self._links)
        return routes.routes()

    def _nudge(self) -> None:
        for loop in self._sending:
            loop.nudge()
