"""What is expected of features, and what is done about a row that is otherwise: as tables hold it.

A *problem* is one thing about one feature of one row; its *answer* is what was declared for it.
"""

from enum import StrEnum
from typing import Final, Literal

import msgspec

Answer = Literal["reject", "impute", "fallback", "warn"]
REJECT: Final = "reject"
IMPUTE: Final = "impute"
FALLBACK: Final = "fallback"
WARN: Final = "warn"

ROW: Final = "*"
"""In place of a feature's name where a problem is not that of one declared feature."""


class Problem(StrEnum):
    """What may be wrong with a row: a closed set. Its value is what records and metrics say."""

    MISSING = "missing"  # absent or null
    EXTRA = "extra"  # no feature of the project
    TYPE = "type"  # a value that its type cannot hold
    RANGE = "range"
    UNSEEN = "unseen"  # not among the declared values
    ALL_NULL = "allNull"  # nothing at all of what may be null


class FeatureQuality(msgspec.Struct, frozen=True):
    """One feature: what is expected of it, and the answer to each problem it can have.

    missing: None where it may be missing and nobody asked to hear of it
    low, high: None where no range is declared; both ends belong to it
    values: empty where any is expected
    value: what stands in for it; None where nothing does
    """

    name: str
    missing: Answer | None = None
    type: Answer = "reject"
    range: Answer = "warn"
    unseen: Answer = "warn"
    low: float | None = None
    high: float | None = None
    values: tuple[str | int | float, ...] = ()
    value: str | int | float | bool | None = None


class Quality(msgspec.Struct, frozen=True):
    """What is done at the door. features: one for each of the project, in their order"""

    extra: Answer
    all_null: Answer
    features: tuple[FeatureQuality, ...]


def note(feature: str, problem: Problem, answer: str) -> str:
    """A problem as records hold it: `age:range:impute`. A feature's name may hold colons itself."""
    return f"{feature}:{problem.value}:{answer}"


def parts(noted: str) -> tuple[str, str, str]:
    """Feature, problem and answer of a note; the inverse of `note`."""
    feature, problem, answer = noted.rsplit(":", 2)
    return feature, problem, answer
