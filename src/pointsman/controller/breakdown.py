"""What stands behind a variant's figures: by slice, by score, by latency over time, by cost.

All of it is of what a rule's split drew in its present epoch, as figures to compare by are.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pointsman.controller import figures
from pointsman.controller.catalog import sliced_by
from pointsman.controller.ledger import Ledger
from pointsman.controller.projects import Projects
from pointsman.controller.reuse import Reused
from pointsman.domain import evidence
from pointsman.domain.evidence import (
    SCORE_BINS,
    LatencyHistogram,
    Moments,
    Payload,
    ScoreHistogram,
    latency_edge,
    score_edge,
)
from pointsman.domain.table import Rule
from pointsman.judge import ratio
from pointsman.judge.sequential import proportion, rate
from pointsman.spec import canonical
from pointsman.spec.models import Project
from pointsman.store import payloads
from pointsman.store.payloads import Wanted
from pointsman.store.revisions import Revision

Shown = dict[str, Any]

DAY_MS: Final = 86_400_000
WINDOW_MS: Final = 14 * DAY_MS
"""How far back, unless said otherwise; labels that come later than that are rare."""

_METRICS: Final = (
    evidence.DENIED,
    evidence.ERROR,
    evidence.CORRECT,
    evidence.SCORE,
    evidence.LATENCY,
    evidence.COST,
)
_OF_SLICES: Final = frozenset({evidence.DENIED, evidence.ERROR, evidence.CORRECT})
_RELIABILITY_BINS: Final = 12
_HEAT_ROWS: Final = 48
"""Stretches of time of a latency heat map, at most."""

_Arms = dict[str, dict[str, Payload]]


class Breakdowns:
    """Answers `breakdown`. Blocking."""

    def __init__(self, ledger: Ledger, projects: Projects) -> None:
        self._ledger = ledger
        self._projects = projects
        self._known: Reused[tuple[str, str, int], Shown] = Reused()

    def of(self, name: str, since_ms: int = 0) -> Shown:
        """For each rule that splits: slices, reliability, latency and cost of each variant.

        since_ms: of blocks that begin then or later; 0 = of the past 14 days
        Errors: NOT_FOUND for a project that is not there.
        """
        revision = self._projects.current(name)
        key = (name, revision.table_digest, since_ms)
        return self._known.get(key, lambda: self._read(name, revision, since_ms))

    def _read(self, name: str, revision: Revision, since_ms: int) -> Shown:
        table = self._projects.table(revision)
        project = canonical.parse(revision.spec)
        since = since_ms or self._ledger.now_ms() - WINDOW_MS
        rules = [
            self._rule(name, project, rule, since)
            for rule in table.rules
            if rule.allocation is not None
        ]
        return {"project": name, "since_ms": since, "positive": table.positive, "rules": rules}

    def _rule(self, name: str, project: Project, rule: Rule, since_ms: int) -> Shown:
        assert rule.allocation is not None
        variants = tuple(dict.fromkeys(rule.allocation.arms))
        wanted = Wanted(
            project=name,
            rule=rule.name,
            epoch=rule.epoch,
            variants=variants,
            metrics=_METRICS,
            from_ms=since_ms,
            until_ms=self._ledger.now_ms() + evidence.BLOCK_MS,
            attributes=frozenset(sliced_by(project)),
        )
        with self._ledger.reading() as connection:
            rows = payloads.read_cells(connection, wanted)
        whole: _Arms = defaultdict(dict)
        slices: dict[str, _Arms] = defaultdict(lambda: defaultdict(dict))
        heat: dict[str, dict[int, LatencyHistogram]] = defaultdict(dict)
        for block_ms, variant, slice_, metric, payload in rows:
            if slice_:
                if metric in _OF_SLICES:
                    evidence.add(slices[slice_][variant], metric, payload)
                continue
            evidence.add(whole[variant], metric, payload)
            if isinstance(payload, LatencyHistogram):
                heat[variant][block_ms] = payload
        return {
            "rule": rule.name,
            "epoch": rule.epoch,
            "variants": list(variants),
            "slices": [
                {"slice": slice_, "variants": {v: _rates(arms[v]) for v in variants if v in arms}}
                for slice_, arms in sorted(slices.items())
            ],
            "reliability": {
                variant: _reliability(arm)
                for variant, arm in whole.items()
                if isinstance(arm.get(evidence.SCORE), ScoreHistogram)
            },
            "latency": {variant: _heat(blocks) for variant, blocks in heat.items()},
            "cost": {variant: _cost(arm) for variant, arm in whole.items()},
        }


def _rates(arm: Mapping[str, Payload]) -> Shown:
    named = {"denied": evidence.DENIED, "errors": evidence.ERROR, "accuracy": evidence.CORRECT}
    found = {}
    for name, metric in named.items():
        moments = arm.get(metric)
        found[name] = figures.shown(rate(moments if isinstance(moments, Moments) else Moments()))
    return found


def _reliability(arm: Mapping[str, Payload]) -> Shown:
    """Bins of about as many labelled decisions each, in order of score: the mean score beside the
    share that was positive, with an interval.

    calibration_error: the root mean square of the gap between score and share, without the part
        that chance alone makes; None while there are too few labels to say
    """
    scores = arm[evidence.SCORE]
    assert isinstance(scores, ScoreHistogram)
    squared = ratio.estimate(scores, ratio.calibration_error())
    total = [
        scores.counts[at] + scores.counts[SCORE_BINS + at]  # label 0, label 1
        for at in range(SCORE_BINS)
    ]
    bins: list[Shown] = []
    for group in _equal_masses(total, _RELIABILITY_BINS):
        n = sum(total[at] for at in group)
        if not n:
            continue
        positive = sum(max(scores.counts[SCORE_BINS + at], 0) for at in group)
        middle = math.fsum(total[at] * (score_edge(at) + score_edge(at + 1)) / 2 for at in group)
        bins.append({"score": middle / n, "share": figures.shown(proportion(positive, n))})
    return {
        "bins": bins,
        "calibration_error": None if squared is None else math.sqrt(max(squared, 0.0)),
    }


def _equal_masses(counts: Sequence[int], groups: int) -> list[range]:
    """Neighbouring places, in at most so many groups that count about as much each."""
    found: list[range] = []
    total, start, sum_ = sum(counts), 0, 0
    for at, count in enumerate(counts):
        sum_ += count
        if total and sum_ * groups >= total * (len(found) + 1):
            found.append(range(start, at + 1))
            start = at + 1
    return found


def _heat(blocks: Mapping[int, LatencyHistogram]) -> Shown:
    """Decisions by time and by latency, in powers of the square root of two.

    columns: start of each stretch, Unix milliseconds, of `width_ms`; edges_us: lower edges of the
    rows; counts: `counts[column][row]`
    """
    first, last = min(blocks), max(blocks) + evidence.BLOCK_MS
    wide = max(-(-(last - first) // (evidence.BLOCK_MS * _HEAT_ROWS)), 1) * evidence.BLOCK_MS
    columns: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for block_ms, histogram in blocks.items():
        column = columns[first + (block_ms - first) // wide * wide]
        for index, count in histogram.counts.items():
            column[_octave(latency_edge(index))] += count
    rows = sorted({row for column in columns.values() for row in column})
    if not rows:
        return {"width_ms": wide, "columns": [], "edges_us": [], "counts": []}
    every = range(rows[0], rows[-1] + 1)
    return {
        "width_ms": wide,
        "columns": sorted(columns),
        "edges_us": [round(2.0 ** (row / 2)) for row in every],
        "counts": [[columns[at].get(row, 0) for row in every] for at in sorted(columns)],
    }


def _octave(latency_us: int) -> int:
    return math.floor(2 * math.log2(max(latency_us, 1)))


def _cost(arm: Mapping[str, Payload]) -> Shown:
    """Declared cost of what was drawn, in the units of `cost.per_request`."""
    cost, correct = arm.get(evidence.COST), arm.get(evidence.CORRECT)
    if not isinstance(cost, Moments):
        return {"total": 0.0, "decisions": 0, "per_correct": None}
    total, n = math.fsum(cost.total), sum(cost.n)
    share = _share(correct.total, correct.n) if isinstance(correct, Moments) else None
    return {
        "total": total,
        "decisions": n,
        "per_correct": total / n / share if n and share else None,
    }


def _share(totals: Iterable[float], counts: Iterable[int]) -> float | None:
    n = sum(counts)
    return math.fsum(totals) / n if n else None
