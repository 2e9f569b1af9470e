"""What judging answers with: a figure, its interval, or the reason why there is none."""

import msgspec


class NoData(msgspec.Struct, frozen=True, tag="no_data"):
    """What could not be computed, and why. Never 0, never [0, 0].

    reason: a sentence for people
    n: how much evidence there was
    """

    reason: str
    n: int = 0


class Interval(msgspec.Struct, frozen=True, tag="interval"):
    """Bounds that hold at every look at once, but for the chance `alpha`.

    method: how they came about and what they assume, for people
    """

    low: float
    high: float
    alpha: float
    method: str


class Figure(msgspec.Struct, frozen=True, tag="figure"):
    """An estimate from n observations.

    interval: NoData where the estimate can be given and its uncertainty cannot
    """

    value: float
    n: int
    interval: Interval | NoData


Answer = Figure | NoData
