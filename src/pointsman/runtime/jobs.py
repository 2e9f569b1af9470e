"""What the controller's process and those that prepare and score say to each other."""

from typing import Final

import msgspec

from pointsman.domain.artifact import ArtifactManifest
from pointsman.domain.errors import Kind, PointsmanError, Violation
from pointsman.domain.table import Feature

GRAPH: Final = "model.onnx"
"""Name of the compiled graph in the staging directory."""


class Job(msgspec.Struct, frozen=True):
    """What to prepare and within which limits.

    directory: of the downloaded model; staging: an empty directory for the graph
    source, origin: for the manifest; tags: of the model version
    trusted: whether loading may execute code
    features: the project's; empty: those of the model's signature
    memory_bytes, cpu_s, file_bytes: resource limits the process puts on itself
    """

    directory: str
    staging: str
    source: str
    origin: str
    tags: dict[str, str]
    trusted: bool
    classes: tuple[str, ...]
    features: tuple[Feature, ...]
    tolerance: float
    memory_bytes: int
    cpu_s: int
    file_bytes: int


class Failure(msgspec.Struct, frozen=True):
    """A PointsmanError on its way between processes."""

    kind: Kind
    message: str
    hint: str = ""
    violations: tuple[Violation, ...] = ()

    @classmethod
    def of(cls, error: PointsmanError) -> "Failure":
        return cls(error.kind, error.message, error.hint, error.violations)

    def error(self) -> PointsmanError:
        return PointsmanError(self.kind, self.message, hint=self.hint, violations=self.violations)


class Result(msgspec.Struct, frozen=True):
    """One of the two. The manifest's files are left to the parent: it hashes what it stores."""

    manifest: ArtifactManifest | None = None
    failure: Failure | None = None


class ScoreJob(msgspec.Struct, frozen=True):
    """Which rows to ask a prepared version about, and within which limits.

    manifest: its canonical bytes; directory: where the artifact's files are; rows: a `row_file`
    numbers: of the rows to ask about
    budget_s: when no further row is begun, counted from the start
    memory_bytes, cpu_s, file_bytes: resource limits the process puts on itself
    """

    manifest: bytes
    directory: str
    rows: str
    numbers: tuple[int, ...]
    budget_s: float
    memory_bytes: int
    cpu_s: int
    file_bytes: int


class Scored(msgspec.Struct, frozen=True):
    """What came of it; `failure` where the version could not be asked at all.

    numbers: of the rows that were answered; values: float64 in native byte order, `columns` a row,
        in the project's class order
    refused: rows the version cannot take, and why, of the first; absent: rows the file does not
        have; what is in none of the three was not reached in time
    """

    numbers: tuple[int, ...] = ()
    columns: int = 0
    values: bytes = b""
    refused: tuple[int, ...] = ()
    absent: tuple[int, ...] = ()
    why: str = ""
    failure: Failure | None = None
