"""What a rollout's own state says is wrong: taken back, without data, stuck."""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from pointsman.alerts.condition import Condition, Measure
from pointsman.alerts.message import stamp
from pointsman.alerts.policy import Rule
from pointsman.domain.alert import Kind
from pointsman.rollout import words
from pointsman.rollout.machine import Event, Phase
from pointsman.rollout.observation import Role, Verdict
from pointsman.rollout.state import State, Transition, VerdictChange
from pointsman.rollout.terms import Analyse
from pointsman.spec.later import Bound

_BY_ITSELF: Final = frozenset(
    {Event.GUARDRAIL_BROKEN, Event.DATA_MISSING, Event.STOPPED, Event.UNSERVABLE}
)
"""Ends that no person asked for."""

_ON_ITS_WAY: Final = frozenset({Phase.PENDING, Phase.RUNNING, Phase.PROMOTING})


class Growing(msgspec.Struct, frozen=True):
    """A rollout as it is looked at.

    bounds: guardrails as declared; shares: metrics that are shares of decisions
    """

    project: str
    variant: str
    against: str
    state: State
    bounds: tuple[Bound, ...] = ()
    shares: frozenset[str] = frozenset()


def of_rollout(at: Growing, rules: Mapping[Kind, Rule], now_ms: int) -> Iterator[Condition]:
    """Conditions of a rollout, from nothing but its state."""
    yield from _rolled_back(at, rules[Kind.ROLLED_BACK].window_ms, now_ms)
    yield from _silent(at)
    yield from _stuck(at, rules[Kind.STUCK].window_ms, now_ms)


def _rolled_back(at: Growing, window_ms: int, now_ms: int) -> Iterator[Condition]:
    state = at.state
    if state.phase not in {Phase.ROLLED_BACK, Phase.FAILED} or not state.history:
        return
    last = state.history[-1]
    if last.event not in _BY_ITSELF or now_ms - last.at_ms >= window_ms:
        return
    broken = _broken(state) if last.event is Event.GUARDRAIL_BROKEN else None
    version = words.version(at.variant, state.target)
    moved = f"from {words.percent(last.weight_before)} to {words.percent(last.weight)}"
    back = words.version(at.against, state.champion)
    # Sentences of a rollout leave out the tenant; those of alerts stand alone.
    said = last.sentence.partition(": ")[2]
    found = Condition(
        Kind.ROLLED_BACK,
        f"{at.project}: {said}",
        subject=at.variant,
        window_ms=last.at_ms - _begun(state, last),
        deed=f"took all traffic from {version} ({moved}); {back} has it again",
    )
    if broken is not None:
        found = msgspec.structs.replace(
            found,
            metric=f"{broken.metric} of {broken.slice}" if broken.slice else broken.metric,
            value=broken.value,
            bound=broken.bound,
            measure=_measure(at, broken.metric),
            n=broken.n,
        )
    yield found


def _silent(at: Growing) -> Iterator[Condition]:
    since_ms = at.state.silent_since_ms
    if since_ms is None or at.state.phase not in {Phase.RUNNING, Phase.PAUSED}:
        return
    weight = words.percent(at.state.weight)
    yield Condition(
        Kind.MISSING_DATA,
        f"{at.project}: {at.variant} has {weight} of the traffic and no decision data since "
        f"{stamp(since_ms)}",
        subject=at.variant,
        deed=f"keeps {at.variant} at {weight} until there is data",
    )


def _stuck(at: Growing, window_ms: int, now_ms: int) -> Iterator[Condition]:
    state = at.state
    if state.phase not in _ON_ITS_WAY:
        return
    since_ms = max(state.entered_ms, state.published_ms, state.not_before_ms)
    here = state.course[state.position] if 0 <= state.position < len(state.course) else None
    hold_ms = here.hold_ms if isinstance(here, Analyse) else 0
    if now_ms - since_ms - hold_ms < window_ms:
        return
    where = words.step(state.course, state.position)
    yield Condition(
        Kind.STUCK,
        f"{at.project}: {at.variant} has been at {where} since {stamp(since_ms)}, and would have "
        f"been done with it after {words.span(hold_ms)} at the soonest",
        subject=at.variant,
        metric="seconds at this step",
        # By the hour: what changes with every look is no news.
        value=(now_ms - since_ms) // 3_600_000 * 3_600.0,
        bound=(hold_ms + window_ms) / 1000,
        measure=Measure.SECONDS,
        window_ms=window_ms,
        deed=f"keeps {at.variant} at {words.percent(state.weight)}; `status` says why",
    )


def _broken(state: State) -> VerdictChange | None:
    """The newest guardrail that failed in this attempt."""
    failed = [
        change
        for change in state.verdicts
        if change.role is Role.GUARDRAIL and change.verdict is Verdict.FAIL
    ]
    return max(failed, key=lambda change: change.at_ms, default=None)


def _begun(state: State, last: Transition) -> int:
    """When this attempt had its first traffic; its end where it had none."""
    started = [
        one.at_ms
        for one in state.history
        if one.attempt == last.attempt and one.event is Event.STARTED
    ]
    return started[0] if started else last.at_ms


def _measure(at: Growing, metric: str) -> Measure:
    bound = next((one for one in at.bounds if one.metric == metric), None)
    if bound is not None and bound.relative is not None:
        return Measure.RELATIVE
    return Measure.POINTS if metric in at.shares else Measure.PLAIN
