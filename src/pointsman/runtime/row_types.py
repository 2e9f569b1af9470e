"""A row of features as a type: decoding validates, here as at the gateway.

Names may be any text, so the fields are numbered and carry the names on the wire.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from pointsman.domain.table import Feature, FeatureType

SAFE_INTEGER: Final = (1 << 53) - 1
"""JSON integers beyond it are different numbers in different clients (RFC 8259, section 6)."""

STRING_CHARACTERS: Final = 64 << 10
_FLOAT32_MAX: Final = 3.4028234663852886e38

LONG: Final = Annotated[int, Meta(ge=-SAFE_INTEGER, le=SAFE_INTEGER)]
TEXT: Final = Annotated[str, Meta(max_length=STRING_CHARACTERS)]
_INTEGER: Final = Annotated[int, Meta(ge=-(1 << 31), le=(1 << 31) - 1)]
_FLOAT: Final = Annotated[float, Meta(ge=-_FLOAT32_MAX, le=_FLOAT32_MAX)]

FEATURE_TYPES: Final[dict[FeatureType, Any]] = {
    FeatureType.STRING: TEXT,
    FeatureType.DOUBLE: float,
    FeatureType.FLOAT: _FLOAT,
    FeatureType.LONG: LONG,
    FeatureType.INTEGER: _INTEGER,
    FeatureType.BOOLEAN: bool,
}


def row_type(features: tuple[Feature, ...], *, exactly: bool = True) -> type[msgspec.Struct]:
    """The type of a JSON object with these features; `msgspec.structs.astuple` gives its values in
    their order.

    exactly: refuse what is no feature; else leave it out
    """
    fields: list[Any] = []
    for place, feature in enumerate(features):
        kind = FEATURE_TYPES[feature.type]
        name = f"f{place}"
        fields.append((name, kind) if feature.required else (name, kind | None, None))
    return msgspec.defstruct(
        "Features",
        fields,
        rename={f"f{place}": feature.name for place, feature in enumerate(features)},
        kw_only=True,
        forbid_unknown_fields=exactly,
        gc=False,
    )
