"""How many independent rows a crowd of requests is worth, when some units come back often.

A sketch of fixed size that adds up: over workers, over time, over restarts.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np

from pointsman.judge.profile import Counts

PLACES: Final = 512
"""Counters of a sketch: the estimate's relative standard deviation is about 6 %."""


def sketched(unit_hashes: Iterable[int]) -> Counts:
    """The sketch of one row each, `PLACES` counters. unit_hashes: unsigned, 64 bits

    Source: the second frequency moment by random signs (Alon, Matias & Szegedy 1999, J. Comput.
    Syst. Sci. 58, 137-147), in one row of counters (Thorup & Zhang 2004, SODA, 615-624).
    """
    hashes = np.fromiter(unit_hashes, np.uint64)
    places = (hashes % np.uint64(PLACES)).astype(np.intp)
    signs = np.where(hashes >> np.uint64(63), 1.0, -1.0)
    return np.bincount(places, signs, PLACES).astype(np.int64)


def effective(n: int, sketch: Counts) -> float:
    """What n rows are worth where all rows of a unit are alike: n^2 over the sum over units of the
    square of their rows; n where no unit came twice, and never more.

    Source: Kish (1965), Survey Sampling, section 5.6 (the design effect of clusters).
    """
    if n <= 0:
        return 0.0
    squares = float((sketch.astype(np.float64) ** 2).sum())
    return min(n * n / squares, float(n)) if squares > 0 else float(n)
