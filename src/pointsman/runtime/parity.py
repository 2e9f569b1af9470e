"""The proof that a compiled model answers as the original: rows to ask both about, and the verdict.

Real rows come first (the input example logged with the model). The rest is drawn, with a fixed
seed, from what the fitted model itself knows: its categories, the centres and spreads of its
scalers, the thresholds of its trees (values exactly on a threshold and right beside it), plus
missing and unknown values wherever the model takes them.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pointsman.domain.artifact import ArtifactInput, Parity
from pointsman.domain.decision import Value
from pointsman.domain.table import Feature, FeatureType

ROWS: Final = 1_024
PROBES: Final = 16
MAX_REAL_ROWS: Final = 5_000
_MAX_EXAMPLE_BYTES: Final = 32 << 20
_SEED: Final = 20_240_229
_INTEGERS: Final = (FeatureType.LONG, FeatureType.INTEGER)
_LIMITS: Final = {FeatureType.LONG: 2**53 - 1, FeatureType.INTEGER: 2**31 - 1}


class Hint(msgspec.Struct, frozen=True):
    """What is known of one feature's values.

    values: seen in examples, or categories
    center, spread: of a scaler, None where there is none
    edges: thresholds of trees on the raw value
    unknown: a value outside of `values` may be drawn
    """

    values: tuple[Value, ...] = ()
    center: float | None = None
    spread: float = 1.0
    edges: tuple[float, ...] = ()
    unknown: bool = False


def examples(path: Path | None, features: Sequence[Feature]) -> list[list[Value]]:
    """Rows of the logged input example, in the order of `features`; none where they do not fit."""
    if path is None or not path.is_file() or path.stat().st_size > _MAX_EXAMPLE_BYTES:
        return []
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        names = [str(name) for name in document["columns"]]
        places = [names.index(feature.name) for feature in features]
        rows = document["data"][:MAX_REAL_ROWS]
        found = [[_value(row[p], f) for p, f in zip(places, features, strict=True)] for row in rows]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return []
    return [
        row
        for row in found
        if all(v is not None or not f.required for v, f in zip(row, features, strict=True))
    ]


def _value(value: Any, feature: Feature) -> Value:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    match feature.type:
        case FeatureType.STRING:
            return str(value)
        case FeatureType.BOOLEAN:
            return bool(value)
        case FeatureType.LONG | FeatureType.INTEGER:
            return int(value)
        case FeatureType.FLOAT:
            return float(np.float32(value))
        case FeatureType.DOUBLE:
            return float(value)


def hints(
    features: Sequence[Feature], real: Sequence[Sequence[Value]], source: ArtifactInput | None
) -> dict[str, Hint]:
    """What examples and encoders say about each feature."""
    known: dict[str, Hint] = {}
    for i, feature in enumerate(features):
        seen = tuple(dict.fromkeys(row[i] for row in real if row[i] is not None))
        known[feature.name] = Hint(values=seen, unknown=feature.type is FeatureType.STRING)
    for encoding in source.encodings if source else ():
        values = tuple(cell.value for cell in encoding.known if cell.value is not None)
        known[encoding.column] = Hint(values=values, unknown=encoding.other is not None)
    return known


def draw(features: Sequence[Feature], known: dict[str, Hint], count: int) -> list[list[Value]]:
    """`count` rows, the same ones each time."""
    dice = np.random.default_rng(_SEED)
    columns = [_column(f, known.get(f.name, Hint()), count, dice) for f in features]
    return [list(row) for row in zip(*columns, strict=True)]


def _column(feature: Feature, hint: Hint, count: int, dice: np.random.Generator) -> list[Value]:
    match feature.type:
        case FeatureType.BOOLEAN:
            values: list[Value] = [bool(b) for b in dice.integers(0, 2, count)]
        case FeatureType.STRING:
            words = [*hint.values] or ["a", "b", "c", ""]
            values = [words[i] for i in dice.integers(0, len(words), count)]
            if hint.unknown:
                for i in np.flatnonzero(dice.random(count) < 0.03):
                    values[i] = f"unseen-{dice.integers(1000)}"
        case _:
            values = _numbers(feature, hint, count, dice)
    if not feature.required:
        for i in np.flatnonzero(dice.random(count) < 0.05):
            values[i] = None
    return values


def _numbers(feature: Feature, hint: Hint, count: int, dice: np.random.Generator) -> list[Value]:
    if not hint.unknown and hint.values and hint.center is None and not hint.edges:
        # Categories that happen to be numbers, or nothing known beyond the examples.
        pool = np.array([float(v) for v in hint.values if v is not None])
        numbers = dice.choice(pool, count)
        if not _categories(feature, hint):
            numbers = numbers + dice.normal(0, pool.std() or 1.0, count) * (
                dice.random(count) < 0.5
            )
    else:
        center = 0.0 if hint.center is None else hint.center
        numbers = center + hint.spread * dice.standard_t(4, count)
        if hint.center is None:
            wide = dice.random(count) < 0.3
            numbers[wide] *= 10.0 ** dice.integers(-3, 6, int(wide.sum()))
        if hint.values:
            pool = np.array([float(v) for v in hint.values if v is not None])
            some = dice.random(count) < 0.3
            numbers[some] = dice.choice(pool, int(some.sum()))
    if hint.edges:
        some = dice.random(count) < 0.6
        at = dice.choice(np.array(hint.edges), int(some.sum()))
        steps = dice.integers(-2, 3, len(at))
        numbers[some] = at + steps * np.spacing(at.astype(np.float32)).astype(np.float64)
    if feature.type in _INTEGERS:
        limit = _LIMITS[feature.type]
        return [int(min(max(round(x), -limit), limit)) for x in numbers.tolist()]
    if feature.type is FeatureType.FLOAT:
        numbers = numbers.astype(np.float32)
    return [float(x) for x in numbers.tolist()]


def _categories(feature: Feature, hint: Hint) -> bool:
    return feature.type in _INTEGERS and len(hint.values) < 64


def compare(
    original: NDArray[np.float64],
    compiled: NDArray[np.float64],
    real_rows: int,
    tolerance: float,
) -> Parity:
    """The verdict on two sets of probabilities of the same rows, [n, K] each.

    Another likeliest class fails the proof at any difference, but for rows whose two highest
    probabilities tie in the original, within the tolerance: there, rounding may decide.
    """
    difference = np.abs(original - compiled)
    per_row = np.where(np.isnan(difference), np.inf, difference).max(axis=1)
    highest = np.sort(original, axis=1)[:, -2:]
    tied = highest[:, 1] - highest[:, 0] <= tolerance
    changes = (original.argmax(axis=1) != compiled.argmax(axis=1)) & ~tied
    worst = float(per_row.max())
    return Parity(
        rows=len(original),
        real_rows=real_rows,
        max_difference=worst if math.isfinite(worst) else 1.0,
        class_changes=int(changes.sum()),
        tolerance=tolerance,
        passed=bool(worst <= tolerance and not changes.any()),
    )


def spread_out(count: int) -> list[int]:
    """Which rows of `count` become golden rows: the first (real ones) and some from all over."""
    picked = [*range(min(count, PROBES // 2))]
    picked += [int(i) for i in np.linspace(0, count - 1, PROBES // 2)]
    return sorted(set(picked))
