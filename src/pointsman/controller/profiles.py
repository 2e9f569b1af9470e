"""What is wrong with a profile that somebody declares as a reference."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from pointsman.domain.errors import Violation
from pointsman.judge.profile import Column, Profile

_MOST_BINS: Final = 200
_MOST_COLUMNS: Final = 5_000
_MOST_BYTES: Final = 4 << 20


def problems(made: Profile, features: Sequence[str], size: int) -> list[Violation]:
    """All of it. features: of the project; size: of the profile, in bytes"""
    wrong = []
    if size > _MOST_BYTES or len(made.features) > _MOST_COLUMNS:
        wrong.append(Violation("", f"a profile has at most {_MOST_COLUMNS:,} columns and 4 MiB"))
    if made.n <= 0 or not 0 < made.effective <= made.n or not made.source.strip():
        wrong.append(Violation("", "a profile has rows (`n`, `effective` of them) and a `source`"))
    if not made.features:
        wrong.append(Violation("features", "a profile has at least one feature"))
    seen: set[str] = set()
    for at, column in enumerate(made.features):
        path = f"features[{at}]"
        if column.name in seen:
            wrong.append(Violation(path, f"there are two columns {column.name!r}"))
        seen.add(column.name)
        if column.name not in features:
            known = ", ".join(features[:10]) or "none"
            wrong.append(
                Violation(path, f"the project has no feature {column.name!r}", f"it has {known}")
            )
        if text := _misshapen(column):
            wrong.append(Violation(path, f"column {column.name!r}: {text}"))
    return wrong


def _misshapen(column: Column) -> str:
    """Why a column is none; empty where it is one."""
    bins = len(column.values) + 2 if column.kind == "category" else len(column.edges) + 2
    if len(column.counts) != bins or bins > _MOST_BINS:
        return f"{len(column.counts)} counts, {bins} bins; at most {_MOST_BINS}"
    if min(column.counts) < 0 or sum(column.counts) <= 0:
        return "its counts are 0 or more, and some are more"
    if not all(math.isfinite(edge) for edge in column.edges):
        return "its edges are numbers"
    if any(low >= high for low, high in pairwise(column.edges)):
        return "its edges ascend"
    if len(set(column.values)) != len(column.values):
        return "a value is there twice"
    if column.kind == "number" and len(column.middles) != bins - 1:
        return f"{len(column.middles)} middles, {bins - 1} bins of values"
    return ""
