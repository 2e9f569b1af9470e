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
    low, high: 95 % interval of the shift; equal to it where every answer is in the log. Normal, by
        the error of each estimated mean, for as many answers as do not cancel, and the spread of
        the answers that are only guessed
    Source: Valliant, Dorfman & Royall (2000), Finite Population Sampling and Inference, chapter 2:
        error variance of a predicted total.
    """

    decisions: int
    before: float
    after: float
    shift: float
    low: float
    high: float


class Way(NamedTuple):
    """How a decision goes: the rule it met and the variant it had, and the variant it would have.

    rule: of the older table; empty where none had a part in it
    """

    rule: str
    before: str
    after: str


class Sources(msgspec.Struct, frozen=True):
    """Where the answers under the newer table come from, in decisions.

    kept: same model and same decision as before; known: in the log for this very decision, or
    declared; averaged: the model's mean over logged decisions of the same rule and slice, or of the
    slice where those are too few; scored: the model was asked now, about this very decision or, for
    those outside the sample, about others of the same rule and slice; unknown: nobody can say, so
    no estimate counts them
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
    """key: of the answers it is a mean of; scored: whether they were asked for now"""

    value: float
    variance: float
    n: int
    scored: bool
    key: tuple[str, str, int]


class _Side(NamedTuple):
    """What is known of a group under one arm.

    total: of the measure over the whole group; asked, guessed: decisions of it whose answer was
    asked for now, and those for which `mean` stands
    """

    total: float
    asked: int = 0
    guessed: int = 0
    mean: _Mean | None = None


class _Group:
    """Decisions of a slice with the same rule before, and the same variant before and after.

    before, after: answers in the log; asked: those of the newer variant that were asked for now
    """

    __slots__ = ("after", "asked", "before", "decisions", "value")

    def __init__(self, before: int, after: int) -> None:
        self.decisions = 0
        self.value = 0.0
        self.before, self.after, self.asked = Sums(before), Sums(after), Sums(after)


_ANY: Final = "*"
"""Stands for all rules together; no rule has this name."""


_Read = Callable[[Sums, Arm], tuple[float, float]]
"""Sum and sum of squares of a measure over the answers summed up."""


class Effects:
    """What is known of one slice."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._groups: dict[tuple[str, str, str], _Group] = {}
        self._logged: dict[tuple[str, str], Sums] = {}
        self._scored: dict[tuple[str, str], Sums] = {}

    def add(self, way: Way, decisions: int, value: float, answers: dict[str, Sums]) -> None:
        """Decisions that go the same way, and the answers the log has to them, by model."""
        old, new = self._arms(way.before, way.after)
        group = self._group(way)
        group.decisions += decisions
        group.value += value
        for model, sums in answers.items():
            _into(self._logged, (way.rule, model), sums)
            _into(self._logged, (_ANY, model), sums)
            if model == old.model:
                group.before.add(sums)
            if model == new.model:
                group.after.add(sums)

    def scored(self, way: Way, model: str, sums: Sums) -> None:
        """An answer asked for now, of a decision that has none of this model in the log."""
        _into(self._scored, (way.rule, model), sums)
        _into(self._scored, (_ANY, model), sums)
        self._group(way).asked.add(sums)

    def told(self, name: str) -> SliceForecast:
        """The slice as a forecast."""
        groups = self._groups.items()
        decisions = sum(group.decisions for _, group in groups)
        moving = [group for (_, old, new), group in groups if old != new]
        counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        cost_before = cost_after = 0.0
        for (_, before, after), group in groups:
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

    def _group(self, way: Way) -> _Group:
        group = self._groups.get(way)
        if group is None:
            old, new = self._arms(way.before, way.after)
            width = self._models.width
            group = self._groups[way] = _Group(width[old.model], width[new.model])
        return group

    def _estimate(self, read: _Read, *, rates: bool) -> tuple[Estimate | None, Sources]:
        """The estimate of one measure, and where it comes from."""
        counted, total_old, total_new = 0, 0.0, 0.0
        net: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        drawn: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        means: dict[tuple[str, str, int], _Mean] = {}
        sources = dict.fromkeys(Sources.__struct_fields__, 0)
        for (rule, before, after), group in self._groups.items():
            old, new = self._arms(before, after)
            was = self._side(rule, old, (group.before, None, group.decisions), read, rates=rates)
            now = self._side(
                rule, new, (group.after, group.asked, group.decisions), read, rates=rates
            )
            if not self._models.comparable or was is None or now is None:
                sources["unknown"] += group.decisions
                continue
            counted += group.decisions
            total_old += was.total
            total_new += now.total
            if (old.model, old.reading) == (new.model, new.reading):
                sources["kept"] += group.decisions
                continue
            sources["known"] += group.decisions - now.guessed - now.asked
            sources["scored"] += now.asked
            if now.mean is not None:
                sources["scored" if now.mean.scored else "averaged"] += now.guessed
            for side, sign in ((was, -1), (now, 1)):
                if side.guessed and side.mean is not None:
                    key = side.mean.key
                    means[key] = side.mean
                    net[key] += sign * side.guessed
                    drawn[key] += side.guessed
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
        self, rule: str, arm: Arm, known: tuple[Sums, Sums | None, int], read: _Read, *, rates: bool
    ) -> _Side | None:
        """A group under one arm; None where nobody can say.

        known: answers in the log, those asked for now, and decisions of the group
        """
        logged, asked, decisions = known
        if arm.constant is not None:
            if read is _latency:
                return None
            return _Side(decisions * arm.constant[0 if read is _denied else 1])
        total = read(logged, arm)[0] if logged.n else 0.0
        # How long it took here and now says nothing of how long it takes to serve.
        if asked is None or read is _latency:
            told = 0
        else:
            told = asked.n
            total += read(asked, arm)[0]
        missing = decisions - logged.n - told
        if missing <= 0:
            return _Side(total, told)
        mean = self._mean(rule, arm, read, rates=rates)
        if mean is None:
            return None
        return _Side(total + missing * mean.value, told, missing, mean)

    def _mean(self, rule: str, arm: Arm, read: _Read, *, rates: bool) -> _Mean | None:
        """Of a model in this slice: over the same rule's decisions, else over those of any rule;
        logged ones before those asked for now."""
        for of in (rule, _ANY):
            for scored, answers in ((False, self._logged), (True, self._scored)):
                sums = answers.get((of, arm.model))
                if sums is None or sums.n < FEWEST_ANSWERS or (scored and read is _latency):
                    continue
                total, squares = read(sums, arm)
                if rates:
                    # A share of 0 or 1 in a few answers is not certain: two of each are added
                    # (Agresti & Coull 1998, American Statistician 52, 119-126).
                    smooth = (total + 2) / (sums.n + 4)
                    variance = smooth * (1 - smooth)
                else:
                    variance = max(0.0, squares - total * total / sums.n) / (sums.n - 1)
                key = (of, arm.model, arm.reading)
                return _Mean(total / sums.n, variance, sums.n, scored, key)
        return None


def add(to: list[float], values: Sequence[float]) -> None:
    """Adds place by place."""
    for place, value in enumerate(values):
        to[place] += value


def _into(answers: dict[tuple[str, str], Sums], key: tuple[str, str], sums: Sums) -> None:
    known = answers.get(key)
    if known is None:
        known = answers[key] = Sums(len(sums.denied))
    known.add(sums)


def _denied(sums: Sums, arm: Arm) -> tuple[float, float]:
    count = float(sums.denied[arm.reading]) if arm.reading < len(sums.denied) else 0.0
    return count, count


def _score(sums: Sums, _: Arm) -> tuple[float, float]:
    return sums.score, sums.score2


def _latency(sums: Sums, _: Arm) -> tuple[float, float]:
    return sums.latency, sums.latency2
