"""What is wrong with a block `quality` that its shape does not show.

Features that come from a model's signature are known only once the model is: the same checks are
then made by whoever compiles the table.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError

from pointsman.domain.names import CHAMPION
from pointsman.domain.quality import FALLBACK, IMPUTE, WARN
from pointsman.domain.suggestion import did_you_mean
from pointsman.domain.table import Feature, FeatureType
from pointsman.spec.draft import Draft
from pointsman.spec.models import Rule
from pointsman.spec.places import Path
from pointsman.spec.quality import Expected, Quality
from pointsman.spec.report import Report

Found = tuple[Path, str, str]
"""Where below `spec.quality`, what, and what to do."""

_NUMBERS: Final = frozenset(
    {FeatureType.INTEGER, FeatureType.LONG, FeatureType.FLOAT, FeatureType.DOUBLE}
)
_FLOATS: Final = frozenset({FeatureType.FLOAT, FeatureType.DOUBLE})
_WHOLE: Final = {FeatureType.INTEGER: 1 << 31, FeatureType.LONG: 1 << 53}
_OWN: Final = {
    "on_missing": "onMissing",
    "on_type": "onType",
    "on_range": "onRange",
    "on_unseen": "onUnseen",
}
_NO_OTHER_TYPE: Final = "a value of another type cannot be shown to a model"
_OTHER_ANSWER: Final = "`impute` a value, `fallback` or `reject`"
_GIVE: Final = "give the feature a `value`, or another answer"
_NEEDED: Final = "declare the feature `required: false`, or `impute` a value"


def check_quality(draft: Draft, report: Report) -> None:
    """Answers that cannot be given, and expectations that mean nothing."""
    raw = draft.at("quality")
    if not isinstance(raw, dict):
        return
    try:
        quality = Quality.model_validate(raw)
    except ValidationError:
        return  # said already, where it is
    features: dict[str, Feature] | None = None
    if draft.features is not None and draft.features.from_ is None:
        features = {
            one.name: Feature(one.name, one.type, one.required) for one in draft.features.declared
        }
    for path, message, hint in problems(quality, features):
        report.add(("spec", "quality", *path), message, hint)
    if _falls_back(quality):
        for place, rule in enumerate(draft.rules):
            for variant in _alone(rule):
                message = f"rows with problems are to go to fallbacks, and '{variant}' has none"
                where: Path = ("spec", "rules", place) if draft.declares("rules") else ("spec",)
                report.add((*where,), message, "add `fallback: [...]` with another variant")


def problems(quality: Quality, features: Mapping[str, Feature] | None) -> Iterator[Found]:
    """Everything that cannot be. features: by name; None where they are not known yet"""
    yield from _of_all(quality, features)
    for name, expected in quality.features.items():
        path: Path = ("features", name)
        feature = None if features is None else features.get(name)
        if features is not None and feature is None:
            yield path, f"there is no feature named '{name}'", did_you_mean(name, features)
            continue
        yield from _of_one(path, expected, feature)


def _of_all(quality: Quality, features: Mapping[str, Feature] | None) -> Iterator[Found]:
    """Of the answers for all features."""
    if quality.on_missing == WARN:
        yield ("onMissing",), "no model can go on without a feature that it needs", _NEEDED
    if quality.on_type == WARN:
        yield ("onType",), _NO_OTHER_TYPE, _OTHER_ANSWER
    for key, answer in (("onExtra", quality.on_extra), ("onAllNull", quality.on_all_null)):
        if answer == IMPUTE:
            yield (key,), "is about a row, and no value stands in for a whole row", ""
    if features is None:
        return
    for key, answer, own, concerned in (
        ("onMissing", quality.on_missing, "on_missing", _required(features)),
        ("onType", quality.on_type, "on_type", features),
        ("onRange", quality.on_range, "on_range", _with(quality, "range")),
        ("onUnseen", quality.on_unseen, "on_unseen", _with(quality, "values")),
    ):
        lacking = [
            name
            for name in concerned
            if answer == IMPUTE and _takes(quality.features.get(name), own)
        ]
        if lacking:
            more = ", ..." if len(lacking) > 5 else ""
            message = f"`impute` needs a value for {', '.join(lacking[:5])}{more}"
            yield (key,), message, "give each a `value` under `features`, or an answer of its own"


def _of_one(path: Path, expected: Expected, feature: Feature | None) -> Iterator[Found]:
    kind = None if feature is None else feature.type
    yield from _expectations(path, expected, kind)
    if feature is not None and feature.required and expected.on_missing == WARN:
        yield (*path, "onMissing"), "the models need it: none can go on without", _NEEDED
    if expected.on_type == WARN:
        yield (*path, "onType"), _NO_OTHER_TYPE, _OTHER_ANSWER
    for key, name in _OWN.items():
        if getattr(expected, key) == IMPUTE and expected.value is None:
            yield (*path, name), "`impute` needs a value", _GIVE
    yield from _stand_in((*path, "value"), expected, kind)


def _expectations(path: Path, expected: Expected, kind: FeatureType | None) -> Iterator[Found]:
    if expected.range is not None:
        low, high = expected.range
        if kind is not None and kind not in _NUMBERS:
            yield (*path, "range"), f"a {kind.value} has no range", "list its `values`"
        elif low > high:
            yield (*path, "range"), f"no value is from {low:g} to {high:g}", "lowest first"
    elif expected.on_range is not None:
        yield (*path, "onRange"), "there is no `range` a value could be out of", "declare it"
    if expected.values is not None:
        yield from _values((*path, "values"), expected.values, kind)
    elif expected.on_unseen is not None:
        yield (*path, "onUnseen"), "there are no `values` that one could not be of", "declare them"


def _values(path: Path, values: tuple[Any, ...], kind: FeatureType | None) -> Iterator[Found]:
    if kind is FeatureType.BOOLEAN:
        yield path, "a boolean is true or false, and nothing else", "remove it"
        return
    if kind in _FLOATS and any(isinstance(value, float) and value % 1 for value in values):
        yield path, "fractions are seldom equal to the same bit", "declare a `range`"
        return
    for place, value in enumerate(values):
        if isinstance(value, bool) or (kind is not None and not fits(value, kind)):
            of = "text or a number" if kind is None else f"a value of type {kind.value}"
            yield (*path, place), f"is not {of}", ""
        elif value in values[:place]:
            yield (*path, place), f"{value!r} is given twice", ""


def _stand_in(path: Path, expected: Expected, kind: FeatureType | None) -> Iterator[Found]:
    """The value that is imputed must be of its type, and one that is expected."""
    value = expected.value
    if value is None:
        return
    if kind is not None and not fits(value, kind):
        yield path, f"is not a value of type {kind.value}", ""
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if expected.range is not None and number:
        low, high = expected.range
        if not low <= float(value) <= high:
            yield path, "is itself out of the range", "impute a value that is expected"
    if expected.values is not None and value not in expected.values:
        yield path, "is itself not one of the values", "impute a value that is expected"


def fits(value: object, kind: FeatureType) -> bool:
    """Whether a value of the file is one of a feature's type."""
    if kind is FeatureType.STRING:
        return isinstance(value, str)
    if kind is FeatureType.BOOLEAN:
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    most = _WHOLE.get(kind)
    if most is None:
        return kind is FeatureType.DOUBLE or abs(value) <= 3.4e38
    return isinstance(value, int) and -most < value < most


def _takes(expected: Expected | None, own: str) -> bool:
    """Whether a feature takes the block's answer, and has no value for it."""
    return expected is None or (getattr(expected, own) is None and expected.value is None)


def _required(features: Mapping[str, Feature]) -> list[str]:
    return [name for name, feature in features.items() if feature.required]


def _with(quality: Quality, key: str) -> list[str]:
    return [name for name, one in quality.features.items() if getattr(one, key) is not None]


def _falls_back(quality: Quality) -> bool:
    """Whether any answer is `fallback`."""
    named = [quality, *quality.features.values()]
    return any(
        getattr(one, key) == FALLBACK
        for one in named
        for key in type(one).model_fields
        if key.startswith("on_")
    )


def _alone(rule: Rule | None) -> Iterable[str]:
    """Variants a rule may assign that have no other one behind them."""
    if rule is None:
        return ()
    assigned = {*rule.served, *([CHAMPION] if rule.holdout else [])}
    return sorted(name for name in assigned if not set(rule.fallback) - {name})
