"""What decisions add to cells beside their own: units' first exposures, pairs of answers, and
outcomes beside another model's score.

Everything here is said once when it becomes true and taken back once when it no longer is, so any
order of decisions, shadow answers and outcomes gives the same cells.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from pointsman.controller.join import IngestProject
from pointsman.decide.hashing import hash32
from pointsman.domain import evidence
from pointsman.domain.decision import Reason
from pointsman.domain.events import happened
from pointsman.domain.evidence import (
    Confusion,
    CrossMoments,
    LatencyHistogram,
    Moments,
    Pair,
    Paired,
    Payload,
)
from pointsman.domain.records import DecisionRecord, OutcomeKind, ShadowRecord
from pointsman.domain.table import SPACE, Shadow
from pointsman.store.payloads import Key

Outcomes = Mapping[OutcomeKind, str | float | None]
"""What is held to be true about a decision, by kind."""

_PAIRABLE: Final = frozenset({Reason.RULE, Reason.SPLIT, Reason.HOLDOUT, Reason.BANDIT})
"""Traffic as it comes. Pinned requests are somebody's choice, and what a kill switch or an error
sent somewhere is not what the rule says."""


class Case(msgspec.Struct, frozen=True):
    """A decision, what its table declared, and the stems of its cells' keys."""

    record: DecisionRecord
    project: IngestProject
    stems: Sequence[Key]


class Known(msgspec.Struct, frozen=True):
    """What has to be known of decisions besides their records, to tell their outcomes.

    first: ids of those that are their unit's first exposure
    shadows: answers of shadows, by id
    first_pairs: (id, shadow) of those that are their unit's first pair
    """

    first: Collection[str] = ()
    shadows: Mapping[str, Sequence[ShadowRecord]] = {}
    first_pairs: Collection[tuple[str, str]] = ()


class Beside:
    """Adds to cells; `taken` are those of what is taken back."""

    def __init__(self, added: dict[Key, Payload], taken: dict[Key, Payload]) -> None:
        self.known = Known()
        self._cells = {1: added, -1: taken}

    def decided(self, case: Case) -> None:
        """A decision that was not known before."""
        self._given(case, own_score(case.record, case.project), _denied(case.record), 1)

    def exposed(self, case: Case, held: Outcomes, times: int) -> None:
        """A decision that is its unit's first exposure; `times=-1` where it no longer is."""
        events = _denied(case.record) | _failed(case.record) | _slow(case) | _others(case)
        self._first(case, events | _wrong(case, held), times)
        self._first_label(case, held, times)
        if _timed(case.record):
            for stem in case.stems:
                key = (*stem, evidence.member(evidence.FIRST, evidence.LATENCY))
                found = self._cells[times].setdefault(key, LatencyHistogram())
                assert isinstance(found, LatencyHistogram)
                found.observe(case.record.latency_us, times)

    def watched(self, case: Case, shadow: ShadowRecord, held: Outcomes) -> None:
        """What a shadow answered, to a decision of which this is known already."""
        if _pairable(case.record, shadow):
            pair = pair_of(case.record, shadow, case.project)
            for cell in self._pairs(case, evidence.FLIPS, shadow, 1):
                if pair is None:
                    cell.failed += 1
                else:
                    _observe(cell, pair, _label(case, held), 1)
        values = _denied(case.record) | _values(case, held)
        self._given(case, shadow_score(case.record, shadow, case.project), values, 1)

    def first_pair(self, case: Case, shadow: ShadowRecord, held: Outcomes, times: int) -> None:
        """A pair that is its unit's first; `times=-1` where it no longer is."""
        pair = pair_of(case.record, shadow, case.project)
        if pair is not None:
            for cell in self._pairs(case, evidence.PAIRED, shadow, times):
                _observe(cell, pair, _label(case, held), times)

    def told(self, case: Case, told: Outcomes, times: int) -> None:
        """What became known about a decision; `times=-1` takes it back."""
        record, known = case.record, self.known
        if case.project.drawn(record) and record.id in known.first:
            self._first(case, _wrong(case, told), times)
            self._first_label(case, told, times)
        scores = own_score(record, case.project)
        label = _label(case, told)
        for shadow in known.shadows.get(record.id, ()):
            scores |= shadow_score(record, shadow, case.project)
            pair = pair_of(record, shadow, case.project)
            if pair is None or label is None:
                continue
            first = (record.id, shadow.variant) in known.first_pairs
            for family in (evidence.FLIPS, evidence.PAIRED)[: 1 + first]:
                for cell in self._pairs(case, family, shadow, times):
                    cell.label(pair, label, times)
        if scores:
            self._given(case, scores, _values(case, told), times)

    def _first(self, case: Case, events: Mapping[str, float], times: int) -> None:
        cells = self._cells[times]
        for stem in case.stems:
            for metric, value in events.items():
                key = (*stem, evidence.member(evidence.FIRST, metric))
                found = cells.setdefault(key, Moments())
                assert isinstance(found, Moments)
                found.observe(case.record.unit_hash, value, times)

    def _first_label(self, case: Case, held: Outcomes, times: int) -> None:
        """A first exposure's label against its prediction, in all cells but those whose classes
        changed within an epoch."""
        label, classes, cells = _label(case, held), case.project.classes, self._cells[times]
        if label is None or case.record.predicted not in classes:
            return
        predicted = classes.index(case.record.predicted)
        for stem in case.stems:
            key = (*stem, evidence.FIRST_CONFUSION)
            found = cells.setdefault(key, Confusion.empty(len(classes)))
            if isinstance(found, Confusion) and found.classes == len(classes):
                found.observe(label, predicted, times)

    def _pairs(self, case: Case, family: str, shadow: ShadowRecord, times: int) -> list[Paired]:
        """The cells of a pair, but for those whose classes changed within an epoch."""
        classes, cells = len(case.project.classes), self._cells[times]
        metric = evidence.member(family, shadow.variant)
        found = [cells.setdefault((*stem, metric), Paired(classes)) for stem in case.stems]
        return [cell for cell in found if isinstance(cell, Paired) and cell.classes == classes]

    def _given(
        self, case: Case, scores: Mapping[str, float], values: Mapping[str, float], times: int
    ) -> None:
        """Values beside scores that are known whichever variant was assigned."""
        if not scores or not case.project.drawn(case.record):
            return
        cells = self._cells[times]
        for stem in case.stems:
            for variant, score in scores.items():
                for metric, value in values.items():
                    key = (*stem, evidence.member(evidence.GIVEN, variant, metric))
                    found = cells.setdefault(key, CrossMoments())
                    assert isinstance(found, CrossMoments)
                    found.observe(case.record.unit_hash, value, score, times)


def pair_of(record: DecisionRecord, shadow: ShadowRecord, project: IngestProject) -> Pair | None:
    """Both answers side by side; None where one is missing, or was not asked for as it came."""
    classes = project.classes
    if not _pairable(record, shadow):
        return None
    if record.predicted not in classes or shadow.predicted not in classes:
        return None
    served, other = record.probabilities, shadow.probabilities
    if len(served) != len(classes) or len(other) != len(classes):
        return None
    shift = None
    if project.positive:
        at = classes.index(project.positive)
        shift = other[at] - served[at]
    return Pair(
        classes=len(classes),
        served=classes.index(record.predicted),
        shadow=classes.index(shadow.predicted),
        served_denied=record.action == "deny",
        shadow_denied=shadow.action == "deny",
        shift=shift,
        distance=0.5 * sum([abs(p - q) for p, q in zip(other, served, strict=True)]),
    )


def _pairable(record: DecisionRecord, shadow: ShadowRecord) -> bool:
    """Whether the decision was made as the rule says, and the shadow's answer is about it."""
    usual = record.reason in _PAIRABLE and record.served == record.assigned
    return usual and bool(record.action) and shadow.project == record.project


def own_score(record: DecisionRecord, project: IngestProject) -> dict[str, float]:
    """The served variant's score of the positive class, where the rule also has it as a shadow."""
    if not project.shadowed or not _watches(record, project, record.served):
        return {}
    return _score(record.served, record.probabilities, project)


def shadow_score(
    record: DecisionRecord, shadow: ShadowRecord, project: IngestProject
) -> dict[str, float]:
    """The same of a shadow."""
    if shadow.project != record.project or not _watches(record, project, shadow.variant):
        return {}
    return _score(shadow.variant, shadow.probabilities, project)


def _watches(record: DecisionRecord, project: IngestProject, variant: str) -> bool:
    """Whether a variant's score is asked for on this unit, whoever serves it.

    Where only a part of the units is shadowed, both arms count that part alone, or the arms would
    no longer be in the shares they were drawn in.
    """
    watching: Sequence[Shadow] = project.shadowed.get(record.rule, ())
    for shadow in watching:
        if shadow.variant == variant:
            if shadow.cut >= SPACE:
                return True
            return record.unit is not None and hash32(shadow.salt, record.unit) < shadow.cut
    return False


def _score(
    variant: str, probabilities: Sequence[float], project: IngestProject
) -> dict[str, float]:
    if not project.positive or len(probabilities) != len(project.classes):
        return {}
    return {variant: probabilities[project.classes.index(project.positive)]}


def _observe(cell: Paired, pair: Pair, label: int | None, times: int) -> None:
    cell.observe(pair, times)
    if label is not None:
        cell.label(pair, label, times)


def _label(case: Case, held: Outcomes) -> int | None:
    label = held.get("label")
    return case.project.classes.index(label) if label in case.project.classes else None


def _denied(record: DecisionRecord) -> dict[str, float]:
    return {evidence.DENIED: float(record.action == "deny")} if record.action else {}


def _failed(record: DecisionRecord) -> dict[str, float]:
    """Nothing for `:decide`, which asked for no answer, nor for who was not asked in time."""
    if record.unasked:
        return {}
    failed = record.served != record.assigned
    return {evidence.ERROR: float(failed)} if record.action or failed else {}


def _slow(case: Case) -> dict[str, float]:
    record = case.record
    if not _timed(record):
        return {}
    return {evidence.slow(us): float(record.latency_us > us) for us in case.project.slow_us}


def _timed(record: DecisionRecord) -> bool:
    """Of answers only: what failed is an error, and what nobody asked for is not late."""
    return bool(record.action) and not record.withheld


def _others(case: Case) -> dict[str, float]:
    """Events that the project's metrics are about, besides those above."""
    project = case.project
    found = {
        event.name: happened(event, case.record, project.classes, project.positive)
        for event in project.events
    }
    return {name: float(was) for name, was in found.items() if was is not None}


def _wrong(case: Case, held: Outcomes) -> dict[str, float]:
    label, predicted = held.get("label"), case.record.predicted
    classes = case.project.classes
    if label not in classes or predicted not in classes:
        return {}
    return {evidence.WRONG: float(label != predicted)}


def _values(case: Case, held: Outcomes) -> dict[str, float]:
    """Outcomes as numbers, by metric."""
    found: dict[str, float] = {}
    if wrong := _wrong(case, held):
        found[evidence.CORRECT] = 1.0 - wrong[evidence.WRONG]
    kinds: tuple[tuple[OutcomeKind, str], ...] = (
        ("reward", evidence.REWARD),
        ("cost", evidence.OUTCOME_COST),
    )
    for kind, metric in kinds:
        value = held.get(kind)
        if isinstance(value, float):
            found[metric] = value
    return found
