"""Whether inputs still look like the reference: a distance, and how sure it is that there is one.

A feature has drifted where the distance is large enough to matter, larger than chance makes it at
this sample size, and a discovery among all features and all times that were looked at. That is a
diagnosis: it says where to look, not that anybody was harmed.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np
from scipy import special

from pointsman.judge.profile import Column, Counts, Floats

MATTERS: Final = 0.1
"""Population stability index from which a shift is usually looked into."""

_SURE: Final = 0.999
"""Of the index that chance makes at this sample size, this much lies below the limit."""

_SMOOTHING: Final = 0.5
"""Added to each bin, so that an empty one makes no distance infinite (Jeffreys)."""

_FEWEST: Final = 5.0
"""Rows that chance has to leave in a bin for it to stand alone."""


class Distance(msgspec.Struct, frozen=True):
    """How far counts are from the reference's.

    psi: population stability index, 0 or more; limit: above which it is no chance and matters
    p_value: chance of an index as large without drift
    kolmogorov: largest gap between the distribution functions, 0 to 1; of a number alone
    wasserstein: mean distance that values moved, in standard deviations of the reference; of a
        number alone
    jensen_shannon: distance, 0 to 1 (root of the divergence in bits)
    n: rows; effective: what they are worth
    """

    psi: float
    limit: float
    p_value: float
    jensen_shannon: float
    n: int
    effective: float
    kolmogorov: float | None = None
    wasserstein: float | None = None


def distance(
    column: Column, counts: Counts, *, effective: tuple[float, float], matters: float = MATTERS
) -> Distance | None:
    """The distance of counts from a column's reference; None where either has no rows.

    effective: what the reference's rows and these are worth, see `units.effective`
    matters: index from which a shift is one
    Source: under no drift the index is about chi-square with (bins - 1) degrees of freedom times
    (1/n + 1/m): Yurdakul & Naranjo (2020), J. Risk Model Validation 14, 89-100.
    """
    reference = np.asarray(column.counts, np.float64)
    n, m = float(counts.sum()), float(reference.sum())
    if n <= 0 or m <= 0:
        return None
    ours, theirs = _filled(counts.astype(np.float64), reference)
    p, q = _shares(ours), _shares(theirs)
    index = float(((p - q) * np.log(p / q)).sum())
    spread = 1.0 / min(effective[1], n) + 1.0 / min(effective[0], m)
    degrees = max(len(ours) - 1, 1)
    statistic = _pearson(ours, theirs) / spread
    return Distance(
        psi=index,
        limit=max(matters, float(special.chdtri(degrees, 1.0 - _SURE)) * spread),
        p_value=float(special.chdtrc(degrees, statistic)),
        jensen_shannon=_jensen_shannon(p, q),
        n=int(n),
        effective=min(effective[1], n),
        **_of_numbers(column, counts, reference),
    )


def _filled(counts: Floats, reference: Floats) -> tuple[Floats, Floats]:
    """Both, with all bins in which chance leaves fewer than five rows made one: with nearly empty
    bins the index is far from chi-square (Cochran 1954, Biometrics 10, 417-451)."""
    pooled = (counts + reference) / (counts.sum() + reference.sum())
    chance = pooled * min(counts.sum(), reference.sum())
    few = chance < _FEWEST
    if few.any() and not few.all() and chance[few].sum() < _FEWEST:
        few[np.where(few, np.inf, chance).argmin()] = True  # nor may they be few together
    ours = np.append(counts[~few], counts[few].sum())
    theirs = np.append(reference[~few], reference[few].sum())
    used = (ours > 0) | (theirs > 0)
    return ours[used], theirs[used]


def _shares(counts: Floats) -> Floats:
    smoothed = counts + _SMOOTHING
    shares: Floats = smoothed / smoothed.sum()
    return shares


def _pearson(counts: Floats, reference: Floats) -> float:
    """Squared differences of shares over the pooled shares: chi-square once over (1/n + 1/m)."""
    p, q = counts / counts.sum(), reference / reference.sum()
    n, m = counts.sum(), reference.sum()
    pooled = (counts + reference) / (n + m)
    return float(((p - q) ** 2 / pooled).sum())


def _jensen_shannon(p: Floats, q: Floats) -> float:
    middle = (p + q) / 2
    divergence = (special.rel_entr(p, middle).sum() + special.rel_entr(q, middle).sum()) / 2
    return math.sqrt(max(float(divergence), 0.0) / math.log(2.0))


def _of_numbers(column: Column, counts: Counts, reference: Floats) -> dict[str, float | None]:
    """Distances of what has an order, over the rows that have a value."""
    known, was = counts[:-1].astype(np.float64), reference[:-1]
    if column.kind != "number" or known.sum() <= 0 or was.sum() <= 0:
        return {}
    gaps = np.cumsum(known / known.sum() - was / was.sum())[:-1]
    steps = np.diff(np.asarray(column.middles))
    moved = float((np.abs(gaps) * np.abs(steps)).sum())
    return {
        "kolmogorov": float(np.abs(gaps).max(initial=0.0)),
        "wasserstein": moved / column.deviation if column.deviation > 0 else None,
    }


def discoveries(p_values: Sequence[float], rate: float = 0.05) -> list[bool]:
    """Which of a stream of hypotheses are rejected, each before the next is seen, with a false
    discovery rate of at most `rate` at any time, the hypotheses being independent where true.

    Source: LORD++ (Ramdas, Yang, Wainwright & Jordan 2017, NeurIPS 30, algorithm 1), with the
    sequence of Javanmard & Montanari (2018), Ann. Statist. 46, 526-554, section 5.
    Errors: ValueError for a rate outside (0, 1).
    """
    if not 0.0 < rate < 1.0:
        raise ValueError(f"rate must be in (0, 1), got {rate!r}")
    size = len(p_values)
    weights = _spending(size)
    start = rate / 10.0
    # What each step may spend: of the start, and of what every discovery before it earned.
    levels = start * weights
    found: list[bool] = []
    for at, p_value in enumerate(p_values):
        rejected = p_value <= levels[at]
        found.append(bool(rejected))
        if rejected:
            earned = rate if any(found[:-1]) else rate - start
            levels[at + 1 :] += earned * weights[: size - at - 1]
    return found


def _spending(size: int) -> Floats:
    """Weights that add up to at most 1 over any number of steps."""
    steps = np.arange(1, size + 1, dtype=np.float64)
    weights: Floats = (
        0.07720838 * np.log(np.maximum(steps, 2.0)) / (steps * np.exp(np.sqrt(np.log(steps))))
    )
    return weights


class Look(msgspec.Struct, frozen=True):
    """One feature in one stretch of time."""

    at_ms: int
    name: str
    distance: Distance
    drifted: bool


def judged(found: Iterable[tuple[int, str, Distance]], rate: float = 0.05) -> list[Look]:
    """Each stretch and feature with whether it drifted, in order of time and name.

    rate: of false alarms among all alarms, over all features and all times
    """
    ordered = sorted(found, key=lambda one: one[:2])
    sure = discoveries([distance.p_value for _, _, distance in ordered], rate)
    return [
        Look(at_ms, name, distance, drifted=is_sure and distance.psi > distance.limit)
        for (at_ms, name, distance), is_sure in zip(ordered, sure, strict=True)
    ]
