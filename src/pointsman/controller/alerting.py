"""The loop of alerts: look at every project, move its alerts, put what is to be told on its way.

What is known is read and what follows from it is written in one transaction that has the write
lock, so two controllers at once find what the other has done and tell nothing twice.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import quote, urlencode

import structlog
from sqlalchemy import Connection

from pointsman.alerts import grouping, machine, policy
from pointsman.alerts.grouping import NEWS_MS
from pointsman.alerts.machine import Alert, Sight, State
from pointsman.alerts.message import compose
from pointsman.alerts.policy import Policy
from pointsman.controller.ledger import Ledger
from pointsman.controller.lookout import NOTHING_SEEN, Lookout, Place
from pointsman.spec import canonical
from pointsman.spec.alerts import Alerts
from pointsman.spec.models import Project
from pointsman.store import alerts, revisions
from pointsman.store.revisions import Revision

_log = structlog.get_logger(__name__)
_REST: Final = 9.0
"""After a turn the loop rests for so many times as long as it worked: at most a tenth of a
processor is for alerts."""
_LONGEST_REST_S: Final = 60.0
_CLEAN_MS: Final = 3_600_000
_AROUND_MS: Final = 1_800_000
"""How much of the time before and after an alert its link shows."""


class Links:
    """Where alerts can be seen. at: the address the dashboard is reached at, without its path"""

    def __init__(self, at: str = "") -> None:
        self.at = at.rstrip("/")

    def page(self, project: str) -> str:
        """Of the alerts of one project, or of all where none is named."""
        query = f"?{urlencode({'project': project})}" if project else ""
        return f"{self.at}/ui/#/alerts{query}"

    def alert(self, alert: Alert) -> str:
        """Of the project at the time of the alert."""
        if not alert.project:
            return self.page("")
        tenant, _, name = alert.project.partition("/")
        until_ms = (alert.resolved_ms or alert.fired_ms or alert.since_ms) + _AROUND_MS
        query = urlencode({"from": alert.since_ms - _AROUND_MS, "until": until_ms})
        return f"{self.at}/ui/#/p/{quote(tenant)}/{quote(name)}?{query}"


class Alerting:
    """Blocking; one turn at a time for a process.

    receivers: names of those that messages may go to
    changes: goes up whenever an alert begins or ends
    """

    def __init__(
        self,
        ledger: Ledger,
        lookout: Lookout,
        receivers: Sequence[str],
        links: Links,
        nudge: Callable[[], None] = lambda: None,
    ) -> None:
        self._ledger = ledger
        self._lookout = lookout
        self._receivers = tuple(receivers)
        self._links = links
        self._nudge = nudge
        self._parsed: dict[str, tuple[str, Project, Policy]] = {}
        self._installation = policy.of_installation()
        self._rested_at = 0.0
        self._cleaned_ms = 0
        self.changes = 0

    def turn(self) -> bool:
        """One look at everything, unless it rests. False: what is left waits for time."""
        if time.monotonic() < self._rested_at:
            return False
        started = time.thread_time()
        self.look()
        rest_s = min(_REST * (time.thread_time() - started), _LONGEST_REST_S)
        self._rested_at = time.monotonic() + rest_s
        return False

    def look(self) -> None:
        """One look at everything now."""
        now_ms = self._ledger.now_ms()
        with self._ledger.reading() as connection:
            active = revisions.active(connection)
            unfinished = alerts.unfinished(connection)
        places = [self._place(revision) for revision in active]
        self._parsed = {at.name: self._parsed[at.name] for at in places}
        for at in places:
            self._advance(at.name, self._seen(at, now_ms), at.policy, now_ms)
        # What a project that is gone had open is over.
        for name in unfinished - {at.name for at in places} - {""}:
            self._advance(name, Sight(), policy.of_project(Alerts()), now_ms)
        rules = self._installation
        self._advance("", self._lookout.installation(rules, now_ms), rules, now_ms)
        self._clean(now_ms)

    def unknown_receivers(self) -> list[str]:
        """Sentences on names in files that the operator knows no receiver of."""
        return [
            f"{name}: its alerts are to go to {', '.join(unknown)}, and there is no such receiver"
            for name, (_, _, wanted) in sorted(self._parsed.items())
            if (unknown := wanted.unknown(self._receivers))
        ]

    def _place(self, revision: Revision) -> Place:
        """A revision, parsed once."""
        known = self._parsed.get(revision.project)
        if known is None or known[0] != revision.digest:
            project = canonical.parse(revision.spec)
            known = (revision.digest, project, policy.of_project(project.spec.alerts))
            self._parsed[revision.project] = known
        return Place(revision, known[1], known[2])

    def _seen(self, at: Place, now_ms: int) -> Sight:
        try:
            return self._lookout.project(at, now_ms)
        except Exception as error:  # noqa: BLE001 - one project must not hide the others' alerts
            _log.warning("not looked at", project=at.name, error=f"{type(error).__name__}: {error}")
            return NOTHING_SEEN

    def _advance(self, name: str, seen: Sight, wanted: Policy, now_ms: int) -> None:
        """Moves one project's alerts, and puts messages on their way, or nothing of it."""
        with self._ledger.reading() as connection:
            if not self._anything(connection, name, seen, wanted, now_ms):
                return
        with self._ledger.writing() as connection:
            moved = self._move(connection, name, seen, wanted, now_ms)
            sent = self._send(connection, name, wanted, now_ms)
        self.changes += len(moved)
        for alert in moved:
            _log.warning(
                "alert",
                project=name,
                kind=alert.condition.kind.value,
                state=alert.state.value,
                severity=alert.severity.value,
                sentence=alert.condition.sentence,
            )
        if sent:
            self._nudge()

    def _anything(
        self, connection: Connection, name: str, seen: Sight, wanted: Policy, now_ms: int
    ) -> bool:
        """Whether there is anything to write, without the write lock."""
        before = alerts.alive_of(connection, name)
        if machine.step(name, before, seen, wanted.rules, now_ms) != tuple(before):
            return True
        return bool(self._due(connection, name, wanted, now_ms))

    def _move(
        self, connection: Connection, name: str, seen: Sight, wanted: Policy, now_ms: int
    ) -> list[Alert]:
        """Those whose beginning or end is news."""
        before = {alert.id: alert for alert in alerts.alive_of(connection, name)}
        after = machine.step(name, list(before.values()), seen, wanted.rules, now_ms)
        alerts.drop(connection, before.keys() - {alert.id for alert in after})
        news = []
        for alert in after:
            known = before.get(alert.id)
            if alert == known:
                continue
            alerts.put(connection, alert, now_ms)
            if alert.state is not State.PENDING and (known is None or known.state != alert.state):
                news.append(alert)
        return news

    def _due(
        self, connection: Connection, name: str, wanted: Policy, now_ms: int
    ) -> tuple[grouping.Batch, ...]:
        if not self._receivers:
            return ()
        known = alerts.firing(connection, name)
        known += alerts.untold(connection, name, now_ms - NEWS_MS)
        if not known:
            return ()
        told = alerts.told_of(connection, [alert.id for alert in known])
        busy = alerts.busy(connection, name)
        free = [receiver for receiver in self._receivers if receiver not in busy]
        return grouping.due(name, known, told, wanted, free, now_ms)

    def _send(self, connection: Connection, name: str, wanted: Policy, now_ms: int) -> bool:
        batches = self._due(connection, name, wanted, now_ms)
        for batch in batches:
            message = compose(batch, now_ms, self._links.alert, self._links.page)
            alerts.send(connection, batch.receiver, message)
        return bool(batches)

    def _clean(self, now_ms: int) -> None:
        if 0 <= now_ms - self._cleaned_ms < _CLEAN_MS:
            return
        self._cleaned_ms = now_ms
        with self._ledger.writing() as connection:
            alerts.delete_old(connection, now_ms)
            alerts.give_up(connection, self._receivers, now_ms)


def shown(alert: Alert, link: str) -> Mapping[str, object]:
    """An alert as the API tells it."""
    found = alert.condition
    return {
        "id": alert.id,
        "project": alert.project,
        "kind": found.kind.value,
        "subject": found.subject,
        "state": alert.state.value,
        "severity": alert.severity.value,
        "sentence": found.sentence,
        "metric": found.metric,
        "value": found.value,
        "bound": found.bound,
        "measure": found.measure.value,
        "window_ms": found.window_ms,
        "n": found.n,
        "deed": found.deed,
        "since_ms": alert.since_ms,
        "fired_ms": alert.fired_ms,
        "gone_ms": alert.gone_ms,
        "resolved_ms": alert.resolved_ms,
        "link": link,
    }
