"""Whether all features together moved between two stretches of time: a classifier two-sample test.

Features may each look as before and still no longer go together as they did. Offline, since it
trains a classifier: to tell decisions of the one stretch from those of the other.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

PERMUTATIONS: Final = 2_000
_SEED: Final = 7
_AT_ONCE: Final = 50

Floats = npt.NDArray[np.float64]


class Together(msgspec.Struct, frozen=True):
    """What came of it.

    auc: chance that a row of the later stretch looks more like it than one of the earlier; 0.5
        where nobody can tell them apart
    p_value: chance of an AUC as high without any difference, by permutation of units
    before, now: rows; units: that were held back from training, whom the test is about
    features: what gives it away, the most telling first, with the AUC lost without each
    """

    auc: float
    p_value: float
    before: int
    now: int
    units: int
    features: tuple[tuple[str, float], ...]


def told_apart(
    before: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]], units: Sequence[str]
) -> Together:
    """The test on two samples of rows. units: of all rows, those of `before` first

    Half of the units train the classifier, the others are asked; no unit is in both, and labels
    are permuted by unit, so that units that come back are no evidence.
    Source: Lopez-Paz & Oquab (2017), ICLR, section 3 (classifier two-sample tests).
    Errors: ValueError where either sample has fewer than 20 units.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    rows = [*before, *now]
    later = np.repeat([0, 1], [len(before), len(now)])
    names = sorted({name for row in rows for name in row})
    table, categorical = _encoded(rows, names)
    rng = np.random.default_rng(_SEED)
    known, unit_of = np.unique(np.asarray(units), return_inverse=True)
    trains = rng.random(len(known))[unit_of] < 0.5
    for side in (trains & (later == 0), trains & (later == 1), ~trains & (later == 0)):
        if len(np.unique(unit_of[side])) < 10:
            raise ValueError("each stretch needs at least 20 units")
    model = HistGradientBoostingClassifier(
        max_iter=60, categorical_features=categorical, random_state=_SEED
    )
    # Samples are small, and threads that wait for one another cost more than they bring.
    with threadpool_limits(1):
        model.fit(table[trains], later[trains])
    asked, truth, who = table[~trains], later[~trains], unit_of[~trains]
    ranks = _ranks(model.predict_proba(asked)[:, 1])
    auc = _auc(ranks, truth)
    without = tuple(
        (name, auc - _auc(_ranks(model.predict_proba(_shuffled(asked, at, rng))[:, 1]), truth))
        for at, name in enumerate(names)
    )
    return Together(
        auc=auc,
        p_value=_permuted(ranks, truth, who, auc, rng),
        before=len(before),
        now=len(now),
        units=len(np.unique(who)),
        features=tuple(sorted(without, key=lambda one: -one[1])),
    )


def _encoded(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> tuple[Floats, list[bool]]:
    """Numbers as they are, the 200 most frequent texts of a feature as numbers; missing is NaN."""
    columns, categorical = [], []
    for name in names:
        values = [row.get(name) for row in rows]
        text = any(isinstance(value, str) for value in values)
        categorical.append(text)
        if text:
            found, often = np.unique([str(v) for v in values if v is not None], return_counts=True)
            most = found[np.argsort(-often, kind="stable")[:200]]
            places = {value: float(at) for at, value in enumerate(most.tolist())}
            columns.append([np.nan if v is None else places.get(str(v), 200.0) for v in values])
        else:
            columns.append([np.nan if v is None else float(v) for v in values])
    return np.array(columns, np.float64).T, categorical


def _ranks(scores: Floats) -> Floats:
    from scipy.stats import rankdata

    ranks: Floats = rankdata(scores)
    return ranks


def _auc(ranks: Floats, truth: npt.NDArray[np.int_]) -> float:
    positive = int(truth.sum())
    other = len(truth) - positive
    return float((ranks[truth == 1].sum() - positive * (positive + 1) / 2) / (positive * other))


def _permuted(
    ranks: Floats,
    truth: npt.NDArray[np.int_],
    who: npt.NDArray[np.intp],
    auc: float,
    rng: np.random.Generator,
) -> float:
    """Share of permutations with an AUC as high, the observed one among them.

    A unit of both stretches has parts of its own in each, which trade places together.
    """
    groups, group_of = np.unique(who * 2 + truth, return_inverse=True)
    sizes = np.bincount(group_of)
    sums = np.bincount(group_of, ranks)
    is_later = groups % 2 == 1
    higher = 1
    for _ in range(PERMUTATIONS // _AT_ONCE):
        later = rng.permuted(np.tile(is_later, (_AT_ONCE, 1)), axis=1)
        positive = (later @ sizes).astype(np.float64)
        pairs = positive * (len(truth) - positive)
        won = later @ sums - positive * (positive + 1) / 2
        higher += int((won >= (auc - 1e-12) * pairs).sum())
    return higher / (PERMUTATIONS + 1)


def _shuffled(table: Floats, column: int, rng: np.random.Generator) -> Floats:
    other = table.copy()
    other[:, column] = rng.permutation(other[:, column])
    return other
