"""From sums over replayed decisions to what a slice would look like, and how sure that is."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from pointsman.decide.answers import NO_ARM, Arm, Models, Sums

FEWEST_ANSWERS: Final = 10
"""Of a model in a slice, below which its mean there stands for nothing."""

_Z: Final = 1.959963984540054  # of a two-sided 95 % interval


class Estimate(msgspec.Struct, frozen=True):
    """A mean over the decisions of a slice, under either table.

    decisions: that it is about: those of which both sides are known or estimated
    low, high: 95 % interval of the shift; equal to it where every answer is in the log
    """

    decisions: int
    before: float
    after: float
    shift: float
    low: float
    high: float


class Sources(msgspec.Struct, frozen=True):
    """Where the answers under the newer table come from, in decisions.

    kept: same model and same decision as before; known: in the log for this very decision, or
    declared; averaged: the model's mean over logged decisions of the slice; scored: its mean over
    logged features it was asked now; unknown: nobody can say, so no estimate counts them
    """

    kept: int = 0
    known: int = 0
    averaged: int = 0
    scored: int = 0
    unknown: int = 0


class SliceForecast(msgspec.Struct, frozen=True):
    """A slice, or all decisions where the name is empty.

    arms: decisions by variant assigned, (name, before, after)
    value, value_moved: sums of the attribute asked for, over all and over those that move
    denied: share that is denied; score: of the positive class; latency_us; each None where nothing
    is known of it. cost: of an answer, as declared
    """

    name: str
    decisions: int
    moved: int
    value: float
    value_moved: float
    arms: tuple[tuple[str, int, int], ...]
    sources: Sources
    denied: Estimate | None
    score: Estimate | None
    latency_us: Estimate | None
    cost: tuple[float, float]


class _Mean(NamedTuple):
    value: float
    variance: float
    n: int
    scored: bool


class _Group:
    """Decisions of a slice with the same variant before and after; known answers of either side."""

    __slots__ = ("after", "before", "decisions", "value")

    def __init__(self, before: Sums, after: Sums) -> None:
        self.decisions = 0
        self.value = 0.0
        self.before, self.after = before, after


_Read = Callable[[Sums, Arm], tuple[float, float]]
"""Sum and sum of squares of a measure over the answers summed up."""


class Effects:
    """What is known of one slice."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._groups: dict[tuple[str, str], _Group] = {}
        self._logged: dict[str, Sums] = {}
        self._scored: dict[str, Sums] = {}

    def add(
        self, before: str, after: str, decisions: int, value: float, answers: dict[str, Sums]
    ) -> None:
        """Decisions that go from one variant to another, and the answers the log has to them."""
        old, new = self._arms(before, after)
        width = self._models.width
        group = self._groups.get((before, after))
        if group is None:
            group = _Group(Sums(width[old.model]), Sums(width[new.model]))
            self._groups[before, after] = group
        group.decisions += decisions
        group.value += value
        for model, sums in answers.items():
            _into(self._logged, model, sums)
            if model == old.model:
                group.before.add(sums)
            if model == new.model:
                group.after.add(sums)

    def scored(self, model: str, sums: Sums) -> None:
        """An answer asked for now."""
        _into(self._scored, model, sums)

    def unseen(self) -> frozenset[str]:
        """Variants decisions move to, or stay at as another version, that have too few answers."""
        found = set()
        for (before, after), group in self._groups.items():
            old, new = self._arms(before, after)
            if old == new or new.constant is not None or not new.model:
                continue
            logged = self._logged.get(new.model)
            if group.after.n < group.decisions and (logged is None or logged.n < FEWEST_ANSWERS):
                found.add(after)
        return frozenset(found)

    def told(self, name: str) -> SliceForecast:
        """The slice as a forecast."""
        groups = self._groups.items()
        decisions = sum(group.decisions for _, group in groups)
        moving = [group for (old, new), group in groups if old != new]
        counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        cost_before = cost_after = 0.0
        for (before, after), group in groups:
            old, new = self._arms(before, after)
            counts[before][0] += group.decisions
            counts[after][1] += group.decisions
            cost_before += group.decisions * old.cost
            cost_after += group.decisions * new.cost
        denied, sources = self._estimate(_denied, rates=True)
        latency, _ = self._estimate(_latency, rates=False)
        score = self._estimate(_score, rates=False)[0] if self._models.scores else None
        return SliceForecast(
            name=name,
            decisions=decisions,
            moved=sum(group.decisions for group in moving),
            value=math.fsum(group.value for _, group in groups),
            value_moved=math.fsum(group.value for group in moving),
            arms=tuple((arm, old, new) for arm, (old, new) in sorted(counts.items())),
            sources=sources,
            denied=denied,
            score=score,
            latency_us=latency,
            cost=(cost_before / (decisions or 1), cost_after / (decisions or 1)),
        )

    def _arms(self, before: str, after: str) -> tuple[Arm, Arm]:
        return self._models.before.get(before, NO_ARM), self._models.after.get(after, NO_ARM)

    def _estimate(self, read: _Read, *, rates: bool) -> tuple[Estimate | None, Sources]:
        """The estimate of one measure, and where it comes from."""
        counted, total_old, total_new = 0, 0.0, 0.0
        net: defaultdict[tuple[str, int], int] = defaultdict(int)
        drawn: defaultdict[tuple[str, int], int] = defaultdict(int)
        means: dict[tuple[str, int], _Mean] = {}
        sources = dict.fromkeys(Sources.__struct_fields__, 0)
        for (before, after), group in self._groups.items():
            old, new = self._arms(before, after)
            sides = [
                self._side(old, group.before, group.decisions, read, rates=rates),
                self._side(new, group.after, group.decisions, read, rates=rates),
            ]
            same = (old.model, old.reading) == (new.model, new.reading)
            if not self._models.comparable or None in sides:
                sources["unknown"] += group.decisions
                continue
            ((sum_old, guessed_old, mean_old), (sum_new, guessed_new, mean_new)) = sides  # type: ignore[misc]  # None is not among them
            counted += group.decisions
            total_old += sum_old
            total_new += sum_new
            if same:
                sources["kept"] += group.decisions
                continue
            sources["known"] += group.decisions - guessed_new
            if mean_new is not None:
                sources["scored" if mean_new.scored else "averaged"] += guessed_new
            for arm, guessed, mean, sign in (
                (old, guessed_old, mean_old, -1),
                (new, guessed_new, mean_new, 1),
            ):
                if guessed and mean is not None:
                    key = (arm.model, arm.reading)
                    means[key] = mean
                    net[key] += sign * guessed
                    drawn[key] += guessed
        if not counted:
            return None, Sources(**sources)
        variance = math.fsum(
            mean.variance * (net[key] ** 2 / mean.n + drawn[key]) for key, mean in means.items()
        )
        shift = (total_new - total_old) / counted
        width = _Z * math.sqrt(variance) / counted
        return Estimate(
            counted,
            total_old / counted,
            total_new / counted,
            shift,
            shift - width,
            shift + width,
        ), Sources(**sources)

    def _side(
        self, arm: Arm, known: Sums, decisions: int, read: _Read, *, rates: bool
    ) -> tuple[float, int, _Mean | None] | None:
        """Sum of the measure over a group under one arm, how many of it are estimated, from which
        mean; None where that is not known."""
        if arm.constant is not None:
            if read is _latency:
                return None
            return decisions * arm.constant[0 if read is _denied else 1], 0, None
        total = read(known, arm)[0] if known.n else 0.0
        missing = decisions - known.n
        if missing <= 0:
            return total, 0, None
        mean = self._mean(arm, read, rates=rates)
        return None if mean is None else (total + missing * mean.value, missing, mean)

    def _mean(self, arm: Arm, read: _Read, *, rates: bool) -> _Mean | None:
        """Of a model in this slice: logged, else asked now."""
        for scored, by_model in ((False, self._logged), (True, self._scored)):
            sums = by_model.get(arm.model)
            if sums is None or sums.n < FEWEST_ANSWERS or (scored and read is _latency):
                continue
            total, squares = read(sums, arm)
            if rates:
                # A share of 0 or 1 in a few answers is not certain: two of each are added.
                smooth = (total + 2) / (sums.n + 4)
                variance = smooth * (1 - smooth)
            else:
                variance = max(0.0, squares - total * total / sums.n) / (sums.n - 1)
            return _Mean(total / sums.n, variance, sums.n, scored)
        return None


def add(to: list[float], values: Sequence[float]) -> None:
    """Adds place by place."""
    for place, value in enumerate(values):
        to[place] += value


def _into(by_model: dict[str, Sums], model: str, sums: Sums) -> None:
    known = by_model.get(model)
    if known is None:
        known = by_model[model] = Sums(len(sums.denied))
    known.add(sums)


def _denied(sums: Sums, arm: Arm) -> tuple[float, float]:
    count = float(sums.denied[arm.reading]) if arm.reading < len(sums.denied) else 0.0
    return count, count


def _score(sums: Sums, _: Arm) -> tuple[float, float]:
    return sums.score, sums.score2


def _latency(sums: Sums, _: Arm) -> tuple[float, float]:
    return sums.latency, sums.latency2
