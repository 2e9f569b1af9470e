"""How versions probably did before labels came, beside what labels said later, day by day."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from pointsman.controller.ledger import Ledger
from pointsman.controller.projects import Projects
from pointsman.controller.reuse import Reused
from pointsman.domain import evidence
from pointsman.domain.evidence import SCORE_BINS, Confusion, Payload, ScoreHistogram
from pointsman.judge import estimated
from pointsman.judge.estimated import Rates
from pointsman.spec import canonical
from pointsman.store import overview, sketches
from pointsman.store.sketches import DAY_S

Shown = dict[str, Any]

DAY_MS: Final = DAY_S * 1000
WINDOW_MS: Final = 30 * DAY_MS
_SURE: Final = 1.96
"""Standard errors either way: 95 % of days, where nothing changed."""


class Estimates:
    """Answers `performance`. Blocking."""

    def __init__(self, ledger: Ledger, projects: Projects) -> None:
        self._ledger = ledger
        self._projects = projects
        self._known: Reused[tuple[str, str, int], Shown] = Reused()

    def of(self, name: str, since_ms: int = 0) -> Shown:
        """For each version that served, by day: what its scores say of all decisions, and what is
        known of those that have labels.

        since_ms: of days that begin then or later; 0 = of the past 30 days
        What scores mean is taken from labels of the days before alone, so that a day is never
        estimated by itself; `estimated` is null until there are enough of them.
        Errors: NOT_FOUND for a project that is not there.
        """
        revision = self._projects.current(name)
        key = (name, revision.digest, since_ms)
        return self._known.get(key, lambda: self._read(name, since_ms))

    def _read(self, name: str, since_ms: int) -> Shown:
        now = self._ledger.now_ms()
        since = since_ms or now - WINDOW_MS
        since -= since % DAY_MS
        revision = self._projects.current(name)
        spec = canonical.parse(revision.spec).spec
        positive = spec.positive_class
        with self._ledger.reading() as connection:
            names = sketches.keys_of(connection, name, "scores")
            span = (DAY_S, since, now + 1)
            seen = sketches.read(connection, name, "scores", span, names)
            labelled = overview.gauges_by_day(
                connection, name, (evidence.SCORE, evidence.CONFUSION)
            )
        counts = {(sketch.key, sketch.at_ms): sketch.counts for sketch in seen}
        at = spec.classes.index(positive) if positive else -1
        return {
            "project": name,
            "positive": positive,
            "since_ms": since,
            "missing": "" if positive else "estimates need a positive class: declare `positive`",
            "versions": [
                _version(key, {d: c for (k, d), c in counts.items() if k == key}, labelled, at)
                for key in names
                if positive and any(k == key for k, _ in counts)
            ],
        }


_ByDay = Mapping[tuple[str, str, int], Mapping[str, Payload]]


def _version(key: str, counts: Mapping[int, Any], labelled: _ByDay, positive: int) -> Shown:
    variant, _, version = key.partition(":")
    known: dict[int, Mapping[str, Payload]] = {
        day: found for (v, w, day), found in labelled.items() if (v, w) == (variant, version)
    }
    meant = ScoreHistogram()
    waiting = sorted(known)
    days: list[Shown] = []
    for day in sorted({*counts, *(d for d in known if d >= min(counts))}):
        while waiting and waiting[0] < day:
            found = known[waiting.pop(0)].get(evidence.SCORE)
            if isinstance(found, ScoreHistogram):
                meant = _sum(meant, found)
        chances = estimated.meaning(meant)
        guess = None
        if chances is not None and day in counts:
            guess = estimated.estimate(counts[day].reshape(2, SCORE_BINS), chances)
        truth = _realised(known.get(day, {}), positive)
        days.append(
            {
                "at_ms": day,
                "n": 0 if day not in counts else int(counts[day].sum()),
                "labelled": 0 if truth is None else round(truth.n),
                "estimated": None if guess is None else _shown(guess),
                "realised": None if truth is None else _shown(truth),
            }
        )
    return {"variant": variant, "version": version, "days": days}


def _sum(meant: ScoreHistogram, more: ScoreHistogram) -> ScoreHistogram:
    both = evidence.merge(meant, more)
    assert isinstance(both, ScoreHistogram)
    return both


def _realised(found: Mapping[str, Payload], positive: int) -> Rates | None:
    confusion, scores = found.get(evidence.CONFUSION), found.get(evidence.SCORE)
    if not isinstance(confusion, Confusion) or positive < 0:
        return None
    table = np.maximum(np.asarray(confusion.counts), 0)
    table = table.reshape(confusion.classes, confusion.classes)
    tp = int(table[positive, positive])
    fp, fn = int(table[:, positive].sum()) - tp, int(table[positive].sum()) - tp
    tn = int(table.sum()) - tp - fp - fn
    return estimated.realised(
        (tn, fp, fn, tp), scores if isinstance(scores, ScoreHistogram) else None
    )


def _shown(rates: Rates) -> Shown:
    """Each with the ends of its interval, where it has one."""
    shown: Shown = {"n": rates.n}
    for what in ("accuracy", "precision", "recall"):
        value, error = getattr(rates, what), getattr(rates, f"{what}_error")
        low = None if value is None else max(value - _SURE * error, 0.0)
        high = None if value is None else min(value + _SURE * error, 1.0)
        shown[what] = {"value": value, "low": low, "high": high}
    shown["f1"] = {"value": rates.f1, "low": None, "high": None}
    shown["auc"] = {"value": rates.auc, "low": None, "high": None}
    return shown
