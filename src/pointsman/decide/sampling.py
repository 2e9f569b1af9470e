"""Which decisions to ask a version about that nobody has met: of those it would in fact get.

A version can be known where one rule sent decisions to it and unknown where another did not, so
what counts is whether it has answered decisions of the same rule. Of the decisions it would get and
has not answered, those whose id hashes lowest are the sample: a uniform draw that needs no chance,
is the same each time, and of which any first part is a uniform draw again. Bounded memory.
"""

import heapq
from collections import defaultdict
from typing import Final, NamedTuple

from pointsman.decide.estimate import FEWEST_ANSWERS, Way
from pointsman.decide.hashing import hash64

_SALT: Final = "plan#sample"


class Drawn(NamedTuple):
    """A decision of the sample. hash: by which it was drawn; slices: their names"""

    hash: int
    id: str
    at_ms: int
    way: Way
    slices: tuple[str, ...]


class Wanted(NamedTuple):
    """What a variant is to be asked. decisions: it would get and has not answered, of which `drawn`
    is the sample, in the order of their hashes"""

    decisions: int
    drawn: tuple[Drawn, ...]


class Sample:
    """Feed it what is met; in the end, ask what is wanted. most: decisions it holds, over all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[int, Drawn]] = []
        self._met: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._answered: dict[tuple[str, str], int] = {}
        self._limit = 1 << 64

    def answered(self, rule: str, model: str) -> None:
        """A model answered, or shadowed, a decision of a rule."""
        self._answered[rule, model] = self._answered.get((rule, model), 0) + 1

    def needs(self, rule: str, model: str) -> bool:
        """Whether the log has not enough answers of the model so far."""
        return self._answered.get((rule, model), 0) < FEWEST_ANSWERS

    def offer(self, identifier: str, at_ms: int, way: Way, slices: tuple[str, ...]) -> None:
        """A decision that would go to a model which has not answered it."""
        self._met[way.rule, way.after] += 1
        hashed = hash64(_SALT, identifier)
        if hashed >= self._limit:
            return
        drawn = Drawn(hashed, identifier, at_ms, way, slices)
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, (-hashed, drawn))
        else:
            self._limit = -heapq.heappushpop(self._heap, (-hashed, drawn))[0]

    def wanted(self, models: dict[str, str]) -> dict[str, Wanted]:
        """By variant, in order of name. models: of the variants that can be asked"""
        found: defaultdict[str, list[Drawn]] = defaultdict(list)
        for _, drawn in self._heap:
            model = models.get(drawn.way.after)
            if model is not None and self.needs(drawn.way.rule, model):
                found[drawn.way.after].append(drawn)
        counts: defaultdict[str, int] = defaultdict(int)
        for (rule, variant), count in self._met.items():
            model = models.get(variant)
            if model is not None and self.needs(rule, model):
                counts[variant] += count
        return {
            variant: Wanted(count, tuple(sorted(found[variant])))
            for variant, count in sorted(counts.items())
        }
