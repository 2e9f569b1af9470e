"""Open Inference Protocol v2 over REST: infer requests to rows."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from pointsman.domain.decision import Value
from pointsman.domain.errors import Kind, PointsmanError
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
from pointsman.gateway.tensors import refused
from pointsman.gateway.violations import not_json
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


_MOST: Final = 1 << 31
_decoder = msgspec.json.Decoder(Infer)


def read_infer(
    served: Served, body: bytes | bytearray, json_bytes: bytes | None, limits: Limits
) -> Asked:
    """The rows to be predicted.

    json_bytes: value of `Inference-Header-Content-Length`, None where it was not sent; the content
        type says nothing, since clients send none or a wrong one
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
    rows, units = _rows(schema, asked.inputs, raw)
    check_rows(len(rows), len(body), limits)
    given = asked.parameters or {}
    context = context_of(schema, given)
    if units is None:
        units = [settle_unit(schema, _scalar_unit(given), context)]
    elif len(units) == 1:
        settle_unit(schema, units[0], context)
    if asked.id:
        check_id("id", asked.id)
    return Asked(
        units,
        context,
        _pin(given),
        asked.id or "",
        rows,
        [schema.row_json(row) for row in rows],
        len(rows) > 1,
        _form(asked, len(served.classes)),
    )


def _parse(text: bytes | bytearray, limits: Limits) -> Infer:
    check_text(text, limits.depth)
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError as error:
        said = str(error).replace("`", "").replace(" - at $.", " at ").replace(" - at $", "")
        raise PointsmanError(
            Kind.INVALID,
            f"the inference request is not valid: {said}",
            hint='send {"inputs": [{"name", "shape", "datatype", "data"}, ...]}',
        ) from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise not_json(error, text) from None


def _json_length(header: bytes, total: int) -> int:
    if not header.isdigit() or len(header) > 12:
        raise PointsmanError(
            Kind.MALFORMED,
            f"inference-header-content-length {header[:40].decode('latin-1')!r} is not a number",
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
    schema: Schema, inputs: Sequence[Tensor], raw: memoryview
) -> tuple[list[Values], list[str | None] | None]:
    """Feature values of each row, in order, and its unit where a tensor gives them."""
    values = _values(inputs, raw, schema.optional)
    units: list[str | None] | None = None
    if schema.unit and schema.unit not in schema.names and schema.unit in values:
        units = _units(*values.pop(schema.unit))
    if not values:
        raise refused("inputs", "there is no tensor with features")
    names = list(values)
    if len(names) == 1 and names[0] not in schema.names:
        rows = _matrix(schema, *values[names[0]])
    else:
        rows = list(zip(*_by_name(schema, values), strict=True))
    if units is not None and len(units) != len(rows):
        raise refused(f"input {schema.unit}", f"{len(units)} units for {len(rows)} rows")
    return rows, units


def _values(
    inputs: Sequence[Tensor], raw: memoryview, optional: frozenset[str]
) -> dict[str, tuple[Tensor, list[Value]]]:
    """Row-major values of each tensor by name; every byte of `raw` belongs to one."""
    found: dict[str, tuple[Tensor, list[Value]]] = {}
    at = 0
    for tensor in inputs:
        name, shape, given = tensor.name, tensor.shape, tensor.parameters
        if name in found:
            raise refused(f"input {name}", "is there twice")
        if tensor.datatype not in tensors.DATATYPES:
            hint = "FP64, INT64, BYTES, ..."
            raise refused(f"input {name}", f"{tensor.datatype!r} is not a datatype", hint)
        count = shape[0] if len(shape) == 1 and 0 <= shape[0] < _MOST else _count(name, shape)
        size = None if given is None else given.get("binary_data_size")
        if size is None:
            if tensor.data is UNSET:
                raise refused(f"input {name}", "has neither `data` nor `binary_data_size`")
            content, nulls = bytes(tensor.data), name in optional
            data = tensors.from_json(name, tensor.datatype, content, nulls=nulls)
            if len(data) != count:
                raise refused(f"input {name}", f"{len(data)} values for shape {shape}")
        else:
            part = _binary_part(tensor, size, raw[at:])
            data = tensors.from_binary(f"input {name}", tensor.datatype, part, count)
            at += len(part)
        found[name] = (tensor, data)
    if at != len(raw):
        raise refused("inputs", f"{len(raw) - at} bytes of binary data belong to no tensor")
    return found


def _binary_part(tensor: Tensor, size: object, left: memoryview) -> memoryview:
    """The bytes of one tensor. left: what the tensors before it did not take"""
    if tensor.data is not UNSET:
        raise refused(f"input {tensor.name}", "has both `data` and `binary_data_size`")
    if type(size) is not int or not 0 <= size <= len(left):
        raise refused(
            f"input {tensor.name}",
            f"binary_data_size is {size!r}, the body has {len(left)} bytes left",
            "inference-header-content-length says where the JSON ends",
        )
    return left[:size]


def _count(name: str, shape: list[int]) -> int:
    if len(shape) not in {1, 2} or any(not 0 <= size < _MOST for size in shape):
        raise refused(f"input {name}", f"shape {shape[:8]} is not [n] or [n, m]")
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
        _feature(tensor.name, feature, tensor.datatype, values[place::width])
        for place, feature in enumerate(schema.features)
    ]
    return list(zip(*columns, strict=True))


def _by_name(schema: Schema, values: dict[str, tuple[Tensor, list[Value]]]) -> list[list[Value]]:
    """One tensor [n] or [n, 1] a feature; optional ones may be left out."""
    if not schema.required <= values.keys() <= schema.known:
        unknown = [name for name in values if name not in schema.known]
        missing = [f.name for f in schema.features if f.required and f.name not in values]
        said = [f"{name[:80]!r} is not a feature" for name in unknown]
        said += [f"feature {name!r} is missing" for name in missing]
        more = f" (and {len(said) - 8} more)" if len(said) > 8 else ""
        hint = f"features are {', '.join(schema.names[:12])}"
        raise refused("inputs", "; ".join(said[:8]) + more, hint)
    counts = {tensor.shape[0] for tensor, _ in values.values()}
    if len(counts) != 1:
        raise refused("inputs", f"tensors have different numbers of rows: {sorted(counts)}")
    (n,) = counts
    columns: list[list[Value]] = []
    for feature in schema.features:
        found = values.get(feature.name)
        if found is None:
            columns.append([None] * n)
            continue
        tensor, data = found
        if len(tensor.shape) == 2 and tensor.shape[1] != 1:
            raise refused(f"input {feature.name}", f"shape {tensor.shape} is not [n] or [n, 1]")
        columns.append(_feature(feature.name, feature, tensor.datatype, data))
    return columns


def _feature(name: str, feature: Feature, datatype: str, values: list[Value]) -> list[Value]:
    """name: of the input the values came in. None is only ever there where it may be."""
    if datatype not in tensors.ACCEPTED[feature.type]:
        raise refused(
            f"input {name}",
            f"feature {feature.name} is {feature.type.value}, which {datatype} is not",
            f"send {OFFERED[feature.type]}",
        )
    return tensors.fitted(name, feature.type, datatype, values)


def _units(tensor: Tensor, values: list[Value]) -> list[str | None]:
    if len(tensor.shape) == 2 and tensor.shape[1] != 1:
        raise refused(f"input {tensor.name}", f"shape {tensor.shape} is not [n] or [n, 1]")
    if any(isinstance(value, float | bool) for value in values):
        raise refused(f"input {tensor.name}", "units are BYTES or integers")
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
    raise refused("parameters.unit", "is neither a string nor an integer")


def _pin(given: dict[str, Any]) -> str | None:
    pin = given.get("variant")
    if pin is None or isinstance(pin, str):
        return pin
    raise refused("parameters.variant", "is not a string")


def _form(asked: Infer, classes: int) -> Form:
    by_default = bool((asked.parameters or {}).get("binary_data_output", False))
    if not asked.outputs:
        return BINARY_OUTPUTS if by_default else JSON_OUTPUTS
    outputs: list[tuple[str, bool, int]] = []
    for wanted in asked.outputs:
        if wanted.name not in OUTPUTS:
            raise refused(
                "outputs",
                f"there is no output {wanted.name[:80]!r}",
                f"known: {', '.join(OUTPUTS)}",
            )
        given = wanted.parameters or {}
        top = given.get("classification", 0)
        if type(top) is not int or top < 0 or (top and wanted.name != PROBABILITIES):
            raise refused(f"output {wanted.name}", "classification is a count, of `probabilities`")
        binary = given.get("binary_data", by_default)
        outputs.append((wanted.name, bool(binary), min(top, classes)))
    return Form(tuple(outputs))
