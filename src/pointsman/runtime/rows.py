"""Rows of feature values to tensors: the first microseconds of every model call.

Only numpy. Everything that can be looked up is looked up when the model is loaded, so that a row
costs one pick of its numbers and one dictionary look-up a category.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pointsman.domain.artifact import ArtifactInput, Cell
from pointsman.domain.decision import Value
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import Feature, FeatureType

Row = Sequence[Value]
Pick = Callable[[Row], tuple[Value, ...]]

_DTYPES: Final[dict[str, Any]] = {
    "float32": np.float32,
    "float64": np.float64,
    "int64": np.int64,
    "int32": np.int32,
    "bool": np.bool_,
    "string": np.object_,
}


def picker(wanted: Sequence[str], features: Sequence[Feature]) -> Pick:
    """A function from a row in the order of `features` to the wanted columns in their order.

    Raises PointsmanError(INVALID) naming every wanted column that `features` lacks.
    """
    index = {feature.name: i for i, feature in enumerate(features)}
    missing = [name for name in wanted if name not in index]
    if missing:
        raise PointsmanError(
            Kind.INVALID,
            f"the model reads features the project does not have: {', '.join(missing)}",
            hint="declare them under `features`, or use a model trained on the project's features",
        )
    positions = [index[name] for name in wanted]
    if positions == list(range(len(features))):
        return tuple
    if len(positions) == 1:
        only = positions[0]
        return lambda row: (row[only],)
    return itemgetter(*positions) if positions else lambda _row: ()


class RowEncoder:
    """Fills one input tensor of a model from rows in the order of the project's features."""

    def __init__(self, source: ArtifactInput, features: Sequence[Feature]) -> None:
        self.name = source.name
        self._dtype = _DTYPES[source.dtype]
        self._text = source.dtype == "string"
        self._width = source.width or len(source.columns)
        self._pick = picker(source.columns, features)
        self._place = _place(source, self._width)
        self._fills = source.fills if any(f is not None for f in source.fills) else ()
        self._columns = source.columns
        index = {feature.name: i for i, feature in enumerate(features)}
        picker([e.column for e in source.encodings], features)  # names what is missing
        self._lookups = tuple(
            (index[e.column], {c.value: _cell(c) for c in e.known}.get, _other(e.other), e.column)
            for e in source.encodings
        )
        # Most encoders set one cell to 1: those are looked up by column number alone.
        self._ones = tuple(
            (index[e.column], {c.value: c.position for c in e.known if c.weight == 1.0}.get)
            for e in source.encodings
        )
        types = {feature.name: feature.type for feature in features}
        self._single = [  # a `float` feature is a 32-bit number, as the model saw in training
            p
            for p, name in zip(_positions(source), source.columns, strict=True)
            if types[name] is FeatureType.FLOAT and source.dtype == "float64"
        ]

    def encode(self, rows: Sequence[Row]) -> NDArray[Any]:
        """The tensor, [n, width]. Raises PointsmanError(INVALID) for a value it cannot take."""
        try:
            if not self._lookups and self._place is None:
                tensor = np.array(self._picked(rows), dtype=self._dtype)
                tensor = tensor.reshape(len(rows), self._width)
            else:
                tensor = np.zeros((len(rows), self._width), dtype=self._dtype)
                if self._columns:
                    place = slice(None) if self._place is None else self._place
                    tensor[:, place] = self._picked(rows)
        except (ValueError, TypeError, OverflowError) as error:
            raise self._unfit(rows, error) from None
        if self._lookups:
            self._look_up(rows, tensor)
        if self._single:
            tensor[:, self._single] = tensor[:, self._single].astype(np.float32)
        return tensor

    def _picked(self, rows: Sequence[Row]) -> list[tuple[Value, ...]]:
        pick = self._pick
        picked = [pick(row) for row in rows]
        if self._text:
            return [tuple("" if v is None else v for v in values) for values in picked]
        if self._fills:
            fills = self._fills
            return [
                tuple(f if v is None else v for v, f in zip(values, fills, strict=True))
                if None in values
                else values
                for values in picked
            ]
        return picked

    def _look_up(self, rows: Sequence[Row], tensor: NDArray[Any]) -> None:
        ones = self._ones
        starts = range(0, tensor.size, self._width)
        try:
            cells = [
                start + get(row[index])  # type: ignore[operator] # None is caught below
                for start, row in zip(starts, rows, strict=True)
                for index, get in ones
            ]
        except TypeError:  # a category that sets something else than a 1, or is not known
            self._look_up_each(rows, tensor)
        else:
            tensor.reshape(-1)[cells] = 1.0

    def _look_up_each(self, rows: Sequence[Row], tensor: NDArray[Any]) -> None:
        for row, cells in zip(rows, tensor, strict=True):
            for index, get, other, column in self._lookups:
                cell = get(row[index], other)
                if cell is None:
                    raise _unknown(column, row[index])
                cells[cell[0]] = cell[1]

    def _unfit(self, rows: Sequence[Row], error: Exception) -> PointsmanError:
        for row in rows:
            for name, value in zip(self._columns, self._pick(row), strict=True):
                try:
                    fits = np.array([value], dtype=self._dtype).ndim == 1
                except (ValueError, TypeError, OverflowError):
                    fits = False
                if not fits:
                    kind = "missing" if value is None else f"{value!r:.80}"
                    return PointsmanError(
                        Kind.INVALID,
                        f"feature {name}: the model cannot take {kind}",
                        hint="send a value of the feature's declared type",
                    )
        return PointsmanError(Kind.INVALID, f"the rows do not fit the model: {error}")


def _positions(source: ArtifactInput) -> Sequence[int]:
    return source.positions or range(len(source.columns))


def _place(source: ArtifactInput, width: int) -> slice | list[int] | None:
    """Where numbers go: None where they are the whole tensor, a slice where they are a block."""
    positions = list(_positions(source))
    if positions == list(range(width)):
        return None
    if positions and positions == list(range(positions[0], positions[0] + len(positions))):
        return slice(positions[0], positions[0] + len(positions))
    return positions


def _cell(cell: Cell) -> tuple[int, float]:
    return cell.position, float("nan") if cell.weight is None else cell.weight


def _other(cell: Cell | None) -> tuple[int, float] | None:
    return None if cell is None else _cell(cell)


def _unknown(column: str, value: Value) -> PointsmanError:
    said = "a missing value" if value is None else f"{value!r:.80}"
    return PointsmanError(
        Kind.INVALID,
        f"feature {column}: the model was trained to refuse {said}",
        hint="send a category it knows, or train its encoder with handle_unknown='ignore'",
    )
