"""Which model answered what, whatever name it had then, and what a table's variant makes of it.

A model that is promoted keeps its past: answers are kept by pinned source, and each is read once
by every threshold and set of denied classes that a variant of either table has for that source.
"""

from collections import defaultdict
from typing import Final

import msgspec

from pointsman.domain.action import DENY, Chooser
from pointsman.domain.decision import Value
from pointsman.domain.table import ProjectTable, Runtime, Variant


class Answered(msgspec.Struct, frozen=True, gc=False):
    """What one variant answered to one decision. probabilities: in the project's class order"""

    variant: str
    version: str
    probabilities: tuple[float, ...]
    latency_us: int


class Logged(msgspec.Struct, frozen=True, gc=False):
    """A past decision, as far as routing it again and judging its answer needs.

    unit_hash: unsigned 64 bit; answers: of the variant that served, if any, then of its shadows
    """

    id: str
    at_ms: int
    unit: str | None
    unit_hash: int
    context: dict[str, Value]
    pin: str
    answers: tuple[Answered, ...]


class Arm(msgspec.Struct, frozen=True):
    """A variant of one table: its model, and which of the readings of its answers is its own.

    constant: whether it denies and its score, where it answers without a model
    cost: of one answer, as declared
    """

    model: str
    reading: int
    constant: tuple[float, float] | None
    cost: float


class Sums:
    """Sums over answers of one model. denied: by reading; scores and latency with their squares."""

    __slots__ = ("denied", "latency", "latency2", "n", "score", "score2")

    def __init__(self, readings: int) -> None:
        self.n = 0
        self.denied = [0] * readings
        self.score = self.score2 = 0.0
        self.latency = self.latency2 = 0.0

    def add(self, other: "Sums") -> None:
        self.n += other.n
        for place, count in enumerate(other.denied):
            self.denied[place] += count
        self.score += other.score
        self.score2 += other.score2
        self.latency += other.latency
        self.latency2 += other.latency2


class Models:
    """The models of two tables. before, after: arms by variant name

    width: readings a model has; none for one that is in neither table
    comparable: whether answers can be read by both tables at all: their classes are the same
    """

    def __init__(self, before: ProjectTable, after: ProjectTable) -> None:
        self.comparable = before.classes == after.classes
        self.width: defaultdict[str, int] = defaultdict(int)
        self._names: dict[tuple[str, str], str] = {}
        self._readings: defaultdict[str, list[tuple[float | None, tuple[str, ...]]]]
        self._readings = defaultdict(list)
        self._choosers: defaultdict[str, list[tuple[Chooser, int]]] = defaultdict(list)
        self._classes = len(before.classes)
        self._positive = before.classes.index(before.positive) if before.positive else -1
        self.before = {one.name: self._arm(before, one) for one in before.variants}
        self.after = {one.name: self._arm(after, one) for one in after.variants}

    def of(self, variant: str, version: str) -> str:
        """The model that is, or was, this version of this variant."""
        found = self._names.get((variant, version))
        if found is None:
            found = self._names[variant, version] = f"{variant}:{version}"
        return found

    def asked(self, before: str, after: str) -> str:
        """The model that would have to be asked about a decision that goes from one variant to the
        other; empty where both serve the same model, and for a constant."""
        old, new = self.before.get(before, NO_ARM), self.after.get(after, NO_ARM)
        return "" if new.constant is not None or new.model == old.model else new.model

    def reads(self, answer: Answered) -> bool:
        """Whether an answer has the tables' classes."""
        return len(answer.probabilities) == self._classes

    def observe(self, sums: Sums, model: str, answer: Answered) -> None:
        """Adds an answer; one that has other classes than the tables is left out."""
        probabilities = answer.probabilities
        if len(probabilities) != self._classes:
            return
        sums.n += 1
        for chooser, place in self._choosers[model]:
            if chooser.actions[chooser.choose(probabilities)] == DENY:
                sums.denied[place] += 1
        if self._positive >= 0:
            score = probabilities[self._positive]
            sums.score += score
            sums.score2 += score * score
        latency = answer.latency_us
        sums.latency += latency
        sums.latency2 += latency * latency

    @property
    def scores(self) -> bool:
        """Whether there is a positive class to speak of scores of."""
        return self._positive >= 0

    def _arm(self, table: ProjectTable, variant: Variant) -> Arm:
        if variant.runtime is Runtime.CONSTANT:
            constant = _constant(table, variant)
            model = f"constant {variant.constant}"
        else:
            constant = None
            model = variant.source or variant.label
            # Under one name and version, what serves today is what the log means.
            self._names.setdefault((variant.name, variant.version), model)
        readings = self._readings[model]
        reading = (variant.threshold, tuple(sorted(variant.deny)))
        if reading not in readings:
            readings.append(reading)
            chooser = Chooser(variant, table.classes, table.positive)
            self._choosers[model].append((chooser, len(readings) - 1))
            self.width[model] = len(readings)
        return Arm(model, readings.index(reading), constant, variant.cost_per_request)


def _constant(table: ProjectTable, variant: Variant) -> tuple[float, float]:
    return float(variant.constant in variant.deny), float(variant.constant == table.positive)


NO_ARM: Final = Arm("", 0, None, 0.0)
"""Where nobody answers."""
