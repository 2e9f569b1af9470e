"""What keeps a rollout's evidence from being believed, or from being claimed by."""

import math
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from pointsman.alerts.condition import Condition, Measure
from pointsman.domain.alert import Kind
from pointsman.judge.assess import epoch_alpha
from pointsman.judge.labels import ActionCoverage, merge
from pointsman.judge.sample_ratio import Coverage, RatioState, Stage, first_alarm
from pointsman.judge.verdict import HEALTH_ALPHA, Code, EpochHealth, Health, Reason

_HOLDS: Final = "gives no step to a rollout whose evidence cannot be believed"
_CLAIMS_NOTHING: Final = "claims nothing by labels: no pass, and no harm, is concluded from them"


class Judged(msgspec.Struct, frozen=True):
    """What judging has read of a rollout.

    sound: units by stage; actions: labels by action, of each arm; window_ms: since its first step
    """

    project: str
    variant: str
    reasons: tuple[Reason, ...]
    sound: Health = Health()
    actions: tuple[ActionCoverage, ...] = ()
    window_ms: int | None = None


def of_evidence(at: Judged) -> Iterator[Condition]:
    """One condition for each kind of reason against the evidence."""
    codes: dict[Code, Reason] = {}
    for reason in at.reasons:
        codes.setdefault(reason.code, reason)
    if Code.SAMPLE_RATIO in codes:
        yield _lost(at, codes[Code.SAMPLE_RATIO])
    elif Code.PROPENSITY in codes:
        yield _told(at, Kind.SAMPLE_RATIO, codes[Code.PROPENSITY], _HOLDS)
    if Code.LABEL_COVERAGE in codes:
        yield _uneven(at, codes[Code.LABEL_COVERAGE])
    if Code.SELECTIVE_LABELS in codes:
        yield _selective(at, codes[Code.SELECTIVE_LABELS])


def _told(at: Judged, kind: Kind, reason: Reason, deed: str) -> Condition:
    return Condition(
        kind,
        f"{at.project}: {reason.text}",
        subject=at.variant,
        window_ms=at.window_ms,
        deed=deed,
    )


def _lost(at: Judged, reason: Reason) -> Condition:
    """With the e-value against the promised shares, beside what it takes to refute them."""
    found = _told(at, Kind.SAMPLE_RATIO, reason, _HOLDS)
    for number, epoch in enumerate(at.sound.epochs, 1):
        stages = _stages(epoch, labels=reason.needs_labels)
        alpha = epoch_alpha(HEALTH_ALPHA, number)
        alarm = first_alarm(stages, alpha)
        if alarm is not None:
            present = sum(1 for state in stages.values() if state.draws)
            return msgspec.structs.replace(
                found,
                metric=f"ln e-value against the shares of units {alarm.stage.value}",
                value=alarm.log_e,
                bound=-math.log(alpha / present),
                n=sum(alarm.observed),
            )
    return found


def _stages(epoch: EpochHealth, *, labels: bool) -> dict[Stage, RatioState]:
    return {s: state for s, state in epoch.stages.items() if labels or s is not Stage.LABELLED}


def _uneven(at: Judged, reason: Reason) -> Condition:
    found = _told(at, Kind.LABEL_COVERAGE, reason, _HOLDS)
    rows = [row for epoch in at.sound.epochs for row in epoch.coverage]
    mine = _share(rows, "challenger")
    other = _share(rows, "champion")
    if mine is None or other is None:
        return found
    return msgspec.structs.replace(
        found,
        metric="share of units with a label, challenger less champion",
        value=mine - other,
        bound=0.0,
        measure=Measure.POINTS,
        n=sum(row.challenger + row.champion for row in rows),
    )


def _share(rows: Iterable[Coverage], arm: str) -> float | None:
    units = labelled = 0
    for row in rows:
        units += getattr(row, arm)
        labelled += getattr(row, f"labelled_{arm}")
    return labelled / units if units else None


def _selective(at: Judged, reason: Reason) -> Condition:
    found = _told(at, Kind.SELECTIVE_LABELS, reason, _CLAIMS_NOTHING)
    total = ActionCoverage()
    for one in at.actions:
        total = merge(total, one)
    if not total.allowed or not total.denied:
        return found
    return msgspec.structs.replace(
        found,
        metric="share of decisions with a label, allowed less denied",
        value=total.allowed_labelled / total.allowed - total.denied_labelled / total.denied,
        bound=0.0,
        measure=Measure.POINTS,
        n=total.allowed + total.denied,
    )
