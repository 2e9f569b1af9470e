"""The life of an alert: pending, firing, resolved.

    (nothing) --true--> PENDING --true for `after`--> FIRING --gone for `quiet`--> RESOLVED
                           |                             ^  |
                           +--gone--> (nothing)          +--+ true again within `quiet`

What could not be looked at changes nothing: silence neither begins an alert nor ends one. What
comes and goes faster than `quiet` is one alert, told once.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from pointsman.alerts.condition import Condition
from pointsman.alerts.policy import Rule
from pointsman.domain.alert import Kind, Severity


class State(StrEnum):
    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


class Alert(msgspec.Struct, frozen=True):
    """One incident, from its first sign to its end. Times are Unix milliseconds.

    id: the same for the same incident, whoever works it out
    project: `tenant/project`; empty where it is about the installation
    condition: as it was last seen to be true
    since_ms: from when on it was true; fired_ms: from when on it counts
    gone_ms: from when on it is no longer seen; None while it is
    """

    id: str
    project: str
    state: State
    severity: Severity
    condition: Condition
    since_ms: int
    fired_ms: int | None = None
    gone_ms: int | None = None
    resolved_ms: int | None = None

    @property
    def key(self) -> tuple[Kind, str]:
        return self.condition.kind, self.condition.subject

    @property
    def open(self) -> bool:
        return self.state is State.FIRING


class Sight(msgspec.Struct, frozen=True):
    """One look. unseen: kinds that could not be looked at this time"""

    conditions: tuple[Condition, ...] = ()
    unseen: frozenset[Kind] = frozenset()


def step(
    project: str,
    before: Sequence[Alert],
    seen: Sight,
    rules: Mapping[Kind, Rule],
    now_ms: int,
) -> tuple[Alert, ...]:
    """Every alert after one look; those that were only pending and are gone are left out.

    before: those that are pending or firing
    Of several conditions about the same, the first counts. A kind that is muted is never true.
    """
    true = _true(seen.conditions, rules)
    known = {alert.key: alert for alert in before}
    after = [
        moved
        for alert in known.values()
        if (moved := _moved(alert, true.get(alert.key), seen.unseen, rules, now_ms)) is not None
    ]
    for key, condition in true.items():
        if key not in known:
            after.append(_begun(project, condition, rules[condition.kind], now_ms))
    return tuple(after)


def _true(
    conditions: Collection[Condition], rules: Mapping[Kind, Rule]
) -> dict[tuple[Kind, str], Condition]:
    found: dict[tuple[Kind, str], Condition] = {}
    for one in conditions:
        if not rules[one.kind].mute:
            found.setdefault((one.kind, one.subject), one)
    return found


def _begun(project: str, condition: Condition, rule: Rule, now_ms: int) -> Alert:
    name = "\n".join((project, condition.kind, condition.subject, str(now_ms)))
    alert = Alert(
        hashlib.sha256(name.encode()).hexdigest()[:20],
        project,
        State.PENDING,
        rule.severity,
        condition,
        now_ms,
    )
    return _ripe(alert, rule, now_ms)


def _moved(
    alert: Alert,
    condition: Condition | None,
    unseen: frozenset[Kind],
    rules: Mapping[Kind, Rule],
    now_ms: int,
) -> Alert | None:
    kind = alert.condition.kind
    if condition is not None:
        rule = rules[kind]
        again = replace(alert, condition=condition, severity=rule.severity, gone_ms=None)
        return again if again.open else _ripe(again, rule, now_ms)
    if kind in unseen:
        return alert
    if not alert.open:
        return None
    gone_ms = now_ms if alert.gone_ms is None else alert.gone_ms
    # A clock that was put back must not keep an alert open for as long as it was put back.
    gone_ms = min(gone_ms, now_ms)
    if now_ms - gone_ms >= rules[kind].quiet_ms:
        return replace(alert, state=State.RESOLVED, gone_ms=gone_ms, resolved_ms=now_ms)
    return replace(alert, gone_ms=gone_ms)


def _ripe(alert: Alert, rule: Rule, now_ms: int) -> Alert:
    """Firing where it has been true for long enough."""
    since_ms = min(alert.since_ms, now_ms)
    if now_ms - since_ms >= rule.after_ms:
        return replace(alert, state=State.FIRING, since_ms=since_ms, fired_ms=now_ms)
    return replace(alert, since_ms=since_ms)
