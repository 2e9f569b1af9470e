"""A prepared model as gateways receive it: resolved, compiled or kept native, and proved.

Everything is content-addressed. The manifest's canonical bytes are a blob; its SHA-256 is the
artifact digest a table names; its files are blobs of their own, named by their SHA-256.
"""

from typing import Literal

import msgspec

from pointsman.domain.table import Feature, Runtime


class ArtifactFile(msgspec.Struct, frozen=True):
    """path: relative, inside the artifact, `/`-separated, never `..`; digest: hex SHA-256"""

    path: str
    digest: str
    size: int


class Cell(msgspec.Struct, frozen=True):
    """What one category sets in a row of zeros.

    value: the category as callers send it; None is the missing value
    position: column of the tensor; weight: what stands there (None: NaN)
    """

    value: str | int | float | bool | None
    position: int
    weight: float | None = 1.0


class Encoding(msgspec.Struct, frozen=True):
    """A categorical feature and the cell each of its categories sets.

    other: for every value that is not known; None where the model refuses such values
    """

    column: str
    known: tuple[Cell, ...]
    other: Cell | None = None


class ArtifactInput(msgspec.Struct, frozen=True):
    """One tensor the model takes, shape [n, width].

    columns: features that go in as they are, in the order of `positions`
    positions: their columns in the tensor; empty: 0, 1, 2, ...
    fills: what a missing value of each becomes; empty or None: NaN for floats, "" for strings
    encodings: categorical features, looked up before the model is called
    width: 0 means len(columns); cells that nothing sets are zero
    """

    name: str
    dtype: Literal["float32", "float64", "int64", "int32", "string", "bool"]
    columns: tuple[str, ...]
    positions: tuple[int, ...] = ()
    fills: tuple[float | None, ...] = ()
    encodings: tuple[Encoding, ...] = ()
    width: int = 0


class Parity(msgspec.Struct, frozen=True):
    """Proof that the compiled model answers as the original does (architecture, section 6).

    rows: compared, at least 1,000
    real_rows: how many of them came from a logged input example rather than being drawn
    max_difference: largest absolute difference of any probability
    class_changes: rows whose likeliest class differs, but where the original's two highest tie
    tolerance: 1e-5 unless the operator says otherwise
    """

    rows: int
    real_rows: int
    max_difference: float
    class_changes: int
    tolerance: float
    passed: bool


class ArtifactManifest(msgspec.Struct, frozen=True):
    """What one prepared model version is.

    source: pinned URI; origin: the digest over the source files as downloaded (hex SHA-256)
    flavor: `sklearn`, `xgboost`, `lightgbm`, `onnx`, `pyfunc`
    features: what rows look like: the project's features in its order; where the project takes them
        from this model, those of the model's signature
    model_features: what the model itself reads, in its own order and types; picked by name
    reason: one sentence: why this runtime ("compiled to ONNX: ..." or "native: ...")
    classes: the project's classes, in the project's order; the model's own order is mapped
        away by `order`: probability of project class k = model output column order[k]
    probabilities: name of the output tensor [n, K]; empty for native models
    needs_code: true where loading can execute code; such artifacts only ever load in the runner
    loader: how the model runner loads it: `sklearn`, `xgboost`, `lightgbm`, `pyfunc`
    probe: golden rows (feature dicts) and the probabilities they must give; checked before a
        gateway swaps the artifact in
    """

    source: str
    origin: str
    flavor: str
    runtime: Runtime
    reason: str
    features: tuple[Feature, ...]
    inputs: tuple[ArtifactInput, ...]
    classes: tuple[str, ...]
    order: tuple[int, ...]
    files: tuple[ArtifactFile, ...]
    parity: Parity | None
    probabilities: str = ""
    needs_code: bool = False
    loader: str = ""
    probe_rows: tuple[dict[str, str | float | int | bool | None], ...] = ()
    probe_probabilities: tuple[tuple[float, ...], ...] = ()
    model_features: tuple[Feature, ...] = ()
    format: int = 1


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(ArtifactManifest)


def encode(manifest: ArtifactManifest) -> bytes:
    """Canonical bytes: the blob whose SHA-256 is the artifact digest."""
    return _encoder.encode(manifest)


def decode(blob: bytes) -> ArtifactManifest:
    """The manifest. Raises msgspec.ValidationError on anything else."""
    return _decoder.decode(blob)
