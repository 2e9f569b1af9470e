"""What a fitted pipeline knows about its inputs: centres and spreads of scalers, edges of trees.

Read for the parity proof, so that the rows it draws land where the model makes its distinctions.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from pointsman.runtime.compiling import Plan
from pointsman.runtime.parity import Hint

MAX_EDGES: Final = 200


def add_facts(known: dict[str, Hint], made: Plan) -> dict[str, Hint]:
    """The hints, completed for every number of which the pipeline says more."""
    result = dict(known)
    names = [feature.name for feature in made.features]
    shift: dict[int, tuple[str, float, float]] = {}  # cell -> feature, mean, scale
    start = 0
    for block in made.blocks:
        if not block.encodings:
            scaler = (*block.steps, *made.steps, None)[0]
            centers, spreads = _scaling(scaler, len(block.columns))
            plain = block.steps == () or type(scaler).__name__ == "StandardScaler"
            for i, column in enumerate(block.columns):
                name = names[column]
                before = result.get(name, Hint())
                result[name] = Hint(
                    before.values, centers[i], spreads[i], before.edges, before.unknown
                )
                if plain and not made.steps:
                    scaled = block.steps != ()
                    shift[start + i] = (
                        name,
                        (centers[i] or 0.0) if scaled else 0.0,
                        spreads[i] if scaled else 1.0,
                    )
        start += block.cells
    for name, edges in _edges(made.final, shift).items():
        before = result[name]
        result[name] = Hint(before.values, before.center, before.spread, edges, before.unknown)
    return result


def _scaling(scaler: Any, columns: int) -> tuple[list[float | None], list[float]]:
    """Centre and spread of each column, where this is a scaler of as many columns."""
    center: Any = None
    spread: Any = None
    match type(scaler).__name__:
        case "StandardScaler":
            center, spread = scaler.mean_, scaler.scale_
        case "RobustScaler":
            center, spread = scaler.center_, scaler.scale_
        case "MinMaxScaler":
            center = (scaler.data_min_ + scaler.data_max_) / 2
            spread = scaler.data_range_ / 2
    centers: list[float | None] = [None] * columns
    spreads = [1.0] * columns
    if center is not None and len(center) == columns:
        centers = [float(c) for c in center]
    if spread is not None and len(spread) == columns:
        spreads = [float(s) or 1.0 for s in spread]
    return centers, spreads


def _edges(final: Any, shift: dict[int, tuple[str, float, float]]) -> dict[str, tuple[float, ...]]:
    found: dict[str, set[float]] = {}
    for cell, threshold in _splits(final):
        if cell in shift and np.isfinite(threshold):
            name, mean, scale = shift[cell]
            edges = found.setdefault(name, set())
            if len(edges) < MAX_EDGES:
                edges.add(threshold * scale + mean)
    return {name: tuple(sorted(edges)) for name, edges in found.items()}


def _splits(final: Any) -> Iterator[tuple[int, float]]:
    """(cell, threshold) of the trees' inner nodes; nothing for models that are not trees."""
    trees = getattr(final, "estimators_", [final] if hasattr(final, "tree_") else [])
    for tree in np.ravel(np.asarray(trees, dtype=object)):
        inner = getattr(tree, "tree_", None)
        if inner is not None:
            split = inner.feature >= 0
            yield from zip(
                inner.feature[split].tolist(), inner.threshold[split].tolist(), strict=True
            )
    if type(final).__name__ == "XGBClassifier":
        names = final.get_booster().feature_names or []
        table = final.get_booster().trees_to_dataframe()
        table = table[table["Feature"] != "Leaf"]
        for feature, threshold in zip(table["Feature"], table["Split"], strict=True):
            cell = names.index(feature) if feature in names else int(str(feature).lstrip("f"))
            yield cell, float(threshold)
    if type(final).__name__ == "LGBMClassifier":
        names = final.booster_.feature_name()
        table = final.booster_.trees_to_dataframe()
        table = table[table["decision_type"] == "<="]
        for feature, threshold in zip(table["split_feature"], table["threshold"], strict=True):
            yield names.index(feature), float(threshold)
