"""`python -m pointsman.runtime.model_process FD`: one native model in a process of its own.

Started by the model runner, which speaks to it over the socket it inherits. Whatever the model does
here (crash, hang, eat memory, print), it does to this process alone.
"""

import os
import resource
import socket
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from pointsman.domain import artifact
from pointsman.domain.artifact import ArtifactManifest
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.runtime import frames
from pointsman.runtime.checks import PROBE_TOLERANCE, checked
from pointsman.runtime.formats import describe
from pointsman.runtime.frames import Answers, Batch, Failed, Load, Ready, Rows, Scores
from pointsman.runtime.lifeline import die_with_parent
from pointsman.runtime.loading import load
from pointsman.runtime.rows import picker

Predict = Callable[[Rows], NDArray[np.float64]]


def open_model(request: Load) -> tuple[Predict, ArtifactManifest]:
    """The model behind its manifest: rows in the manifest's features in, project classes out.

    Raises PointsmanError where it does not load or misses its golden rows.
    """
    manifest = artifact.decode(request.manifest)
    directory = Path(request.directory)
    description = describe(directory, {})
    original = load(directory, description, trusted=manifest.needs_code)
    pick = picker([f.name for f in manifest.model_features], manifest.features)
    order = list(manifest.order)
    classes = len(manifest.classes)

    def predict(rows: Rows) -> NDArray[np.float64]:
        scores = original.predict([pick(row) for row in rows], manifest.model_features)
        if scores.shape[1] != classes:
            raise PointsmanError(
                Kind.BACKEND_FAILED,
                f"{manifest.source} returned {scores.shape[1]} probabilities for {classes} classes",
            )
        return checked(scores[:, order], len(rows), classes, manifest.source)

    if manifest.probe_rows:
        names = [feature.name for feature in manifest.features]
        scores = predict([[probe.get(name) for name in names] for probe in manifest.probe_rows])
        worst = float(np.abs(scores - np.array(manifest.probe_probabilities)).max())
        if not worst <= PROBE_TOLERANCE:
            raise PointsmanError(
                Kind.BACKEND_FAILED,
                f"{manifest.source} misses its golden rows by {worst:.2g}",
                hint="libraries here may differ from those it was prepared with; prepare it again",
            )
    return predict, manifest


def answer(predict: Predict, batch: Batch, source: str) -> Answers:
    """All parts as one call of the model; one by one where that fails."""
    try:
        parts = [frames.rows_decoder.decode(part) for part in batch.parts]
    except msgspec.MsgspecError as error:
        failed = Failed(0, Kind.INVALID, f"rows are malformed: {error}")
        return Answers([failed] * len(batch.parts))
    try:
        scores = predict([row for part in parts for row in part])
    except Exception as error:  # noqa: BLE001 - the model's own code runs here
        if len(parts) == 1:
            return Answers([_failed(error, source)])
        return Answers([answer(predict, Batch([part]), source).parts[0] for part in batch.parts])
    found: list[Scores | Failed] = []
    start = 0
    for part in parts:
        mine = np.ascontiguousarray(scores[start : start + len(part)])
        found.append(Scores(0, len(part), scores.shape[1], mine.tobytes()))
        start += len(part)
    return Answers(found)


def _failed(error: Exception, source: str) -> Failed:
    if isinstance(error, PointsmanError):
        return Failed.of(0, error)
    message = f"{source} failed: {type(error).__name__}: {str(error)[:300]}"
    return Failed(0, Kind.BACKEND_FAILED, message)


def _serve(connection: socket.socket) -> None:
    unframer = frames.Unframer()
    predict: Predict | None = None
    source = ""
    while data := connection.recv(1 << 18):
        for body in unframer.feed(data):
            message = frames.to_model.decode(body)
            reply: Ready | Failed | Answers
            if isinstance(message, Load):
                resource.setrlimit(resource.RLIMIT_AS, (message.memory_bytes,) * 2)
                try:
                    predict, manifest = open_model(message)
                    source = manifest.source
                    reply = Ready(0, manifest.features)
                except Exception as error:  # noqa: BLE001 - the model's own code runs here
                    reply = _failed(error, "the model")
            elif predict is None:
                raise RuntimeError("a batch came before the model")
            else:
                reply = answer(predict, message, source)
            connection.sendall(frames.frame(reply))


def main() -> None:
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        _serve(connection)
    os._exit(0)


if __name__ == "__main__":
    main()
