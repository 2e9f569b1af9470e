"""Whether what a model returned are probabilities."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pointsman.domain.errors import UNREADABLE, Kind, PointsmanError

SUM_TOLERANCE: Final = 1e-3
"""How far a row of probabilities may be from adding up to one (float32 sums over many trees)."""
ROUNDING: Final = 1e-5
"""How far below zero a probability may be: float32 trees compute one as 1 - p."""
PROBE_TOLERANCE: Final = 1e-5
"""How far golden rows may be off on this machine's processor."""


def checked(scores: NDArray[Any], rows: int, classes: int, source: str) -> NDArray[np.float64]:
    """The probabilities [rows, classes], rounding errors below zero cut off.

    Raises PointsmanError(BACKEND_FAILED) where they are anything else.
    """
    if rows == 0 or scores.shape != (rows, classes):
        raise PointsmanError(
            Kind.BACKEND_FAILED,
            f"{source} returned shape {list(scores.shape)}, expected [{rows}, {classes}]",
        )
    # Reductions called without their wrappers: those cost more than the work on small batches.
    excess = np.add.reduce(scores, axis=1) - 1.0
    lowest = np.minimum.reduce(scores, axis=None)
    worst = max(np.maximum.reduce(excess), -np.minimum.reduce(excess))
    # A NaN or an infinity fails the comparisons, so this checks for them as well.
    if not (worst <= SUM_TOLERANCE and lowest >= -ROUNDING):
        bad = ~((np.abs(excess) <= SUM_TOLERANCE) & (scores.min(axis=1) >= -ROUNDING))
        values = scores[int(bad.argmax())].tolist()[:8]
        raise PointsmanError(Kind.BACKEND_FAILED, f"{source} returned {values}, {UNREADABLE}")
    probabilities: NDArray[np.float64] = scores
    return probabilities if lowest >= 0.0 else np.clip(probabilities, 0.0, 1.0)
