"""Outcomes less what a covariate known before the decision explains (CUPED).

The adjusted value is Y - theta (X - x0). Theta and x0 come from earlier blocks, so they are fixed
before the block they are used on; and X does not depend on the assignment, so both arms' means
move by the same amount and their difference stays what it was, with a variance smaller by
1 - corr(X, Y)^2. The best X is the champion's own score, shadowed on the challenger's units.

Only differences may be adjusted, never a single arm's level or a ratio of means.

Source: Deng, Xu, Kohavi, Walker (2013), WSDM, section 3; as augmentation, Waudby-Smith et
al. (2024), section 3.
"""

import msgspec
import numpy as np

from pointsman.domain.evidence import CrossMoments, Moments
from pointsman.judge.mixture import Floats


class CovariateState(msgspec.Struct, frozen=True):
    """What earlier blocks say of the covariate.

    n, total: decisions and sum of X
    within_xx, within_xy: sums of squares and products about the mean of their own block and arm,
        so that drift between blocks and the effect itself do not pass for correlation
    """

    n: int = 0
    total: float = 0.0
    within_xx: float = 0.0
    within_xy: float = 0.0

    @property
    def theta(self) -> float:
        """Slope of Y on X within blocks and arms; 0 while X has shown no variation."""
        return self.within_xy / self.within_xx if self.within_xx > 0.0 else 0.0

    @property
    def centre(self) -> float:
        """x0, the mean of X so far."""
        return self.total / self.n if self.n else 0.0


def fold(state: CovariateState, challenger: CrossMoments, champion: CrossMoments) -> CovariateState:
    """The state after a matured block. Adjust the block with the state from *before* it."""
    n, total = state.n, state.total
    xx, xy = state.within_xx, state.within_xy
    for cell in (challenger, champion):
        count, y, _, x, squares, cross = (column.sum() for column in _columns(cell))
        if count:
            n, total = n + int(count), total + float(x)
            xx += max(float(squares - x * x / count), 0.0)
            xy += float(cross - x * y / count)
    return CovariateState(n, total, xx, xy)


def adjusted(state: CovariateState, cell: CrossMoments) -> Moments:
    """Moments of Y - theta (X - x0), exactly, from the cross-products of Y and X.

    state: from before the cell's block
    """
    theta, x0 = state.theta, state.centre
    n, y, yy, x, xx, xy = _columns(cell)
    # (X - x0) in three sums: its total, its square's and its product's with Y.
    d, dd, dy = x - x0 * n, xx - 2 * x0 * x + x0 * x0 * n, xy - x0 * y
    squares = np.maximum(yy - 2 * theta * dy + theta * theta * dd, 0.0)
    return Moments(list(cell.n), (y - theta * d).tolist(), squares.tolist())


def _columns(cell: CrossMoments) -> tuple[Floats, ...]:
    rows = (
        cell.n, cell.total, cell.squares, cell.covariate, cell.covariate_squares, cell.cross
    )  # fmt: skip
    return tuple(np.array(row, float) for row in rows)
