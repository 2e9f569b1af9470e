"""A project's features and context as typed decoders, built once when its table is loaded.

Decoding validates: what comes out is complete, of the declared types and within bounds. Names may
be any text, so the fields of the generated types are numbered and carry the names on the wire.
The type of a row is `runtime/row_types.py`'s, which a plan reads logged rows with, too.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from pointsman.domain.decision import Value
from pointsman.domain.table import Attribute, AttributeType, FeatureType, ProjectTable
from pointsman.runtime.row_types import LONG, TEXT, row_type

OFFERED: Final[dict[FeatureType, str]] = {
    FeatureType.STRING: "BYTES",
    FeatureType.BOOLEAN: "BOOL",
    FeatureType.INTEGER: "INT32",
    FeatureType.LONG: "INT64",
    FeatureType.FLOAT: "FP32",
    FeatureType.DOUBLE: "FP64",
}
"""The Open Inference datatype that model metadata names for a feature."""

ATTRIBUTE_TYPES: Final[dict[AttributeType, Any]] = {
    AttributeType.STRING: TEXT,
    AttributeType.INT: LONG,
    AttributeType.DOUBLE: float,
    AttributeType.BOOL: bool,
}

_PLAIN: Final = {
    AttributeType.STRING: str,
    AttributeType.DOUBLE: float,
    AttributeType.BOOL: bool,
}

Unit = str | int | None


class PredictBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Body of `:predict`: shape only; each project's own type adds `context` and `features`."""

    unit: Unit = None
    variant: str | None = None
    id: str | None = None


class Schema:
    """Decoders of one project.

    names: of the features, in order; known, required, optional: the same as sets
    row: type of one feature object; `msgspec.structs.astuple` gives its values in order
    context: type of the context object; `msgspec.to_builtins` leaves out what was not given
    defaults: the context of a request that gives none
    plain: of each attribute the Python type that needs no further check; None for whole numbers
    uniform: the type of all features where they have one and the same, as metadata names it; it
        takes values of that type as they are; empty for strings and where types differ
    plain_unit: whether the unit is an attribute that takes any text
    """

    __slots__ = (
        "attributes",
        "context",
        "decide",
        "defaults",
        "features",
        "known",
        "names",
        "optional",
        "plain",
        "plain_unit",
        "predict",
        "required",
        "row",
        "uniform",
        "unit",
    )

    def __init__(self, table: ProjectTable) -> None:
        self.features = table.features
        self.names = tuple(feature.name for feature in table.features)
        self.known = frozenset(self.names)
        self.required = frozenset(f.name for f in table.features if f.required)
        self.optional = self.known - self.required
        offered = {OFFERED[feature.type] for feature in table.features}
        self.uniform = offered.pop() if len(offered) == 1 and "BYTES" not in offered else ""
        self.attributes = table.context
        self.unit = table.unit
        self.plain = tuple((a.name, _PLAIN.get(a.type)) for a in table.context)
        declared = [a.type for a in table.context if a.name == table.unit]
        self.plain_unit = bool(table.unit) and declared in ([], [AttributeType.STRING])
        self.row = row_type(table.features)
        self.context = _context_type(table.context)
        self.defaults: dict[str, Value] = msgspec.to_builtins(self.context())
        row, context = self.row, self.context
        predict = msgspec.defstruct(
            "PredictBody",
            [
                ("features", row | list[row]),  # type: ignore[valid-type]  # made at run time
                ("context", context | None, None),
            ],
            bases=(PredictBody,),
            kw_only=True,
            forbid_unknown_fields=True,
            gc=False,
        )
        decide = msgspec.defstruct(
            "DecideBody",
            [("context", context | None, None)],
            bases=(PredictBody,),
            kw_only=True,
            forbid_unknown_fields=True,
            gc=False,
        )
        self.predict: msgspec.json.Decoder[Any] = msgspec.json.Decoder(predict)
        self.decide: msgspec.json.Decoder[Any] = msgspec.json.Decoder(decide)

    def row_json(self, values: Sequence[Value]) -> bytes:
        """One row as a JSON object, as records hold it."""
        return encode(dict(zip(self.names, values, strict=True)))


encode = msgspec.json.Encoder().encode


def _context_type(attributes: tuple[Attribute, ...]) -> type[msgspec.Struct]:
    """Nothing is required here: a missing attribute is for the rules that read it to refuse."""
    fields: list[Any] = []
    for place, attribute in enumerate(attributes):
        kind = ATTRIBUTE_TYPES[attribute.type] | None | UnsetType
        default = UNSET if attribute.default is None else attribute.default
        fields.append((f"a{place}", kind, default))
    return msgspec.defstruct(
        "Context",
        fields,
        rename={f"a{place}": attribute.name for place, attribute in enumerate(attributes)},
        kw_only=True,
        forbid_unknown_fields=True,
        gc=False,
    )
