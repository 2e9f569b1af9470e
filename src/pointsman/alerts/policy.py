"""What a project wants to hear of, with the usual where its file says nothing."""

from collections.abc import Iterable

import msgspec

from pointsman.domain.alert import INSTALLATION, USUAL, Kind, Severity
from pointsman.spec.alerts import AlertRule, Alerts


class Rule(msgspec.Struct, frozen=True):
    """One kind of alert as it is wanted. bound: a share, 0 to 1; the others as in `Usual`

    receivers: by name; None = all there are
    """

    severity: Severity
    after_ms: int
    quiet_ms: int
    bound: float
    window_ms: int
    least: int
    receivers: tuple[str, ...] | None = None
    mute: bool = False


class Policy(msgspec.Struct, frozen=True):
    """Everything a project says about alerts.

    group_ms: what happens within it is one message; repeat_ms: how often open alerts are told again
    """

    rules: dict[Kind, Rule]
    group_ms: int
    repeat_ms: int

    def receivers(self, kind: Kind, known: Iterable[str]) -> tuple[str, ...]:
        """Who is to hear of a kind, of those that are known."""
        wanted = self.rules[kind].receivers
        return tuple(name for name in known if wanted is None or name in wanted)

    def unknown(self, known: Iterable[str]) -> tuple[str, ...]:
        """Names of receivers that are wanted and not there, in order."""
        wanted = {name for rule in self.rules.values() for name in rule.receivers or ()}
        return tuple(sorted(wanted - set(known)))


def of_project(said: Alerts) -> Policy:
    """The policy of a project whose file says this."""
    rules = {
        kind: _rule(kind, said.rules.get(kind.value, AlertRule()), said.receivers)
        for kind in Kind
        if kind not in INSTALLATION
    }
    return Policy(rules, said.group, said.repeat)


def of_installation() -> Policy:
    """The policy for what is about no project: as usual, and everybody hears of it."""
    usual = Alerts()
    rules = {kind: _rule(kind, AlertRule(), None) for kind in Kind if kind in INSTALLATION}
    return Policy(rules, usual.group, usual.repeat)


def _rule(kind: Kind, said: AlertRule, receivers: tuple[str, ...] | None) -> Rule:
    usual = USUAL[kind]
    bound = usual.bound if said.bound is None else float(said.bound)
    return Rule(
        severity=usual.severity if said.severity is None else said.severity,
        after_ms=_first(said.after, usual.after_ms),
        quiet_ms=_first(said.quiet, usual.quiet_ms),
        bound=(bound or 0.0) / 100,
        window_ms=_first(said.window, usual.window_ms or 0),
        least=_first(said.least, usual.least or 0),
        receivers=receivers if said.receivers is None else said.receivers,
        mute=said.mute,
    )


def _first(said: int | None, usual: int) -> int:
    return usual if said is None else said
