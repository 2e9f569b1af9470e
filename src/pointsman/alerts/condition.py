"""One thing that is wrong now, with the numbers that say so."""

from enum import StrEnum
from typing import Final, assert_never

import msgspec

from pointsman.domain.alert import Kind


class Measure(StrEnum):
    """How a condition's value and bound are written."""

    SHARE = "share"  # 0.031 is 3.1 %
    POINTS = "points"  # differences of shares: 0.031 is +3.1 points
    RELATIVE = "relative"  # relative differences: 0.1 is +10 %
    PLAIN = "plain"
    SECONDS = "seconds"


class Condition(msgspec.Struct, frozen=True):
    """What is wrong. Two are the same alert if kind and subject are.

    subject: what of the project (a variant, a registry), or empty for all of it
    sentence: what is wrong, for people
    metric, value, bound, measure: the number that decided; None where no number did
    window_ms: how far back was looked; n: decisions or units behind the value
    deed: what Pointsman did about it, in a sentence
    """

    kind: Kind
    sentence: str
    subject: str = ""
    metric: str = ""
    value: float | None = None
    bound: float | None = None
    measure: Measure = Measure.PLAIN
    window_ms: int | None = None
    n: int | None = None
    deed: str = ""


NOTHING_DONE: Final = "nothing: traffic goes on as it was"
"""The deed where Pointsman only tells."""


def number(value: float | None, measure: Measure) -> str:
    """`3.1 %`, `+3.1 points`: the value as people read it; empty where there is none."""
    if value is None:
        return ""
    match measure:
        case Measure.SHARE:
            return f"{value * 100:.3g} %"
        case Measure.POINTS:
            return f"{value * 100:+.3g} points"
        case Measure.RELATIVE:
            return f"{value * 100:+.3g} %"
        case Measure.PLAIN:
            return f"{value:.4g}"
        case Measure.SECONDS:
            return f"{value:,.0f} s"
        case _:
            assert_never(measure)
