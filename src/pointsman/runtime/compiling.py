"""Trained models to ONNX graphs: one tensor in, probabilities out.

The first step of a pipeline usually sends columns to scalers and encoders. Categories are looked
up before the graph (`domain.artifact.Encoding`), because a dictionary look-up costs 60 ns and a
string tensor several microseconds. What each encoder does is not reimplemented: the fitted encoder
is asked about each of its categories, about a missing value and about an unknown one, and the
answers become the table. Then come float64 preprocessing, a cast to float32, and trees, as in
scikit-learn itself. Whatever goes wrong here, the parity proof decides.
"""

import copy
import textwrap
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pointsman.domain.artifact import ArtifactInput, Cell, Encoding
from pointsman.domain.table import Feature, FeatureType
from pointsman.runtime.loading import frame

INPUT: Final = "x"
MAX_CATEGORIES: Final = 50_000
_OPSETS: Final = {"": 21, "ai.onnx.ml": 3}
_ODD: Final = "\x01 a value no encoder has seen \x01"


class UnsupportedError(Exception):
    """Why a model cannot be compiled, as a sentence without its full stop."""


class Candidate(msgspec.Struct, frozen=True):
    """A graph that may turn out to be the model. how: what was done, for the status."""

    graph: bytes
    source: ArtifactInput
    output: str
    how: str


class Block(msgspec.Struct, frozen=True):
    """A group of columns and what the fitted pipeline does to them first.

    steps: transformers still to be converted; empty for columns that pass through
    cells: width of the block in the input tensor
    center, spread: of numbers, where a scaler tells them
    """

    name: str
    columns: tuple[int, ...]
    steps: tuple[Any, ...]
    cells: int
    fills: tuple[float | None, ...] = ()
    encodings: tuple[Encoding, ...] = ()
    weight: float = 1.0


class Plan(msgspec.Struct, frozen=True):
    """The pipeline, taken apart: blocks side by side, then steps one after another, then trees.

    merge: there was a column transformer, so blocks are put side by side
    """

    blocks: tuple[Block, ...]
    steps: tuple[Any, ...]
    final: Any
    features: tuple[Feature, ...]


def plan(estimator: Any, features: Sequence[Feature]) -> Plan:
    """The pipeline taken apart. Raises UnsupportedError."""
    steps = _flat(_unwrapped(estimator))
    final = _unwrapped(steps.pop())
    names = [feature.name for feature in features]
    blocks: list[Block] = []
    position = 0
    if steps and type(steps[0]).__name__ == "ColumnTransformer":
        first = steps.pop(0)
        weights = first.transformer_weights or {}
        parts = [
            (name, transformer, _columns(first, name, columns, names), weights.get(name, 1.0))
            for name, transformer, columns in first.transformers_
            if not (isinstance(transformer, str) and transformer == "drop")
        ]
    else:
        head = []
        if steps and (_encoder(steps[0]) or _is(steps[0], "SimpleImputer")):
            head = [steps.pop(0)]
        parts = [("all", head[0] if head else None, list(range(len(names))), 1.0)]
    for name, transformer, columns, weight in parts:
        if columns:
            block = _block(name, transformer, columns, features, position)
            block = msgspec.structs.replace(block, weight=float(weight))
            blocks.append(block)
            position += block.cells
    return Plan(tuple(blocks), tuple(steps), final, tuple(features))


def attempts(made: Plan) -> list[Callable[[], Candidate]]:
    """Ways to make a graph, the likeliest first; each raises UnsupportedError where it fails."""
    source = input_of(made)
    before = _before(made, source.width)
    as_doubles = partial(_convert, [*before, made.final], source, "float64")
    if not _is_trees(made.final):
        singly = [*before, _cast(), made.final]
        return [as_doubles, partial(_convert, singly, source, "float64 columns, float32 model")]
    if type(made.final).__name__ == "LGBMClassifier":
        return [as_doubles]  # it compares in float64
    if not before:
        # The same cast, done where the tensor is filled.
        single = msgspec.structs.replace(source, dtype="float32")
        return [partial(_convert, [made.final], single, "trees in float32")]
    cast = [*before, _cast(), made.final]
    return [partial(_convert, cast, source, "float64 columns, float32 trees"), as_doubles]


def _unwrapped(estimator: Any) -> Any:
    while hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    return estimator


def _flat(estimator: Any) -> list[Any]:
    """The steps of a pipeline and of pipelines inside of it; steps that do nothing left out."""
    if not _is(estimator, "Pipeline"):
        return [estimator]
    return [
        inner
        for _, step in estimator.steps
        if step is not None and not (isinstance(step, str) and step == "passthrough")
        for inner in _flat(step)
        if not _passes(inner)
    ]


def _is(thing: Any, name: str) -> bool:
    return type(thing).__name__ == name


def _passes(step: Any) -> bool:
    """Whether it hands on what it gets. scikit-learn turns "passthrough" into such a function."""
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return True
    return _is(step, "FunctionTransformer") and step.func is None


def _is_trees(final: Any) -> bool:
    return type(final).__name__ in {
        "DecisionTreeClassifier",
        "ExtraTreeClassifier",
        "ExtraTreesClassifier",
        "RandomForestClassifier",
        "GradientBoostingClassifier",
        "XGBClassifier",
        "LGBMClassifier",
        "Booster",
    }


def _columns(transformer: Any, name: str, columns: Any, names: list[str]) -> list[int]:
    """Positions, in `names`, of the columns a part of a column transformer takes."""
    known = [str(n) for n in getattr(transformer, "feature_names_in_", names)]
    indices = getattr(transformer, "_transformer_to_input_indices", {}).get(name)
    if indices is None:
        if isinstance(columns, str):
            columns = [columns]
        indices = [known.index(c) if isinstance(c, str) else int(c) for c in columns]
    try:
        return [names.index(known[int(i)]) for i in indices]
    except (ValueError, IndexError):
        raise UnsupportedError(
            f"its column transformer reads columns of {name!r} that its signature lacks"
        ) from None


def _encoder(transformer: Any) -> Any:
    """The step that knows the categories, or None."""
    for step in _flat(transformer) if transformer is not None else ():
        if type(step).__name__ in {"OneHotEncoder", "OrdinalEncoder", "TargetEncoder"}:
            return step
    return None


def _block(
    name: str, transformer: Any, columns: list[int], features: Sequence[Feature], position: int
) -> Block:
    mine = [features[i] for i in columns]
    if not isinstance(transformer, str) and _encoder(transformer) is not None:
        encodings, width = _tabulated(transformer, mine, position)
        return Block(name, tuple(columns), (), width, (), encodings)
    for feature in mine:
        if feature.type is FeatureType.STRING:
            raise UnsupportedError(
                f"feature {feature.name} is text and goes into "
                f"{type(transformer).__name__ if transformer is not None else 'the model'}, "
                "for which there is no compiled form"
            )
    steps = [] if _passes(transformer) else [s for s in _flat(transformer) if not _passes(s)]
    fills: tuple[float | None, ...] = ()
    if steps and _is(steps[0], "SimpleImputer"):
        fills = _imputed(steps.pop(0))
    return Block(name, tuple(columns), tuple(steps), len(columns), fills)


def _imputed(imputer: Any) -> tuple[float | None, ...]:
    values = np.asarray(imputer.statistics_, dtype=np.float64)
    plain = isinstance(imputer.missing_values, float) and np.isnan(imputer.missing_values)
    if imputer.add_indicator or not plain or np.isnan(values).any():
        raise UnsupportedError("its imputer does more than fill in a number for each column")
    return tuple(values.tolist())


def _tabulated(
    transformer: Any, features: list[Feature], position: int
) -> tuple[tuple[Encoding, ...], int]:
    """What the fitted transformer makes of each category of each column, asked one by one."""
    categories = [_values(c) for c in _encoder(transformer).categories_]
    if len(categories) != len(features) or sum(map(len, categories)) > MAX_CATEGORIES:
        raise UnsupportedError("its encoder has too many categories, or columns made on the way")
    base = [values[0] if values else None for values in categories]

    def ask(column: int, values: list[Any]) -> NDArray[np.float64]:
        rows = [[*base[:column], value, *base[column + 1 :]] for value in values]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = transformer.transform(frame(rows, features))
        answer = answer.toarray() if hasattr(answer, "toarray") else answer
        return np.asarray(answer, dtype=np.float64)

    width = ask(0, [base[0]]).shape[1]
    taken = np.zeros(width, dtype=bool)
    encodings = []
    for i, feature in enumerate(features):
        known = [value for value in categories[i] if value is not None]
        answers = ask(i, known) if known else np.zeros((0, width))
        missing, odd = _one(ask, i, None), _one(ask, i, _odd(feature, known))
        all_rows = np.concatenate([answers, *(row for row in (missing, odd) if row is not None)])
        differs = ~((all_rows == all_rows[:1]) | (np.isnan(all_rows) & np.isnan(all_rows[:1])))
        mine = differs.any(axis=0)
        if (taken & mine).any():
            raise UnsupportedError("its encoder mixes columns")
        taken |= mine
        cells = [_cell(v, row, mine, position) for v, row in zip(known, answers, strict=True)]
        if missing is not None:
            cells.append(_cell(None, missing[0], mine, position))
        other = None if odd is None else _cell(None, odd[0], mine, position)
        encodings.append(Encoding(feature.name, tuple(cells), other))
    constant = ask(0, [base[0]])[0][~taken]
    if constant.any():
        raise UnsupportedError("its encoder sets a column that depends on nothing")
    return tuple(encodings), width


def _one(ask: Any, column: int, value: Any) -> NDArray[np.float64] | None:
    """The answer for one value, None where the transformer refuses it."""
    try:
        answer: NDArray[np.float64] = ask(column, [value])
    except (ValueError, TypeError, KeyError):
        return None
    return answer


def _values(categories: Any) -> list[Any]:
    """Categories as Python values; NaN, which stands for missing, as None."""
    values = [c.item() if hasattr(c, "item") else c for c in categories]
    return [None if isinstance(v, float) and np.isnan(v) else v for v in values]


def _odd(feature: Feature, known: list[Any]) -> Any:
    """A value that is none of the known ones."""
    if feature.type is FeatureType.STRING:
        return _ODD
    if feature.type is FeatureType.BOOLEAN:
        return next((b for b in (False, True) if b not in known), None)
    return max([int(v) for v in known if v is not None], default=0) + 1


def _cell(value: Any, row: NDArray[np.float64], mine: NDArray[np.bool_], start: int) -> Cell:
    set_cells = np.flatnonzero((row != 0) & mine)
    if len(set_cells) > 1:
        raise UnsupportedError("its encoder sets several columns for one category")
    if len(set_cells) == 0:
        first = int(np.flatnonzero(mine)[0]) if mine.any() else 0
        return Cell(value, start + first, 0.0)
    weight = float(row[set_cells[0]])
    return Cell(value, start + int(set_cells[0]), None if np.isnan(weight) else weight)


def input_of(made: Plan) -> ArtifactInput:
    """The tensor the blocks make up, and how rows fill it."""
    columns: list[str] = []
    positions: list[int] = []
    fills: list[float | None] = []
    encodings: list[Encoding] = []
    start = 0
    for block in made.blocks:
        if block.encodings:
            encodings += block.encodings
        else:
            columns += [made.features[i].name for i in block.columns]
            positions += range(start, start + block.cells)
            fills += block.fills or [None] * len(block.columns)
        start += block.cells
    return ArtifactInput(
        name=INPUT,
        dtype="float64",
        columns=tuple(columns),
        positions=tuple(positions),
        fills=tuple(fills) if any(f is not None for f in fills) else (),
        encodings=tuple(encodings),
        width=start,
    )


def _before(made: Plan, width: int) -> list[Any]:
    """Steps in front of the final estimator, blocks as one step."""
    blocks = made.blocks
    if all(b.weight == 1.0 and _scales(b.steps) for b in blocks):
        if any(b.steps for b in blocks):
            return [_scaler(blocks, width), *made.steps]
        return list(made.steps)
    return [_side_by_side(blocks), *made.steps]


def _scales(steps: tuple[Any, ...]) -> bool:
    return not steps or (len(steps) == 1 and _is(steps[0], "StandardScaler"))


def _scaler(blocks: Sequence[Block], width: int) -> Any:
    """One scaler over the whole tensor: cells that are not scaled get mean 0 and scale 1.

    It computes the same numbers as the separate ones and needs no taking apart of the tensor.
    """
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    scaler.mean_, scaler.scale_ = np.zeros(width), np.ones(width)
    start = 0
    for block in blocks:
        for step in block.steps:
            place = slice(start, start + block.cells)
            if step.with_mean and step.mean_ is not None:
                scaler.mean_[place] = step.mean_
            if step.with_std and step.scale_ is not None:
                scaler.scale_[place] = step.scale_
        start += block.cells
    scaler.var_, scaler.n_features_in_, scaler.n_samples_seen_ = scaler.scale_**2, width, 1
    return scaler


def _side_by_side(blocks: Sequence[Block]) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    parts: list[tuple[str, Any, list[int]]] = []
    start = 0
    for i, block in enumerate(blocks):
        steps = [(f"s{j}", step) for j, step in enumerate(block.steps)]
        step = "passthrough" if not steps else steps[0][1] if len(steps) == 1 else Pipeline(steps)
        parts.append((f"b{i}", step, list(range(start, start + block.cells))))
        start += block.cells
    merged = ColumnTransformer(parts)
    merged.transformers_ = parts
    merged.transformer_weights = {f"b{i}": b.weight for i, b in enumerate(blocks) if b.weight != 1}
    merged.sparse_output_ = False
    merged.n_features_in_ = start
    return merged


def _cast() -> Any:
    from skl2onnx.sklapi import CastTransformer

    return CastTransformer(dtype=np.float32)


def _convert(steps: list[Any], source: ArtifactInput, how: str) -> Candidate:
    from pointsman.runtime.converters import to_graph

    steps = [*steps[:-1], copy.deepcopy(steps[-1])]
    try:
        graph, output = to_graph(
            steps, source.width, single=source.dtype == "float32", opsets=_OPSETS
        )
    except UnsupportedError:
        raise
    except Exception as error:  # noqa: BLE001 - converters raise whatever they like
        what = textwrap.shorten(f"{type(error).__name__}: {error}", 300, placeholder=" [cut]")
        raise UnsupportedError(
            f"the converter failed on {type(steps[-1]).__name__} ({what})"
        ) from None
    return Candidate(graph, source, output, how)
