"""Asks the original and its compiled candidates the same questions, and picks who may serve."""

from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from pointsman.domain.artifact import ArtifactManifest, Parity
from pointsman.domain.decision import Value
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import Feature, Runtime
from pointsman.runtime.checks import SUM_TOLERANCE
from pointsman.runtime.compiling import Candidate, Plan, UnsupportedError, attempts
from pointsman.runtime.onnx import OnnxModel
from pointsman.runtime.parity import ROWS, Hint, compare, draw

Rows = list[list[Value]]
_MIN_DRAWN = 200


class Evidence(msgspec.Struct, frozen=True):
    """What the original answered. answers: [n, K] in its own class order; real rows come first."""

    rows: Rows
    answers: NDArray[np.float64]
    real_rows: int


class Judged(msgspec.Struct, frozen=True):
    """A compiled candidate and what the comparison said about it."""

    candidate: Candidate
    parity: Parity


def gather(
    predict: Callable[[Rows], NDArray[np.float64]],
    features: tuple[Feature, ...],
    known: dict[str, Hint],
    real: Rows,
) -> Evidence:
    """At least 1,000 rows with the original's answers, unless it takes none but the real ones.

    Models may refuse unknown categories or missing values whatever their signature says, so drawn
    rows get tamer until the model takes them.
    Raises PointsmanError(INVALID) where it takes no rows or returns no probabilities.
    """
    tame = {name: msgspec.structs.replace(h, unknown=False) for name, h in known.items()}
    filled = tuple(msgspec.structs.replace(f, required=True) for f in features)
    count = max(ROWS - len(real), _MIN_DRAWN)
    problem: Exception = ValueError("there are no rows to ask it about")
    for shape, hints, drawn in (
        (features, known, count),
        (features, tame, count),
        (filled, tame, count),
        (filled, tame, 0),
    ):
        rows = [*real, *draw(shape, hints, drawn)]
        if not rows:
            continue
        try:
            answers = predict(rows)
        except PointsmanError:
            raise
        except Exception as error:  # noqa: BLE001 - the model's own code runs here
            problem = error
            continue
        if not (np.abs(answers.sum(axis=1) - 1) <= SUM_TOLERANCE).all():
            raise PointsmanError(
                Kind.INVALID,
                "the model returns numbers that are not probabilities (they do not add up to 1)",
                hint="log a model that returns one probability for each class",
            )
        return Evidence(rows, answers, len(real))
    raise PointsmanError(
        Kind.INVALID,
        "the model fails on rows of its own signature: "
        f"{type(problem).__name__}: {str(problem)[:300]}",
        hint="log it with an input example it accepts, or correct its signature",
    )


def best(native: ArtifactManifest, made: Plan, evidence: Evidence, tolerance: float) -> Judged:
    """The first candidate that passes, else the one that came closest.

    Raises UnsupportedError where there is none to compare.
    """
    judged: list[Judged] = []
    reasons: list[str] = []
    expected = evidence.answers[:, list(native.order)]
    for attempt in attempts(made):
        try:
            made_graph = attempt()
            scores = _scores(native, made_graph, evidence.rows)
        except UnsupportedError as error:
            reasons.append(str(error))
            continue
        parity = compare(expected, scores, evidence.real_rows, tolerance)
        judged.append(Judged(made_graph, parity))
        if parity.passed:
            break
    if not judged:
        raise UnsupportedError(reasons[0])
    return min(judged, key=lambda j: (not j.parity.passed, j.parity.max_difference))


def _scores(native: ArtifactManifest, made: Candidate, rows: Rows) -> NDArray[np.float64]:
    manifest = msgspec.structs.replace(
        native, runtime=Runtime.ONNX, inputs=(made.source,), probabilities=made.output
    )
    try:
        return OnnxModel(manifest, made.graph, native.features).score(rows)
    except PointsmanError as error:
        raise UnsupportedError(f"the compiled form {error.message}") from None


def said(parity: Parity) -> str:
    """The comparison in words, for the status."""
    rows = f"{parity.rows:,} rows ({parity.real_rows:,} of them real)"
    if parity.passed:
        return f"{rows} agree with the original within {parity.max_difference:.1g}"
    if parity.max_difference <= parity.tolerance:
        return (
            f"agrees with the original within {parity.max_difference:.1g} on {rows}, but "
            f"{parity.class_changes:,} get another class"
        )
    return (
        f"differs from the original by up to {parity.max_difference:.2g}, more than "
        f"{parity.tolerance:.0e}, on {rows}; {parity.class_changes:,} get another class"
    )
