"""Tensors to rows where not every problem of theirs refuses the request: the slow way, by value."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from pointsman.domain.decision import Value
from pointsman.domain.errors import PointsmanError
from pointsman.domain.quality import ROW, Problem
from pointsman.domain.table import Feature
from pointsman.gateway import oip, tensors
from pointsman.gateway.oip import Tensor
from pointsman.gateway.quality import WRONG, Door, Found, Seen
from pointsman.gateway.schema import OFFERED, Schema
from pointsman.gateway.violations import MOST, Gathered, meant, refused
from pointsman.gateway.work import Values


class Mender:
    """Reads one request again.

    seen: rows that are not as the project expects them, by their place
    """

    def __init__(self, door: Door) -> None:
        self._door = door
        self._said: dict[str, PointsmanError] = {}
        self._absent: frozenset[str] = frozenset()
        self.seen: dict[int, Seen] = {}

    def rows(
        self, schema: Schema, inputs: Sequence[Tensor], raw: memoryview, wrong: Gathered
    ) -> tuple[list[Values], list[str | None] | None]:
        """As `oip` has them, with what is answered settled; what is refused goes to `wrong`."""
        unit = schema.unit if schema.unit not in schema.names else ""
        exact = frozenset({unit})

        def read(tensor: Tensor, part: memoryview | None, *, nulls: bool) -> list[Any]:
            if tensor.name in exact:
                return oip.data_of(tensor, part, nulls=nulls)
            return self._read(tensor, part)

        values, broken = oip.values_of(inputs, raw, schema.known, wrong, read)
        units: list[str | None] | None = None
        if unit:
            broken.discard(unit)
            if unit in values:
                with wrong:
                    units = oip.units_of(*values.pop(unit))
        if wrong.found or not values:
            if not wrong.found:
                hint = f"features are {', '.join(schema.names[:12])}"
                wrong.add(refused("inputs", "there is no tensor with features", hint))
            return [], units
        rows: list[Values] = []
        with wrong:
            rows = self._settled(schema, *self._columns(schema, values), wrong)
        if units is not None and not wrong.found and len(units) != len(rows):
            what = f"{len(units)} units for {len(rows)} rows"
            wrong.add(refused(f"input {unit}", what, "send one unit a row"))
        return rows, units

    def _read(self, tensor: Tensor, part: memoryview | None) -> list[Any]:
        """The values; `WRONG` for each that its datatype cannot hold, None for null."""
        try:
            return oip.data_of(tensor, part, nulls=True)
        except PointsmanError as error:
            if part is not None or tensor.data is UNSET or tensor.datatype not in tensors.DATATYPES:
                raise
            data = msgspec.json.decode(bytes(tensor.data))
            if not isinstance(data, list):
                raise
            flat: list[Any] = []
            for value in data:
                flat += value if isinstance(value, list) else [value]
            if len(flat) != oip.count_of(tensor.name, tensor.shape):
                raise
            self._said[tensor.name] = error
        return [_decoded(tensor, value) for value in flat]

    def _columns(
        self, schema: Schema, values: dict[str, tuple[Tensor, list[Any]]]
    ) -> tuple[list[list[Any]], list[str]]:
        """The values of each feature, and the names of tensors that are none.

        Raises PointsmanError(INVALID) for shapes that do not make rows.
        """
        extras = [name for name in values if name not in schema.known]
        width = len(schema.features)
        if len(values) == 1 and extras:
            tensor, data = values[extras[0]]
            given = tensor.shape[1] if len(tensor.shape) == 2 else 1
            if given == width:
                said = self._said.pop(tensor.name, None)
                if said is not None:
                    raise said  # whose value it is cannot be told from the outside
                return [
                    self._column(tensor.name, feature, tensor.datatype, data[place::width])
                    for place, feature in enumerate(schema.features)
                ], []
        counts = {tensor.shape[0] for tensor, _ in values.values()}
        if len(counts) > 1:
            what = f"tensors have different numbers of rows: {sorted(counts)}"
            raise refused("inputs", what, "every input has one value a row")
        rows = counts.pop()
        self._absent = schema.known - values.keys()
        columns: list[list[Any]] = []
        for feature in schema.features:
            found = values.get(feature.name)
            if found is None:
                columns.append([None] * rows)
                continue
            tensor, data = found
            if len(tensor.shape) == 2 and tensor.shape[1] != 1:
                raise oip.not_one_a_row(tensor)
            columns.append(self._column(feature.name, feature, tensor.datatype, data))
        return columns, extras

    def _column(self, name: str, feature: Feature, datatype: str, data: list[Any]) -> list[Any]:
        if datatype not in tensors.ACCEPTED[feature.type]:
            try:
                oip.feature_of(name, feature, datatype, [])
            except PointsmanError as error:
                self._said[feature.name] = error
            return [None if value is None else WRONG for value in data]
        if WRONG not in data:
            try:
                return oip.feature_of(name, feature, datatype, data)
            except PointsmanError as error:
                self._said[feature.name] = error
        return [self._value(name, feature, datatype, value) for value in data]

    @staticmethod
    def _value(name: str, feature: Feature, datatype: str, value: Any) -> Any:
        if value is WRONG or value is None:
            return value
        try:
            return oip.feature_of(name, feature, datatype, [value])[0]
        except PointsmanError:
            return WRONG

    def _settled(
        self, schema: Schema, columns: list[list[Any]], extras: list[str], wrong: Gathered
    ) -> list[Values]:
        door = self._door
        rows: list[Values] = []
        told: set[tuple[str, Problem]] = set()
        for place, values in enumerate(zip(*columns, strict=True)):
            if not extras and None not in values and WRONG not in values and door.clean(values):
                rows.append(values)
                continue
            seen = door.look(values, extras)
            rows.append(seen.values)
            if seen.notes:
                self.seen[place] = seen
            for found in seen.rejected:
                if len(wrong.found) <= MOST:
                    self._refuse(schema, place, found, told, wrong)
        return rows

    def _refuse(
        self,
        schema: Schema,
        place: int,
        found: Found,
        told: set[tuple[str, Problem]],
        wrong: Gathered,
    ) -> None:
        """In the words of a project without expectations where those would have refused it, and
        once where they speak of a whole tensor."""
        name, problem, _ = found
        absent = problem is Problem.MISSING and name in self._absent
        whole = absent or problem in {Problem.TYPE, Problem.EXTRA}
        if whole and (name, problem) in told:
            return
        told.add((name, problem))
        if problem is Problem.EXTRA:
            wrong.add(refused(f"input {name[:80]}", "is not a feature", meant(name, schema.names)))
        elif problem is Problem.TYPE:
            wrong.add(self._said[name])
        elif absent:
            feature = next(one for one in schema.features if one.name == name)
            hint = f"send {OFFERED[feature.type]}"
            wrong.add(refused("inputs", f"feature {name!r} is missing", hint))
        else:
            message, hint = self._door.words(found)
            where = f"row {place}" if name == ROW else f"row {place}.{name}"
            wrong.add(refused(where, message, hint))


def _decoded(tensor: Tensor, value: Any) -> Value | Any:
    """A value of JSON as its datatype has it, None for null, else `WRONG`."""
    if value is None:
        return None
    try:
        return tensors.from_json(tensor.name, tensor.datatype, _list(value), nulls=False)[0]
    except (PointsmanError, OverflowError, msgspec.MsgspecError):
        return WRONG


def _list(value: Any) -> bytes:
    return msgspec.json.encode([value])
