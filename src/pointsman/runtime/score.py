"""`python -m pointsman.runtime.score`: a prepared version asked about rows that were logged.

Runs in a process of its own with hard limits, because it loads what others made. A `ScoreJob` as
MessagePack comes in on standard input, `Scored` goes out on standard output. Compiled models are
asked by the gateway worker's own code, native ones by the model runner's.
"""

import os
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pointsman.domain import artifact
from pointsman.domain.artifact import ArtifactManifest
from pointsman.domain.decision import Value
from pointsman.domain.errors import PointsmanError
from pointsman.domain.table import Runtime
from pointsman.runtime import row_file
from pointsman.runtime.jobs import GRAPH, Failure, Scored, ScoreJob
from pointsman.runtime.lifeline import die_with_parent
from pointsman.runtime.onnx import OnnxModel
from pointsman.runtime.row_types import row_type
from pointsman.runtime.sandbox import confine

BATCH_ROWS: Final = 1_024
_FIRST_ROWS: Final = 16
_BATCH_S: Final = 0.25
"""Batches grow until one takes this long, so that a slow model ends in time, with what it has."""

_Predict = Callable[[list[list[Value]]], NDArray[np.float64]]


def run(job: ScoreJob) -> Scored:
    """What the version answers, row by row, until all are scored or the time is up.

    Raises PointsmanError where the version does not load, ValueError for a damaged file.
    """
    until = time.monotonic() + job.budget_s
    manifest = artifact.decode(job.manifest)
    predict = _model(manifest, job)
    decoder = msgspec.json.Decoder(row_type(manifest.features, exactly=False))
    places = row_file.Places(Path(job.rows))
    logged, size = places.read(job.numbers), _FIRST_ROWS
    scores: dict[int, NDArray[np.float64]] = {}
    refused: list[int] = []
    why = ""
    while (started := time.monotonic()) < until and (batch := [*islice(logged, size)]):
        rows: dict[int, list[Value]] = {}
        for number, features in batch:
            try:
                rows[number] = [*msgspec.structs.astuple(decoder.decode(features))]
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                refused.append(number)
                why = why or str(error)
        answered, problem = _answers(predict, [*rows.values()], until)
        why = why or problem
        for number, answer in zip(rows, answered, strict=False):
            if answer is None:
                refused.append(number)
            else:
                scores[number] = answer
        quick = time.monotonic() - started < _BATCH_S
        size = min(2 * size, BATCH_ROWS) if quick else max(size // 2, _FIRST_ROWS)
    return Scored(
        numbers=tuple(scores),
        columns=len(manifest.classes),
        values=b"".join(answer.tobytes() for answer in scores.values()),
        refused=tuple(refused),
        absent=tuple(number for number in job.numbers if number not in places),
        why=why[:300],
    )


def _answers(
    predict: _Predict, rows: list[list[Value]], until: float
) -> tuple[list[NDArray[np.float64] | None], str]:
    """An answer a row, None where the version cannot take it; shorter where the time is up.

    A batch that fails is halved until the rows at fault stand alone, so that one of them costs the
    others nothing. The second is what was wrong first.
    """
    if not rows or time.monotonic() >= until:
        return [], ""
    try:
        return [*predict(rows)], ""
    except Exception as error:  # noqa: BLE001 - the model's own code runs here
        said = error.message if isinstance(error, PointsmanError) else str(error)
        if len(rows) == 1:
            return [None], said or type(error).__name__
    half = len(rows) // 2
    first, problem = _answers(predict, rows[:half], until)
    if len(first) < half:
        return first, problem
    second, other = _answers(predict, rows[half:], until)
    return first + second, problem or other


def _model(manifest: ArtifactManifest, job: ScoreJob) -> _Predict:
    directory = Path(job.directory)
    if manifest.runtime is Runtime.ONNX:
        model = OnnxModel(manifest, (directory / GRAPH).read_bytes(), manifest.features)
        model.warm()
        return model.score
    from pointsman.runtime.frames import Load
    from pointsman.runtime.model_process import open_model

    return open_model(Load(job.manifest, job.directory, job.memory_bytes))[0]


def main() -> None:
    die_with_parent()
    # Standard output is for the result alone: a model may print while it loads.
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        job = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=ScoreJob)
        confine(job.memory_bytes, job.cpu_s, job.file_bytes)
        try:
            result = run(job)
        except PointsmanError as error:
            result = Scored(failure=Failure.of(error))
        out.write(msgspec.msgpack.encode(result))
        out.flush()
    # Not sys.exit: libraries of the model may hang in their own clean-up.
    os._exit(0)


if __name__ == "__main__":
    main()
