"""Open Inference Protocol v2 over REST: infer requests to rows."""

from collections.abc import Callable, Collection, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from pointsman.domain.decision import Value
from pointsman.domain.errors import Kind, PointsmanError, Violation
from pointsman.domain.table import Feature
from pointsman.gateway import tensors
from pointsman.gateway.gate import check_text
from pointsman.gateway.native import (
    Asked,
    check_id,
    check_rows,
    checked_unit,
    context_of,
    settle_unit,
)
from pointsman.gateway.oip_answers import BINARY_OUTPUTS, JSON_OUTPUTS, OUTPUTS, PROBABILITIES, Form
from pointsman.gateway.schema import OFFERED, Schema
from pointsman.gateway.served import Served
from pointsman.gateway.settings import Limits
from pointsman.gateway.violations import (
    Gathered,
    located,
    meant,
    not_json,
    plain,
    refused,
    together,
)
from pointsman.gateway.work import Values


class Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: Raw | UnsetType = UNSET


class Wanted(msgspec.Struct):
    """One requested output. Parameters: `binary_data`, `classification`."""

    name: str
    parameters: dict[str, Any] | None = None


class Infer(msgspec.Struct):
    """Unknown members are ignored: clients add their own (`model_name`)."""

    inputs: list[Tensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[Wanted] | None = None


RowsOf = Callable[
    [Schema, Sequence[Tensor], memoryview, Gathered], tuple[list[Values], list[str | None] | None]
]
Read = Callable[..., list[Value]]
_MOST: Final = 1 << 31
_decoder = msgspec.json.Decoder(Infer)


def read_infer(
    served: Served,
    body: bytes | bytearray,
    json_bytes: bytes | None,
    limits: Limits,
    rows_of: RowsOf | None = None,
) -> Asked:
    """The rows to be predicted.

    json_bytes: value of `Inference-Header-Content-Length`, None where it was not sent; the content
        type says nothing, since clients send none or a wrong one
    rows_of: how tensors become rows, where not every problem of theirs refuses them
    Raises PointsmanError (MALFORMED, INVALID, TOO_LARGE).
    """
    schema = served.schema
    if json_bytes is None:
        asked, raw = _parse(body, limits), memoryview(b"")
    else:
        length = _json_length(json_bytes, len(body))
        if length == 0:
            return _only_raw(schema, memoryview(body), limits)
        asked, raw = _parse(body[:length], limits), memoryview(body)[length:]
    wrong = Gathered()
    rows, units = (rows_of or _rows)(schema, asked.inputs, raw, wrong)
    given = asked.parameters or {}
    context: dict[str, Value] = {}
    with wrong:
        context = context_of(schema, given)
    with wrong:
        if units is None:
            units = [settle_unit(schema, _scalar_unit(given), context)]
        elif len(units) == 1:
            settle_unit(schema, units[0], context)
    pin = given.get("variant")
    if pin is not None and not isinstance(pin, str):
        wrong.add(refused("parameters.variant", "is not a string", "send the name of a variant"))
    form = _form(asked, len(served.classes), wrong)
    if asked.id:
        with wrong:
            check_id("id", asked.id)
    wrong.end()
    check_rows(len(rows), len(body), limits)
    return Asked(
        units or [],
        context,
        pin,
        asked.id or "",
        rows,
        [schema.row_json(row) for row in rows],
        len(rows) > 1,
        form,
    )


def _parse(text: bytes | bytearray, limits: Limits) -> Infer:
    check_text(text, limits.depth)
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError as error:
        raise together(list(_misshapen(text)) or [Violation("", plain(str(error)))]) from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise not_json(error, text) from None


def _misshapen(text: bytes | bytearray) -> Iterator[Violation]:
    """Everything that is no inference request in JSON that is none."""
    given = msgspec.json.decode(text)
    hint = 'send {"inputs": [{"name", "shape", "datatype", "data"}, ...]}'
    if not isinstance(given, dict):
        yield Violation("", "the inference request is not an object", hint)
        return
    inputs = given.get("inputs")
    if not isinstance(inputs, list):
        what = "is not a list" if "inputs" in given else "missing"
        yield Violation("inputs", what, hint)
    parts: dict[str, tuple[Any, Any]] = {}
    for place, tensor in enumerate(inputs if isinstance(inputs, list) else []):
        # `data` may be any JSON here; its values are looked at with the datatype.
        bare = (
            {k: v for k, v in tensor.items() if k != "data"} if isinstance(tensor, dict) else tensor
        )
        parts[f"inputs[{place}]"] = (bare, Tensor)
    for name in ("id", "parameters", "outputs"):
        if name in given:
            parts[name] = (given[name], Infer.__annotations__[name])
    for path, (value, kind) in parts.items():
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            where, said = located(path, error)
            yield Violation(where, said, hint)


def _json_length(header: bytes, total: int) -> int:
    if not header.isdigit() or len(header) > 12:
        raise PointsmanError(
            Kind.MALFORMED,
            f"inference-header-content-length {header[:40].decode('latin-1')!r} is not a number",
            hint="it is the length of the JSON part, after decompression",
        )
    length = int(header)
    if length > total:
        raise PointsmanError(
            Kind.MALFORMED,
            f"inference-header-content-length is {length}, the body has {total} bytes",
            hint="it is the length of the JSON part, after decompression",
        )
    return length


def _rows(
    schema: Schema, inputs: Sequence[Tensor], raw: memoryview, wrong: Gathered
) -> tuple[list[Values], list[str | None] | None]:
    """Feature values of each row, in order, and its unit where a tensor gives them.

    wrong: takes what is wrong with each tensor; where there is anything, the rows mean nothing
    """
    values, broken = values_of(inputs, raw, schema.optional, wrong)
    units: list[str | None] | None = None
    if schema.unit and schema.unit not in schema.names:
        broken.discard(schema.unit)
        if schema.unit in values:
            with wrong:
                units = units_of(*values.pop(schema.unit))
    if not values and not broken:
        if not wrong.found:
            hint = f"features are {', '.join(schema.names[:12])}"
            wrong.add(refused("inputs", "there is no tensor with features", hint))
        return [], units
    rows: list[Values] = []
    names = [*values, *broken]
    with wrong:
        if len(names) != 1 or names[0] in schema.names:
            rows = list(zip(*_by_name(schema, values, broken, wrong), strict=not wrong.found))
        elif values:
            rows = _matrix(schema, *values[names[0]])
    if units is not None and not wrong.found and len(units) != len(rows):
        what = f"{len(units)} units for {len(rows)} rows"
        wrong.add(refused(f"input {schema.unit}", what, "send one unit a row"))
    return rows, units


def values_of(
    inputs: Sequence[Tensor],
    raw: memoryview,
    optional: AbstractSet[str],
    wrong: Gathered,
    read: Read | None = None,
) -> tuple[dict[str, tuple[Tensor, list[Value]]], set[str]]:
    """Row-major values of each tensor by name, and the names of those that are broken.

    Every byte of `raw` belongs to a tensor.
    read: how the values of one are read, where not as `data_of` does
    """
    data = read or data_of
    found: dict[str, tuple[Tensor, list[Value]]] = {}
    broken: set[str] = set()
    at, lost = 0, False  # where the next binary tensor begins; whether that is still known
    for tensor in inputs:
        name, given = tensor.name, tensor.parameters
        size = None if given is None else given.get("binary_data_size")
        if size is not None and lost:
            broken.add(name)
            continue
        part: memoryview | None = None
        try:
            if size is not None:
                part = _binary_part(tensor, size, raw[at:])
                at += len(part)
            if name in found or name in broken:
                raise refused(f"input {name}", "is there twice", "send every input once")
            found[name] = (tensor, data(tensor, part, nulls=name in optional))
        except PointsmanError as error:
            wrong.add(error)
            broken.add(name)
            lost = lost or (size is not None and part is None)
    if at != len(raw) and not lost:
        what = f"{len(raw) - at} bytes of binary data belong to no tensor"
        wrong.add(refused("inputs", what, "binary_data_size of all inputs adds up to them"))
    return found, broken


def data_of(tensor: Tensor, part: memoryview | None, *, nulls: bool) -> list[Value]:
    """Row-major values of one tensor. part: its bytes, None where it comes as JSON"""
    name, shape = tensor.name, tensor.shape
    if tensor.datatype not in tensors.DATATYPES:
        hint = "FP64, INT64, BYTES, ..."
        raise refused(f"input {name}", f"{tensor.datatype!r} is not a datatype", hint)
    count = shape[0] if len(shape) == 1 and 0 <= shape[0] < _MOST else count_of(name, shape)
    if part is not None:
        return tensors.from_binary(f"input {name}", tensor.datatype, part, count)
    if tensor.data is UNSET:
        what = "has neither `data` nor `binary_data_size`"
        raise refused(f"input {name}", what, "send `data`, a list of its values")
    data = tensors.from_json(name, tensor.datatype, bytes(tensor.data), nulls=nulls)
    if len(data) != count:
        hint = "the shape is [rows], or [rows, features] of one tensor with all of them"
        raise refused(f"input {name}", f"{len(data)} values for shape {shape}", hint)
    return data


def _binary_part(tensor: Tensor, size: object, left: memoryview) -> memoryview:
    """The bytes of one tensor. left: what the tensors before it did not take"""
    if tensor.data is not UNSET:
        what = "has both `data` and `binary_data_size`"
        raise refused(f"input {tensor.name}", what, "send one of them")
    if type(size) is not int or not 0 <= size <= len(left):
        raise refused(
            f"input {tensor.name}",
            f"binary_data_size is {size!r}, the body has {len(left)} bytes left",
            "inference-header-content-length says where the JSON ends",
        )
    return left[:size]


def count_of(name: str, shape: list[int]) -> int:
    """Values of a tensor of this shape. Raises PointsmanError(INVALID) for one that is none."""
    if len(shape) not in {1, 2} or any(not 0 <= size < _MOST for size in shape):
        hint = "one tensor [rows] a feature, or one [rows, features] for all of them"
        raise refused(f"input {name}", f"shape {shape[:8]} is not [n] or [n, m]", hint)
    return shape[0] * (shape[1] if len(shape) == 2 else 1)


def _matrix(schema: Schema, tensor: Tensor, values: list[Value]) -> list[Values]:
    """One tensor [n, F] with the project's features in their order."""
    where = f"input {tensor.name}"
    width = len(schema.features)
    given = tensor.shape[1] if len(tensor.shape) == 2 else 1
    if given != width:
        raise refused(
            where,
            f"is no feature, and not [n, {width}] as one tensor of all features is",
            f"features are {', '.join(schema.names[:12])}",
        )
    if tensor.datatype == schema.uniform:
        return list(zip(*[iter(values)] * width, strict=True))
    columns = [
        feature_of(tensor.name, feature, tensor.datatype, values[place::width])
        for place, feature in enumerate(schema.features)
    ]
    return list(zip(*columns, strict=True))


def _by_name(
    schema: Schema,
    values: dict[str, tuple[Tensor, list[Value]]],
    broken: AbstractSet[str],
    wrong: Gathered,
) -> list[list[Value]]:
    """One tensor [n] or [n, 1] a feature; optional ones may be left out.

    broken: tensors that were refused already
    """
    if broken or not schema.required <= values.keys() <= schema.known:
        _misnamed(schema, [*values, *broken], wrong)
    counts = {tensor.shape[0] for tensor, _ in values.values()}
    if len(counts) > 1:
        what = f"tensors have different numbers of rows: {sorted(counts)}"
        wrong.add(refused("inputs", what, "every input has one value a row"))
    n = max(counts, default=0)
    columns: list[list[Value]] = []
    for feature in schema.features:
        found = values.get(feature.name)
        if found is None:
            columns.append([None] * n)
            continue
        tensor, data = found
        try:
            if len(tensor.shape) == 2 and tensor.shape[1] != 1:
                raise not_one_a_row(tensor)
            columns.append(feature_of(feature.name, feature, tensor.datatype, data))
        except PointsmanError as error:
            wrong.add(error)
    return columns


def _misnamed(schema: Schema, given: Collection[str], wrong: Gathered) -> None:
    """Inputs that are no features, and features that are no inputs."""
    for name in given:
        if name not in schema.known:
            wrong.add(refused(f"input {name[:80]}", "is not a feature", meant(name, schema.names)))
    for feature in schema.features:
        if feature.required and feature.name not in given:
            hint = f"send {OFFERED[feature.type]}"
            wrong.add(refused("inputs", f"feature {feature.name!r} is missing", hint))


def not_one_a_row(tensor: Tensor) -> PointsmanError:
    """The refusal of a tensor with other than one value a row."""
    what = f"shape {tensor.shape} is not [n] or [n, 1]"
    return refused(f"input {tensor.name}", what, "send one value a row")


def feature_of(name: str, feature: Feature, datatype: str, values: list[Value]) -> list[Value]:
    """The values as the feature's own type; None is only ever there where it may be.

    name: of the input the values came in
    Raises PointsmanError(INVALID) where the datatype or a value does not fit.
    """
    if datatype not in tensors.ACCEPTED[feature.type]:
        raise refused(
            f"input {name}",
            f"feature {feature.name} is {feature.type.value}, which {datatype} is not",
            f"send {OFFERED[feature.type]}",
        )
    return tensors.fitted(name, feature.type, datatype, values)


def units_of(tensor: Tensor, values: list[Value]) -> list[str | None]:
    """The unit of each row. Raises PointsmanError(INVALID) for values that are none."""
    if len(tensor.shape) == 2 and tensor.shape[1] != 1:
        raise not_one_a_row(tensor)
    if any(isinstance(value, float | bool) for value in values):
        raise refused(f"input {tensor.name}", "units are BYTES or integers", "send BYTES")
    return [checked_unit(value) for value in values if not isinstance(value, float | bool)]


def _only_raw(schema: Schema, raw: memoryview, limits: Limits) -> Asked:
    """A body of raw data alone: that of the only input, answered in binary."""
    if len(schema.features) != 1:
        raise PointsmanError(
            Kind.INVALID,
            f"a body without JSON needs a project with one feature, not {len(schema.features)}",
            hint="send inference-header-content-length and name the inputs",
        )
    feature = schema.features[0]
    datatype = OFFERED[feature.type]
    where = f"input {feature.name}"
    if datatype == "BYTES":
        count = 1
    else:
        width = len(tensors.to_binary(datatype, [0]))
        count = len(raw) // width
    values = tensors.from_binary(where, datatype, raw, count)
    values = tensors.fitted(feature.name, feature.type, datatype, values)
    check_rows(count, len(raw), limits)
    context = context_of(schema, {})
    rows: list[Values] = [(value,) for value in values]
    encoded = [schema.row_json(row) for row in rows]
    unit = settle_unit(schema, None, context)
    return Asked([unit], context, None, "", rows, encoded, count > 1, BINARY_OUTPUTS)


def _scalar_unit(given: dict[str, Any]) -> str | int | None:
    unit = given.get("unit")
    if unit is None or type(unit) in {str, int}:
        found: str | int | None = unit
        return found
    raise refused("parameters.unit", "is neither a string nor an integer", "send it as a string")


def _form(asked: Infer, classes: int, wrong: Gathered) -> Form:
    by_default = bool((asked.parameters or {}).get("binary_data_output", False))
    if not asked.outputs:
        return BINARY_OUTPUTS if by_default else JSON_OUTPUTS
    outputs: list[tuple[str, bool, int]] = []
    for wanted in asked.outputs:
        if wanted.name not in OUTPUTS:
            what = f"there is no output {wanted.name[:80]!r}"
            wrong.add(refused("outputs", what, f"known: {', '.join(OUTPUTS)}"))
            continue
        given = wanted.parameters or {}
        top = given.get("classification", 0)
        if type(top) is not int or top < 0 or (top and wanted.name != PROBABILITIES):
            hint = f"how many classes to return, with output {PROBABILITIES} only"
            what = "classification is a count, of `probabilities`"
            wrong.add(refused(f"output {wanted.name}", what, hint))
            continue
        binary = given.get("binary_data", by_default)
        outputs.append((wanted.name, bool(binary), min(top, classes)))
    return Form(tuple(outputs))
