"""Pairs of answers as values for display: who flips what, how far scores move, where they agree.

For people, of all matured pairs; tests read paired.py. Shares have no interval here, since
the requests of one unit are not independent.
"""

import math
from collections.abc import Mapping

import msgspec

from pointsman.domain.evidence import Paired
from pointsman.judge.paired import Worth


class Flip(msgspec.Struct, frozen=True):
    """Pairs served as one class that the shadow calls another, by class index.

    labelled: how many have a label; served_right, shadow_right: of those
    price: mean cost of the shadow's class less that of the served one, over the labelled ones;
        None without labels or without a cost matrix
    """

    served: int
    shadow: int
    count: int
    labelled: int
    served_right: int
    shadow_right: int
    price: float | None = None


class Shift(msgspec.Struct, frozen=True):
    """How the positive class's score moves: shadow less served.

    deviation: standard deviation of the move between pairs
    """

    n: int
    mean: float
    deviation: float


class Agreement(msgspec.Struct, frozen=True):
    """Share of pairs with the same class, and with the same action; None without pairs."""

    n: int
    same_class: float | None
    same_action: float | None


class PairView(msgspec.Struct, frozen=True):
    """All of it.

    matrix: pairs by class, `matrix[served][shadow]`
    flips: off the diagonal, most frequent first
    newly_denied, newly_allowed: pairs whose action would change
    shift: None where the project has no positive class, or nothing was paired
    distance: mean of half the summed differences of probabilities, 0 to 1
    failed: requests that the shadow gave no usable answer to
    slices: agreement of each slice
    """

    matrix: tuple[tuple[int, ...], ...]
    flips: tuple[Flip, ...]
    agreement: Agreement
    newly_denied: int
    newly_allowed: int
    shift: Shift | None
    distance: float | None
    failed: int
    slices: dict[str, Agreement]


def view(by_slice: Mapping[str, Paired], cost: Worth | None = None) -> PairView:
    """What the pairs look like. `by_slice` has all pairs under the empty name.

    Errors: KeyError where it has not.
    """
    pairs = by_slice[""]
    k, n = pairs.classes, sum(pairs.flips.values())
    matrix = tuple(tuple(pairs.flips.get(i * k + j, 0) for j in range(k)) for i in range(k))
    flips = [
        _flip(pairs, i, j, cost) for i in range(k) for j in range(k) if i != j and matrix[i][j]
    ]
    return PairView(
        matrix=matrix,
        flips=tuple(sorted(flips, key=lambda flip: -flip.count)),
        agreement=agreement(pairs),
        newly_denied=pairs.actions[1],
        newly_allowed=pairs.actions[2],
        shift=_shift(pairs),
        distance=pairs.distance / n if n else None,
        failed=pairs.failed,
        slices={name: agreement(part) for name, part in sorted(by_slice.items()) if name},
    )


def agreement(pairs: Paired) -> Agreement:
    """How often both answers come to the same."""
    k, n = pairs.classes, sum(pairs.flips.values())
    if not n:
        return Agreement(0, None, None)
    same = sum(pairs.flips.get(i * k + i, 0) for i in range(k))
    return Agreement(n, same / n, (pairs.actions[0] + pairs.actions[3]) / n)


def _flip(pairs: Paired, served: int, shadow: int, cost: Worth | None) -> Flip:
    k = pairs.classes
    counts = [pairs.labelled.get((label * k + served) * k + shadow, 0) for label in range(k)]
    labelled, price = sum(counts), None
    if cost is not None and labelled:
        rows = zip(counts, cost.table, strict=True)
        price = math.fsum(c * (row[shadow] - row[served]) for c, row in rows) / labelled
    count = pairs.flips.get(served * k + shadow, 0)
    return Flip(served, shadow, count, labelled, counts[served], counts[shadow], price)


def _shift(pairs: Paired) -> Shift | None:
    n = pairs.scored
    if not n:
        return None
    mean = pairs.shift / n
    return Shift(n, mean, math.sqrt(max(pairs.shift_squares / n - mean * mean, 0.0)))
