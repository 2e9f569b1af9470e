"""Asking a prepared version about logged rows, as the controller sees it: a call that never loads
the model. The work is `pointsman.runtime.score`'s, in a process of its own.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from pointsman.domain.artifact import ArtifactManifest
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import Runtime
from pointsman.runtime import sandbox
from pointsman.runtime.blobs import BlobStore
from pointsman.runtime.checks import checked
from pointsman.runtime.jobs import GRAPH, Scored, ScoreJob
from pointsman.runtime.preparation import load_manifest
from pointsman.runtime.sandbox import Errand

_ROW_BYTES: Final = 16
"""Of the result, besides the probabilities: a number in MessagePack."""
_MARGIN_BYTES: Final = 64 << 10
_OWN_FILES_BYTES: Final = 256 << 20
"""What libraries may write to a file of their own."""


class Limits(msgspec.Struct, frozen=True):
    """How much asking one version may take.

    memory_bytes: address space of its process
    budget_s: after which no further row is begun: what is scored by then is kept
    timeout_s: after which the process is killed
    """

    memory_bytes: int = 8 << 30
    budget_s: float = 20.0
    timeout_s: float = 30.0


DEFAULT_LIMITS: Final = Limits()


class Scores(msgspec.Struct, frozen=True):
    """By number of the row: the probabilities in class order.

    refused: rows the version cannot take, and why, of the first; absent: rows the file does not
    have. What is in none of the three was not reached in time.
    """

    answers: dict[int, tuple[float, ...]]
    refused: frozenset[int]
    absent: frozenset[int]
    why: str


def score(
    digest: str,
    rows: Path,
    numbers: Sequence[int],
    blobs: BlobStore,
    limits: Limits = DEFAULT_LIMITS,
) -> Scores:
    """What the artifact answers to rows of a `row_file`, in the order of `numbers`. Blocking, for
    seconds.

    Raises PointsmanError: UNAVAILABLE where a blob is missing, TIMEOUT and BACKEND_FAILED where its
    process had to be killed, died or answered nonsense, else what keeps the version from loading.
    """
    manifest = load_manifest(digest, blobs)
    errand = Errand(
        module="pointsman.runtime.score",
        source=manifest.source,
        doing="asking",
        done="asked",
        timeout_s=limits.timeout_s,
        result_bytes=len(numbers) * (8 * len(manifest.classes) + _ROW_BYTES) + _MARGIN_BYTES,
    )
    with tempfile.TemporaryDirectory(prefix="score-", dir=blobs.root / "tmp") as directory:
        place, home = Path(directory) / "model", Path(directory) / "home"
        home.mkdir()
        _unpack(manifest, blobs, place)
        job = ScoreJob(
            manifest=blobs.read(digest),
            directory=str(place),
            rows=str(rows.resolve()),
            numbers=tuple(numbers),
            budget_s=limits.budget_s,
            memory_bytes=limits.memory_bytes,
            cpu_s=int(limits.timeout_s) + 1,
            file_bytes=errand.result_bytes + _OWN_FILES_BYTES,
        )
        answer = sandbox.run(errand, msgspec.msgpack.encode(job), home)
    return _believed(answer, manifest, frozenset(numbers), errand)


def _unpack(manifest: ArtifactManifest, blobs: BlobStore, place: Path) -> None:
    """Writes the artifact's files, checked against their digests, into a new directory."""
    place.mkdir(mode=0o700)
    for file in manifest.files:
        name = GRAPH if manifest.runtime is Runtime.ONNX else file.path
        target = place / name
        if not target.resolve().is_relative_to(place.resolve()):
            raise PointsmanError(Kind.FORBIDDEN, f"{file.path!r} leads out of the artifact")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(blobs.read(file.digest))


def _believed(
    answer: bytes, manifest: ArtifactManifest, asked: frozenset[int], errand: Errand
) -> Scores:
    """The result, read as untrusted data."""
    try:
        said = msgspec.msgpack.decode(answer, type=Scored)
    except msgspec.MsgspecError:
        raise sandbox.died(errand, "wrote something else than a result") from None
    if said.failure is not None:
        raise said.failure.error()
    classes, numbers = len(manifest.classes), said.numbers
    told = [*numbers, *said.refused, *said.absent]
    fits = (
        said.columns == classes
        and len(said.values) == 8 * classes * len(numbers)
        and len(set(told)) == len(told)
        and asked.issuperset(told)
    )
    if not fits:
        raise sandbox.died(errand, "returned answers to something else")
    found = np.frombuffer(said.values, np.float64).reshape(len(numbers), classes)
    if numbers:
        found = checked(found, len(numbers), classes, manifest.source)
    answers = dict(zip(numbers, map(tuple, found.tolist()), strict=True))
    return Scores(answers, frozenset(said.refused), frozenset(said.absent), said.why)
