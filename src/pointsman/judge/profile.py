"""What inputs looked like when nobody had reason to worry: bins that stay, and how full they were.

Bins are cut once, from the reference, and never again: a distance between counts in bins that move
with the data says nothing over time.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

BINS: Final = 10
"""Of a number, at most, each with about as many of the reference's values."""

CATEGORIES: Final = 30
"""Of a category, at most: the most frequent ones; all others are one."""

_FEW_VALUES: Final = 12
"""A number that only ever has so few values has a bin for each."""


class Column(msgspec.Struct, frozen=True):
    """One feature, its bins, and the reference's counts in them.

    edges: of a number, ascending; a value falls into bin i where edges[i-1] < value <= edges[i],
        the first and the last bin being open
    values: of a category, each a bin; the bin after them has all others
    counts: of the reference, by bin; the last one is of rows in which it was missing
    middles: of a number, mean of the reference's values in each bin; deviation: over all of them
    """

    name: str
    kind: Literal["number", "category"]
    counts: tuple[int, ...]
    edges: tuple[float, ...] = ()
    values: tuple[str, ...] = ()
    middles: tuple[float, ...] = ()
    deviation: float = 0.0

    @property
    def labels(self) -> tuple[str, ...]:
        """What each bin holds, for people."""
        if self.kind == "category":
            return (*self.values, "other", "missing")
        ends = [_short(edge) for edge in self.edges]
        if not ends:
            return ("any", "missing")
        between = [f"{low} to {high}" for low, high in pairwise(ends)]
        return (f"up to {ends[0]}", *between, f"over {ends[-1]}", "missing")


class Profile(msgspec.Struct, frozen=True):
    """A reference.

    features: columns of the model's input
    answers: columns of what a version answered, empty where none was asked
    n: rows it was made of; effective: what they are worth, see `units.effective`
    source: where they are from, for people
    variant, version: who answered; empty where nobody did
    """

    features: tuple[Column, ...]
    n: int
    effective: float
    source: str
    answers: tuple[Column, ...] = ()
    variant: str = ""
    version: str = ""


def profiled(
    rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, Literal["number", "category"]]
) -> tuple[Column, ...]:
    """The columns of a reference. rows: by name of feature; a value may be missing or None."""
    return tuple(
        _column(name, kind, [row.get(name) for row in rows]) for name, kind in kinds.items()
    )


def counted(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> Counts:
    """How full each bin is, of all columns one after the other.

    What is no number where one is due counts as missing.
    """
    parts = []
    for column in columns:
        values = [row.get(column.name) for row in rows]
        places = _numbered(column, values) if column.kind == "number" else _named(column, values)
        parts.append(np.bincount(places, minlength=len(column.counts)))
    return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)


def parted(columns: Sequence[Column], counts: Counts) -> dict[str, Counts]:
    """Counts as `counted` gives them, by column."""
    ends = np.cumsum([len(column.counts) for column in columns])
    parts = np.split(counts, ends[:-1]) if columns else []
    return {column.name: part for column, part in zip(columns, parts, strict=True)}


def _column(name: str, kind: Literal["number", "category"], values: Sequence[Any]) -> Column:
    if kind == "category":
        told = [_text(value) for value in values]
        names, often = np.unique([text for text in told if text is not None], return_counts=True)
        most = sorted(zip(often.tolist(), names.tolist(), strict=True), key=lambda p: (-p[0], p[1]))
        column = Column(name, kind, (), values=tuple(text for _, text in most[:CATEGORIES]))
        places = _named(column, values)
        counts = np.bincount(places, minlength=len(column.values) + 2)
        return msgspec.structs.replace(column, counts=tuple(counts.tolist()))
    numbers = _floats(values)
    known = numbers[np.isfinite(numbers)]
    edges = _edges(known)
    column = Column(name, kind, (), edges=edges)
    places = np.searchsorted(np.asarray(edges), known, side="left")
    counts = np.bincount(places, minlength=len(edges) + 1)
    sums = np.bincount(places, known, minlength=len(edges) + 1)
    middles = sums / np.maximum(counts, 1)
    return msgspec.structs.replace(
        column,
        counts=(*counts.tolist(), len(numbers) - len(known)),
        middles=tuple(middles.tolist()),
        deviation=float(known.std()) if len(known) else 0.0,
    )


def _edges(known: Floats) -> tuple[float, ...]:
    """Upper ends of all bins but the last: distinct quantiles, or one between any two values."""
    if not len(known):
        return ()
    distinct = np.unique(known)
    if len(distinct) <= _FEW_VALUES:
        return tuple(distinct[:-1].tolist())
    cuts = np.quantile(known, np.arange(1, BINS) / BINS, method="inverted_cdf")
    return tuple(cut for cut in np.unique(cuts).tolist() if cut < distinct[-1])


def _numbered(column: Column, values: Sequence[Any]) -> npt.NDArray[np.intp]:
    numbers = _floats(values)
    places = np.searchsorted(np.asarray(column.edges, np.float64), numbers, side="left")
    return np.where(np.isfinite(numbers), places, len(column.edges) + 1)


def _named(column: Column, values: Sequence[Any]) -> npt.NDArray[np.intp]:
    places = {text: at for at, text in enumerate(column.values)}
    other, missing = len(places), len(places) + 1
    told = (_text(value) for value in values)
    return np.array([missing if t is None else places.get(t, other) for t in told], np.intp)


def _floats(values: Sequence[Any]) -> Floats:
    try:
        return np.array(values, np.float64)
    except (TypeError, ValueError):
        numeric = [v if isinstance(v, int | float) else None for v in values]
        return np.array(numeric, np.float64)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _short(value: float) -> str:
    return f"{value:.6g}"
