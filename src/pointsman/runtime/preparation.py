"""Preparing a downloaded model, as the controller sees it: a call that never loads the model.

The work is done by `pointsman.runtime.prepare` in a process of its own: new session, hard limits on
memory, processor time and file size, none of our environment, killed with all it started when its
time is up. What crosses back is a JSON document and one graph, read as untrusted data.
"""

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec

from pointsman.domain import artifact
from pointsman.domain.artifact import ArtifactFile, ArtifactManifest
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import Feature, Runtime
from pointsman.ports import ModelVersion, Registry
from pointsman.runtime import sandbox
from pointsman.runtime.blobs import BlobStore
from pointsman.runtime.formats import describe
from pointsman.runtime.jobs import GRAPH, Job, Result
from pointsman.runtime.sandbox import Errand

COMPILER: Final = 1
"""Raised whenever the same model would be prepared to something else; part of the cache key."""
_LIBRARIES: Final = ("scikit-learn", "skl2onnx", "onnxmltools", "onnxruntime", "xgboost-cpu")
_MAX_RESULT_BYTES: Final = 64 << 20


class Limits(msgspec.Struct, frozen=True):
    """How much a model may take to prepare.

    memory_bytes: address space of the process; timeout_s: wall clock, for loading, compiling and
        proving together; cpu_s: processor time
    model_bytes, model_files: of the model's directory
    """

    memory_bytes: int = 8 << 30
    timeout_s: float = 180.0
    cpu_s: int = 180
    model_bytes: int = 2 << 30
    model_files: int = 2_000


DEFAULT_LIMITS: Final = Limits()


class Request(msgspec.Struct, frozen=True):
    """What to prepare, for whom.

    version: resolved; its tags may name classes and features; its `trusted` allows code
    directory: where its files are
    classes: of the project, in its order
    features: of the project; empty: those of the model's signature become the project's
    tolerance: largest difference of any probability that counts as the same
    """

    version: ModelVersion
    directory: Path
    classes: tuple[str, ...]
    features: tuple[Feature, ...] = ()
    tolerance: float = 1e-5


class Prepared(msgspec.Struct, frozen=True):
    """digest: of the manifest's blob, what a table names; blobs: all that a gateway must fetch."""

    digest: str
    manifest: ArtifactManifest

    @property
    def blobs(self) -> tuple[str, ...]:
        return (self.digest, *sorted({file.digest for file in self.manifest.files}))


def fetch_and_prepare(  # noqa: PLR0913, PLR0917 - what to prepare, where from, where to, how far
    registry: Registry,
    version: ModelVersion,
    classes: tuple[str, ...],
    features: tuple[Feature, ...],
    blobs: BlobStore,
    limits: Limits = DEFAULT_LIMITS,
) -> Prepared:
    """Downloads the version and prepares it. Blocking, for minutes; raises PointsmanError."""
    with tempfile.TemporaryDirectory(prefix="model-", dir=blobs.root / "tmp") as directory:
        registry.download(version, Path(directory))
        return prepare(Request(version, Path(directory), classes, features), blobs, limits)


def prepare(request: Request, blobs: BlobStore, limits: Limits = DEFAULT_LIMITS) -> Prepared:
    """The artifact, stored. The same model for the same project is prepared once.

    Raises PointsmanError: INVALID where the model does not fit or does not load, FORBIDDEN for code
    from a registry that is not trusted, TIMEOUT and BACKEND_FAILED where its process had to be
    killed or died.
    """
    description = describe(request.directory, request.version.tags)
    if description.needs_code and not request.version.trusted:
        raise PointsmanError(
            Kind.FORBIDDEN,
            f"{request.version.uri}: the model is a {description.format} file, which can execute "
            f"code when loaded, and the registry {request.version.registry!r} is not trusted for "
            "that",
            hint="log it as ONNX or in the skops format, or have the operator trust the registry: "
            f"--trust-registry {request.version.registry}",
        )
    files = _files(request.directory, limits)
    origin = _origin(files)
    remembered = blobs.root / "prepared" / _key(request, origin)
    known = _recall(remembered, blobs)
    if known is not None:
        return known
    with tempfile.TemporaryDirectory(prefix="prepare-", dir=blobs.root / "tmp") as staging:
        manifest = _in_subprocess(request, origin, Path(staging), limits)
        if manifest.runtime is Runtime.ONNX:
            kept = [_stored(GRAPH, Path(staging) / GRAPH, blobs)]
        else:
            kept = [_stored(file.path, request.directory / file.path, blobs) for file in files]
    if manifest.runtime is not Runtime.ONNX and tuple(kept) != files:
        raise PointsmanError(
            Kind.BACKEND_FAILED,
            f"{request.version.uri}: its files changed while it was prepared",
            hint="a model must not write to its own directory; download it again",
        )
    manifest = msgspec.structs.replace(manifest, files=tuple(kept))
    digest = blobs.put_bytes(artifact.encode(manifest))
    _remember(remembered, digest)
    return Prepared(digest, manifest)


def load_manifest(digest: str, blobs: BlobStore) -> ArtifactManifest:
    """The manifest stored under a digest. Raises PointsmanError(UNAVAILABLE or INTERNAL)."""
    try:
        return artifact.decode(blobs.read(digest))
    except msgspec.MsgspecError as error:
        raise PointsmanError(
            Kind.INTERNAL, f"blob {digest} is not an artifact manifest: {error}"
        ) from None


def _files(directory: Path, limits: Limits) -> tuple[ArtifactFile, ...]:
    """Every file of the model with its digest. Raises PointsmanError where one is not plain."""
    found: list[ArtifactFile] = []
    total = 0
    for path in _walk(directory):
        status = path.lstat()
        name = path.relative_to(directory).as_posix()
        if not stat.S_ISREG(status.st_mode):
            raise PointsmanError(
                Kind.FORBIDDEN,
                f"the model holds {name}, which is not a plain file",
                hint="put the file itself in place of the link",
            )
        total += status.st_size
        if total > limits.model_bytes or len(found) >= limits.model_files:
            raise PointsmanError(
                Kind.TOO_LARGE,
                f"the model has more than {limits.model_bytes >> 20:,} MiB or "
                f"{limits.model_files:,} files",
                hint="raise the limit, or serve it from a model server",
            )
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found.append(ArtifactFile(name, digest, status.st_size))
    return tuple(sorted(found, key=lambda file: file.path))


def _walk(directory: Path) -> Iterator[Path]:
    for parent, directories, names in os.walk(directory, followlinks=False):
        for name in (*names, *(d for d in directories if (Path(parent) / d).is_symlink())):
            yield Path(parent) / name


def _origin(files: tuple[ArtifactFile, ...]) -> str:
    return hashlib.sha256(msgspec.json.encode(files)).hexdigest()


def _key(request: Request, origin: str) -> str:
    """Everything that decides what comes out."""
    versions = []
    for name in _LIBRARIES:
        try:
            versions.append(metadata.version(name))
        except metadata.PackageNotFoundError:
            versions.append("")
    said = (
        COMPILER,
        versions,
        origin,
        request.version.uri,
        request.version.trusted,
        sorted(request.version.tags.items()),
        request.classes,
        request.features,
        request.tolerance,
    )
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()


def _recall(path: Path, blobs: BlobStore) -> Prepared | None:
    try:
        digest = path.read_text(encoding="ascii").strip()
        prepared = Prepared(digest, load_manifest(digest, blobs))
    except (FileNotFoundError, UnicodeDecodeError, PointsmanError):
        return None
    return prepared if all(blobs.has(blob) for blob in prepared.blobs) else None


def _remember(path: Path, digest: str) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(digest)
    Path(name).replace(path)


def _stored(name: str, path: Path, blobs: BlobStore) -> ArtifactFile:
    digest = blobs.put_file(path)
    return ArtifactFile(name, digest, blobs.path(digest).stat().st_size)


def _in_subprocess(
    request: Request, origin: str, staging: Path, limits: Limits
) -> ArtifactManifest:
    job = Job(
        directory=str(request.directory.resolve()),
        staging=str(staging.resolve()),
        source=request.version.uri,
        origin=origin,
        tags=request.version.tags,
        trusted=request.version.trusted,
        classes=request.classes,
        features=request.features,
        tolerance=request.tolerance,
        memory_bytes=limits.memory_bytes,
        cpu_s=limits.cpu_s,
        file_bytes=limits.model_bytes,
    )
    errand = Errand(
        module="pointsman.runtime.prepare",
        source=job.source,
        doing="preparing",
        done="prepared",
        timeout_s=limits.timeout_s,
        result_bytes=_MAX_RESULT_BYTES,
    )
    with tempfile.TemporaryDirectory(prefix="home-", dir=staging.parent) as home:
        answer = sandbox.run(errand, msgspec.json.encode(job), Path(home))
    try:
        result = msgspec.json.decode(answer, type=Result)
    except msgspec.MsgspecError:
        raise sandbox.died(errand, "wrote something else than a result") from None
    if result.failure is not None:
        error = result.failure.error()
        error.message = f"{request.version.uri}: {error.message}"
        raise error
    manifest = result.manifest
    if (
        manifest is None
        or (manifest.source, manifest.origin) != (job.source, origin)
        or manifest.classes != request.classes
        or sorted(manifest.order) != list(range(len(request.classes)))
    ):
        raise sandbox.died(errand, "returned a manifest for something else")
    return manifest
