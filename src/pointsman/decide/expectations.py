"""What gateways check rows by, from what a file says and what the features turned out to be."""

from typing import Final

from pointsman.domain.errors import Kind, PointsmanError, Violation
from pointsman.domain.quality import FeatureQuality, Quality
from pointsman.domain.table import Feature, FeatureType
from pointsman.spec import quality as declared
from pointsman.spec.places import render
from pointsman.spec.quality_checks import problems

_FLOATS: Final = frozenset({FeatureType.FLOAT, FeatureType.DOUBLE})
_NOTHING: Final = declared.Expected()


def quality_of(block: declared.Quality | None, features: tuple[Feature, ...]) -> Quality | None:
    """One entry a feature, its answers settled; None where nothing is declared.

    Raises PointsmanError(INVALID) with all that cannot be: features of a signature are known only
    here.
    """
    if block is None:
        return None
    found = tuple(
        Violation(render(("spec", "quality", *path)), message, hint)
        for path, message, hint in problems(block, {one.name: one for one in features})
    )
    if found:
        raise PointsmanError(
            Kind.INVALID,
            f"{found[0].path}: {found[0].message}",
            hint=found[0].hint,
            violations=found,
        )
    return Quality(
        extra=block.on_extra,
        all_null=block.on_all_null,
        features=tuple(
            _settled(block, block.features.get(one.name, _NOTHING), one) for one in features
        ),
    )


def _settled(block: declared.Quality, own: declared.Expected, feature: Feature) -> FeatureQuality:
    low, high = own.range or (None, None)
    return FeatureQuality(
        name=feature.name,
        missing=own.on_missing or (block.on_missing if feature.required else None),
        type=own.on_type or block.on_type,
        range=own.on_range or block.on_range,
        unseen=own.on_unseen or block.on_unseen,
        low=low,
        high=high,
        values=tuple(
            float(value) if feature.type in _FLOATS else value for value in own.values or ()
        ),
        value=float(own.value) if own.value is not None and feature.type in _FLOATS else own.value,
    )
