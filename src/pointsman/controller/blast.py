"""Which of a project's limits a change is over, and the hash that stands for this change.

Pure. Effects come from live traffic and never repeat to the digit, so what is approved is a
multiple of the limit, rounded up: the hash stays while the effect stays in the same step.
"""

import hashlib
import math
from collections.abc import Iterator
from typing import Final

import msgspec

from pointsman.controller.exposure import growth
from pointsman.decide.estimate import SliceForecast
from pointsman.decide.forecast import Forecast
from pointsman.domain.table import ProjectTable
from pointsman.spec.later import Limits

FEWEST_DECISIONS: Final = 50
"""Of a slice, below which a shift of its deny rate is no news."""


class Over(msgspec.Struct, frozen=True, order=True):
    """One limit a change is over.

    subject: what it is about: a rule and variant, `units`, or a slice; empty = all decisions
    found, allowed: in the limit's own unit
    step: found as a multiple of what is allowed, rounded up; 0 where nobody can tell
    """

    limit: str
    subject: str
    found: float
    allowed: float
    step: int
    sentence: str

    @property
    def key(self) -> tuple[str, str]:
        return self.limit, self.subject


class Ground(msgspec.Struct, frozen=True):
    """What a plan is about: the revision it changes, the one it makes, and the pinned versions."""

    project: str
    base: int
    revision: str
    pins: dict[str, str]


def over(
    limits: Limits,
    tables: tuple[ProjectTable, ProjectTable],
    forecast: Forecast | None,
    whole: Forecast | None,
) -> tuple[Over, ...]:
    """Everything the change is over, in order of limit and subject.

    forecast: of the change itself; whole: of a rollout's challenger at 100 %; None where nothing
        was replayed
    """
    found = [*_steps(limits, *tables)]
    if forecast is not None and forecast.decisions:
        found += _units(limits, forecast)
        found += _denials(limits, forecast, "")
    if whole is not None and whole.decisions:
        found += _denials(limits, whole, " at 100 %")
    return tuple(sorted(found))


def loosened(before: Limits | None, after: Limits | None) -> Over | None:
    """A change of the limits themselves that allows more than they do now."""
    if before is None:
        return None
    sentence = ""
    if after is None:
        sentence = "takes the limits away"
    else:
        for name in ("max_step", "max_units_moved", "max_deny_shift"):
            was, now = getattr(before, name), getattr(after, name)
            if was is not None and (now is None or now > was):
                sentence = f"loosens {_written(name)} from {was} to {now}"
        if after.approvals < before.approvals:
            sentence = f"asks for {after.approvals} approvals instead of {before.approvals}"
        if set(before.freeze) - set(after.freeze):
            sentence = "takes a freeze away"
    return Over("limits", "", 0.0, 0.0, 0, sentence) if sentence else None


def digest(ground: Ground, found: tuple[Over, ...]) -> str:
    """SHA-256, in hexadecimal, of what has to be agreed to. The same for the same JSON anywhere."""
    body = {
        "base": ground.base,
        "over": [[one.limit, one.subject, one.allowed, one.step] for one in found],
        "pins": ground.pins,
        "project": ground.project,
        "revision": ground.revision,
    }
    return hashlib.sha256(msgspec.json.encode(body, order="deterministic")).hexdigest()


def covered(now: tuple[Over, ...], approved: tuple[Over, ...]) -> bool:
    """Whether nothing is worse now than what was agreed to, and nothing new is over a limit."""
    agreed = {one.key: one.step for one in approved}
    return all(one.key in agreed and one.step <= agreed[one.key] for one in now)


def _steps(limits: Limits, before: ProjectTable, after: ProjectTable) -> Iterator[Over]:
    if limits.max_step is None:
        return
    allowed = float(limits.max_step)
    for (rule, variant), points in growth(before, after).items():
        if points > allowed:
            sentence = (
                f"maxStep: {variant} grows by {points:g} points in rule {rule}, {allowed:g} allowed"
            )
            yield _over("maxStep", f"{rule}/{variant}", points, allowed, sentence)


def _units(limits: Limits, forecast: Forecast) -> Iterator[Over]:
    allowed = limits.max_units_moved
    if allowed is not None and forecast.units_share > allowed:
        share = forecast.units_share
        sentence = f"maxUnitsMoved: {share:.2%} of units move, {allowed:.2%} allowed"
        yield _over("maxUnitsMoved", "units", share, allowed, sentence)


def _denials(limits: Limits, forecast: Forecast, when: str) -> Iterator[Over]:
    allowed = limits.max_deny_shift
    if allowed is None:
        return
    for one in (forecast.whole, *forecast.slices):
        if one.denied is None or one.denied.decisions < FEWEST_DECISIONS:
            continue
        shift = one.denied.shift
        if abs(shift) > allowed:
            where = one.name or "all decisions"
            sentence = (
                f"maxDenyShift: {shift * 100:+.2f} points of denials in {where}{when}, "
                f"{allowed * 100:.2f} allowed"
            )
            yield _over("maxDenyShift", one.name + when, abs(shift), allowed, sentence)
    yield from _untold(forecast.whole, allowed, when)


def _untold(whole: SliceForecast, allowed: float, when: str) -> Iterator[Over]:
    """What nobody can tell may be anything: more of it than the limit is over the limit."""
    unknown = whole.sources.unknown / whole.decisions
    if unknown > allowed:
        sentence = (
            f"maxDenyShift: nobody knows what {unknown:.2%} of decisions{when} would get, "
            f"{allowed * 100:.2f} points allowed"
        )
        yield Over("maxDenyShift", f"unknown{when}", unknown, allowed, 0, sentence)


def _over(limit: str, subject: str, found: float, allowed: float, sentence: str) -> Over:
    step = math.ceil(found / allowed) if allowed > 0 else math.ceil(found * 100)
    return Over(limit, subject, found, allowed, step, sentence)


def _written(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
