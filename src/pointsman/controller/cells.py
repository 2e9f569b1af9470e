"""What one decision, and one outcome of it, adds to evidence cells, gauges and traffic."""

import math
from collections import defaultdict
from typing import Any, Final, TypeVar

import msgspec

from pointsman.controller.beside import Beside, Case
from pointsman.controller.headcount import Headcount
from pointsman.controller.join import IngestProject
from pointsman.domain import evidence
from pointsman.domain.decision import Value
from pointsman.domain.evidence import (
    Confusion,
    LatencyHistogram,
    Moments,
    Payload,
    ScoreHistogram,
)
from pointsman.domain.records import DecisionRecord, OutcomeKind
from pointsman.store.payloads import Counts, Key
from pointsman.store.pulses import FINE_S, Beats

HOUR_MS: Final = 3_600_000
"""Gauges and traffic are kept by hour: `status` needs no finer time."""

MAX_SLICE_VALUES: Final = 100
"""Values of one attribute that get cells of their own; all others share the slice `attribute=*`."""

_MAX_SLICE_TEXT: Final = 64
_SMALLEST_PROBABILITY: Final = 2.0**-53

_P = TypeVar("_P", Moments, Confusion, ScoreHistogram, LatencyHistogram)


class SliceNames:
    """Slices by name, with a bound on how many one attribute can have.

    A value that was admitted stays so, since it is in the store; what came after the bound was
    reached never is.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], set[str]] = defaultdict(set)

    def learn(self, project: str, name: str) -> None:
        """A slice that has cells already."""
        attribute, _, text = name.partition("=")
        if text != "*":
            self._known[project, attribute].add(text)

    def name(self, project: str, attribute: str, value: Value) -> str:
        """`attribute=value`, or `attribute=*` where it is one too many or too long."""
        text = str(value).lower() if isinstance(value, bool) else str(value)
        known = self._known[project, attribute]
        if text not in known:
            if len(known) >= MAX_SLICE_VALUES or len(text) > _MAX_SLICE_TEXT or text == "*":
                return f"{attribute}=*"
            known.add(text)
        return f"{attribute}={text}"


class Sums:
    """Payloads by key, for evidence cells and for gauges; grow in place."""

    def __init__(self) -> None:
        self.cells: dict[Key, Payload] = {}
        self.gauges: dict[Key, Payload] = {}
        self._labels: dict[Key, _Labels] = {}

    def labels(self, payloads: dict[Key, Payload], stem: Key, project: IngestProject) -> "_Labels":
        """What labels are added to under one stem of cells or of gauges."""
        labels = self._labels.get(stem)
        if labels is None:
            buckets = payloads is self.cells
            labels = self._labels[stem] = _Labels(payloads, stem, project, buckets=buckets)
        return labels


class Changes:
    """What a batch of records adds, to be merged into the store in one transaction.

    What is taken back is kept apart from what is added: moments that count none are empty, and the
    difference of two values that are not in the same payload would be lost.
    """

    def __init__(self, slices: SliceNames) -> None:
        self.added = Sums()
        self.taken = Sums()
        self.traffic: dict[Key, Counts] = {}
        self.pulses: dict[Key, Beats] = {}
        self._slices = slices
        self.beside = Beside(self.added.cells, self.taken.cells)
        self.headcount = Headcount()
        self._groups: dict[Key, _Group] = {}

    def case(self, record: DecisionRecord, project: IngestProject) -> Case:
        """The decision, as `beside` asks for it."""
        return Case(record, project, self._stems(record, project))

    def decided(self, record: DecisionRecord, project: IngestProject | None) -> None:
        """Adds one decision that was not known before."""
        counts = self._counts(record)
        counts.decisions += 1
        counts.latency_us += record.latency_us
        self._beat(record)
        if record.served and record.action and not record.withheld:
            _latency(self.added.gauges, (*_gauge(record), evidence.LATENCY), record.latency_us)
        if project is None or not project.drawn(record):
            return
        stems = self._stems(record, project)
        for stem in stems:
            group = self._groups.get(stem)
            if group is None:
                group = self._groups[stem] = _Group(self.added.cells, stem)
            group.decided(record)
        if project.shadowed:
            self.beside.decided(Case(record, project, stems))

    def told(
        self,
        record: DecisionRecord,
        project: IngestProject | None,
        outcome: tuple[OutcomeKind, str | float | None],
        *,
        times: int,
    ) -> None:
        """Adds what became known about a decision; `times=-1` takes it back."""
        kind, value = outcome
        if kind == "label":
            self._counts(record).labelled += times
        elif kind == "reward":
            self._counts(record).rewarded += times
        if project is None:
            return
        sums = self.added if times > 0 else self.taken
        stems = self._stems(record, project)
        targets: list[tuple[dict[Key, Payload], Key]] = []
        if record.served:
            targets.append((sums.gauges, _gauge(record)))
        if project.drawn(record):
            targets += [(sums.cells, stem) for stem in stems]
        self.beside.told(Case(record, project, stems), {kind: value}, times)
        if project.drawn(record) and record.id in self.beside.known.first:
            self.headcount.told(record, project, {kind: value}, times)
        graded = _grade(record, project, value) if isinstance(value, str) else None
        for payloads, stem in targets:
            if graded is not None:
                sums.labels(payloads, stem, project).told(record.unit_hash, graded, times)
            elif isinstance(value, float):
                metric = evidence.REWARD if kind == "reward" else evidence.OUTCOME_COST
                _moments(payloads, (*stem, metric)).observe(record.unit_hash, value, times)

    def _counts(self, record: DecisionRecord) -> Counts:
        key = (
            record.project,
            record.at_ms - record.at_ms % HOUR_MS,
            record.table,
            record.rule,
            record.epoch,
            record.assigned,
            record.served,
            record.version,
            record.reason,
            record.action,
        )
        counts = self.traffic.get(key)
        if counts is None:
            counts = self.traffic[key] = Counts()
        return counts

    def _beat(self, record: DecisionRecord) -> None:
        start = record.at_ms - record.at_ms % (FINE_S * 1000)
        key = (record.project, start, record.rule, record.assigned, record.served)
        beats = self.pulses.get(key)
        if beats is None:
            beats = self.pulses[key] = Beats()
        beats.decisions += 1
        beats.denied += record.action == "deny"
        beats.latency_us += record.latency_us

    def _stems(self, record: DecisionRecord, project: IngestProject) -> list[Key]:
        """Keys of the cells a decision is in, up to the metric: the whole, and each slice."""
        stem = (
            record.project,
            record.rule,
            record.epoch,
            evidence.block_of(record.at_ms),
            record.assigned,
        )
        names = [""]
        for attribute in project.slices:
            value = record.context.get(attribute)
            if value is not None:
                names.append(self._slices.name(record.project, attribute, value))
        return [(*stem, name) for name in names]


class _Group:
    """The cells that every decision of one stem is in, found once and not for each of them."""

    def __init__(self, cells: dict[Key, Payload], stem: Key) -> None:
        self._cells = cells
        self._denied_key = (*stem, evidence.DENIED)
        self._denied: Moments | None = None
        self._error = _moments(cells, (*stem, evidence.ERROR))
        self._cost = _moments(cells, (*stem, evidence.COST))
        self._latency = _put(cells, (*stem, evidence.LATENCY), LatencyHistogram())

    def decided(self, record: DecisionRecord) -> None:
        unit = record.unit_hash
        self._cost.observe(unit, record.cost)
        failed = record.served != record.assigned
        unasked = record.unasked
        if not record.action and (unasked or not failed):
            return  # nobody was asked for an answer: none was slow, and none failed
        if not unasked:
            self._error.observe(unit, float(failed))
        if not record.withheld:  # how long the request took is what the row that failed took
            self._latency.observe(record.latency_us)
        if record.action:
            if self._denied is None:
                self._denied = _moments(self._cells, self._denied_key)
            self._denied.observe(unit, float(record.action == "deny"))


def _gauge(record: DecisionRecord) -> Key:
    hour = record.at_ms - record.at_ms % HOUR_MS
    return (record.project, hour, record.served, record.version)


class _Graded(msgspec.Struct, frozen=True):
    """A prediction held against its label.

    label, predicted: class indexes, of so many classes
    loss: -ln of the probability given to the label, in nats
    score: of the positive class, None where there is none
    """

    classes: int
    label: int
    predicted: int
    loss: float
    brier: float
    score: float | None
    positive: bool


def _grade(record: DecisionRecord, project: IngestProject, label: str) -> _Graded | None:
    """None where there is no prediction, or the label was told while no class was known."""
    classes = project.classes
    probabilities = record.probabilities
    if record.predicted not in classes or label not in classes:
        return None
    if len(probabilities) != len(classes):
        return None
    at = classes.index(label)
    squares = sum([p * p for p in probabilities])
    given = probabilities[at]
    score = probabilities[classes.index(project.positive)] if project.positive else None
    return _Graded(
        classes=len(classes),
        label=at,
        predicted=classes.index(record.predicted),
        loss=-math.log(max(given, _SMALLEST_PROBABILITY)),
        # The sum over classes of (p - [class is label])^2, without a second walk.
        brier=max(squares - 2.0 * given + 1.0, 0.0),
        score=None if score is None else min(max(score, 0.0), 1.0),
        positive=label == project.positive,
    )


class _Labels:
    """The payloads that labels are added to under one stem, found once.

    buckets: keep counts by unit bucket too. Judging needs them, gauges do not.
    """

    def __init__(
        self, payloads: dict[Key, Payload], stem: Key, project: IngestProject, *, buckets: bool
    ) -> None:
        classes = len(project.classes)
        self._confusion = _put(payloads, (*stem, evidence.CONFUSION), Confusion.empty(classes))
        self._correct = _moments(payloads, (*stem, evidence.CORRECT))
        self._loss = _moments(payloads, (*stem, evidence.LOG_LOSS))
        self._brier = _moments(payloads, (*stem, evidence.BRIER))
        self._classes = classes
        self._buckets = buckets
        self._scores: ScoreHistogram | None = None
        if project.positive:
            self._scores = _put(payloads, (*stem, evidence.SCORE), ScoreHistogram())

    def told(self, unit: int, graded: _Graded, times: int) -> None:
        if graded.classes != self._classes:
            return  # the classes changed within an epoch: these cannot be added up
        named = unit if self._buckets else None
        self._confusion.observe(graded.label, graded.predicted, times, named)
        self._correct.observe(unit, float(graded.label == graded.predicted), times)
        self._loss.observe(unit, graded.loss, times)
        self._brier.observe(unit, graded.brier, times)
        if self._scores is not None and graded.score is not None:
            self._scores.observe(
                graded.score, positive=graded.positive, times=times, unit_hash=named
            )


def _moments(payloads: dict[Key, Payload], key: Key) -> Moments:
    found = payloads.get(key)
    return found if isinstance(found, Moments) else _put(payloads, key, Moments())


def _latency(payloads: dict[Key, Payload], key: Key, latency_us: int) -> None:
    found = payloads.get(key)
    if not isinstance(found, LatencyHistogram):
        found = _put(payloads, key, LatencyHistogram())
    found.observe(latency_us)


def _put(payloads: dict[Key, Any], key: Key, payload: _P) -> _P:
    payloads[key] = payload
    return payload
