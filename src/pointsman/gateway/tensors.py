"""Open Inference tensors: JSON and raw little-endian bytes to columns of values, and back."""

import re
import struct
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import msgspec
import numpy as np

from pointsman.domain.decision import Value
from pointsman.domain.table import FeatureType
from pointsman.gateway.schema import OFFERED
from pointsman.gateway.violations import refused
from pointsman.runtime.row_types import SAFE_INTEGER, STRING_CHARACTERS

BINARY_DTYPES: Final[dict[str, str]] = {
    "BOOL": "|b1", "INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    "UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8",
    "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_INTEGERS: Final = frozenset(name for name in BINARY_DTYPES if "INT" in name)
_NUMBERS: Final = _INTEGERS | {"FP16", "FP32", "FP64"}
ACCEPTED: Final[dict[FeatureType, frozenset[str]]] = {
    FeatureType.STRING: frozenset({"BYTES"}),
    FeatureType.BOOLEAN: frozenset({"BOOL"}),
    FeatureType.INTEGER: _INTEGERS,
    FeatureType.LONG: _INTEGERS,
    FeatureType.FLOAT: _NUMBERS,
    FeatureType.DOUBLE: _NUMBERS,
}
"""Datatypes a feature may arrive as: those whose values the feature's own type can hold."""

DATATYPES: Final = frozenset({*BINARY_DTYPES, "BYTES", "BF16"})
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
_INT32: Final = (-(1 << 31), (1 << 31) - 1)
_NESTED: Final = re.compile(rb"\s*\[\s*\[")
_BYTES_LENGTH: Final = struct.Struct("<I")


class _JsonDecoder:
    """Decoders of one datatype's `data` member, flat and nested, with and without nulls."""

    __slots__ = ("_flat", "_flat_null", "_nested", "_nested_null")

    def __init__(self, datatype: str) -> None:
        value = _json_type(datatype)
        row, row_null = _list_of(value), _list_of(value | None)
        self._flat: Any = msgspec.json.Decoder(row)
        self._nested: Any = msgspec.json.Decoder(_list_of(row))
        self._flat_null: Any = msgspec.json.Decoder(row_null)
        self._nested_null: Any = msgspec.json.Decoder(_list_of(row_null))

    def decode(self, data: bytes, *, nulls: bool) -> list[Value]:
        """Row-major values. Raises msgspec.DecodeError."""
        if _NESTED.match(data) is None:
            flat: list[Value] = (self._flat_null if nulls else self._flat).decode(data)
            return flat
        nested = (self._nested_null if nulls else self._nested).decode(data)
        return [value for inner in nested for value in inner]


def _list_of(kind: Any) -> Any:
    return list[kind]


def _json_type(datatype: str) -> Any:
    """What one value of a datatype is in JSON: within the datatype's own range."""
    if datatype == "BOOL":
        return bool
    if datatype == "BYTES":
        return str
    if datatype in _INTEGERS:
        bounds = np.iinfo(np.dtype(BINARY_DTYPES[datatype]))
        low, high = max(int(bounds.min), -SAFE_INTEGER), min(int(bounds.max), SAFE_INTEGER)
        return Annotated[int, msgspec.Meta(ge=low, le=high)]
    if datatype == "FP32":
        return Annotated[float, msgspec.Meta(ge=-_FLOAT32_MAX, le=_FLOAT32_MAX)]
    return float


_JSON: Final = {name: _JsonDecoder(name) for name in DATATYPES if name not in {"FP16", "BF16"}}


def from_json(name: str, datatype: str, data: bytes, *, nulls: bool) -> list[Value]:
    """Row-major values of an input's `data`. nulls: whether null stands for a missing value."""
    decoder = _JSON.get(datatype)
    if decoder is None:
        where, hint = f"input {name}", "send it as binary tensor data"
        raise refused(where, f"{datatype} has no JSON form", hint)
    try:
        return decoder.decode(data, nulls=nulls)
    except (msgspec.DecodeError, ValueError) as error:
        said = str(error).replace("`", "").replace(" - at $", " at data")
        hint = f"the datatype is {datatype}; data is flat or one list a row"
        raise refused(f"input {name}", said, hint) from None


def from_binary(where: str, datatype: str, data: memoryview, count: int) -> list[Value]:
    """`count` values of raw tensor bytes; NaN and Infinity are refused."""
    if datatype == "BYTES":
        return _strings(where, data, count)
    dtype = BINARY_DTYPES.get(datatype)
    if dtype is None:
        raise refused(where, f"{datatype} is not read here", "send FP32 or FP64")
    size = np.dtype(dtype).itemsize * count
    if len(data) != size:
        hint = f"the shape's {count} values of {datatype}, little-endian and without padding"
        raise refused(where, f"binary_data_size is {len(data)}, the shape needs {size}", hint)
    array = np.frombuffer(data, dtype)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise refused(where, "holds NaN or Infinity", "send finite numbers only")
    if datatype == "BOOL" and np.frombuffer(data, np.uint8).max(initial=0) > 1:
        raise refused(where, "a BOOL byte is neither 0 nor 1", "send one byte a value: 0 or 1")
    values: list[Value] = array.tolist()
    return values


def _strings(where: str, data: memoryview, count: int) -> list[Value]:
    values: list[Value] = []
    at = 0
    while at < len(data) and len(values) < count:
        if at + 4 > len(data):
            break
        (length,) = _BYTES_LENGTH.unpack_from(data, at)
        end = at + 4 + length
        if end > len(data):
            break
        try:
            values.append(bytes(data[at + 4 : end]).decode())
        except UnicodeDecodeError as error:
            what = f"element {len(values)} is not UTF-8: {error.reason}"
            raise refused(where, what, "text is sent as UTF-8") from None
        at = end
    if at != len(data) or len(values) != count:
        raise refused(
            where,
            f"the binary data does not hold exactly {count} elements",
            "each BYTES element is a little-endian 32-bit length and that many bytes",
        )
    return values


def fitted(name: str, kind: FeatureType, datatype: str, values: list[Value]) -> list[Value]:
    """The values as the feature's own type; None stays None. Raises PointsmanError(INVALID)."""
    if datatype == OFFERED[kind] and datatype != "BYTES":
        return values  # read as this very type
    check = _FITS.get(kind)
    return values if check is None else check(name, values)


def _as_double(_name: str, values: list[Value]) -> list[Value]:
    return [None if v is None else float(v) for v in values]


def _as_float(name: str, values: list[Value]) -> list[Value]:
    floats = _as_double(name, values)
    if any(v is not None and not -_FLOAT32_MAX <= float(v) <= _FLOAT32_MAX for v in floats):
        hint = f"the feature is a float: within ±{_FLOAT32_MAX:.8g}"
        raise refused(f"input {name}", "a value is beyond 32-bit floating point", hint)
    return floats


def _as_integer(name: str, values: list[Value]) -> list[Value]:
    low, high = _INT32
    if any(v is not None and not low <= int(v) <= high for v in values):
        hint = f"the feature is an integer: {low} to {high}"
        raise refused(f"input {name}", "a value is beyond 32-bit integers", hint)
    return values


def _as_long(name: str, values: list[Value]) -> list[Value]:
    if any(v is not None and int(v) >= 1 << 63 for v in values):
        hint = f"the feature is a long: up to {(1 << 63) - 1}"
        raise refused(f"input {name}", "a value is beyond 64-bit signed integers", hint)
    return values


def _as_string(name: str, values: list[Value]) -> list[Value]:
    for value in values:
        if isinstance(value, str):
            if len(value) > STRING_CHARACTERS:
                what = f"a string is longer than {STRING_CHARACTERS} characters"
                raise refused(f"input {name}", what, "send a shorter text")
            if "\0" in value:
                raise refused(f"input {name}", "a string contains NUL", "remove it")
    return values


_FITS: Final[dict[FeatureType, Callable[[str, list[Value]], list[Value]]]] = {
    FeatureType.DOUBLE: _as_double,
    FeatureType.FLOAT: _as_float,
    FeatureType.INTEGER: _as_integer,
    FeatureType.LONG: _as_long,
    FeatureType.STRING: _as_string,
}


def to_binary(datatype: str, data: Sequence[Any]) -> bytes:
    """Raw tensor bytes of an output's row-major values (BYTES or FP64)."""
    if datatype == "BYTES":
        parts = []
        for text in data:
            encoded = text.encode()
            parts += [_BYTES_LENGTH.pack(len(encoded)), encoded]
        return b"".join(parts)
    return np.asarray(data, BINARY_DTYPES[datatype]).tobytes()
