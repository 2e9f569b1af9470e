"""What the controller publishes and gateways serve from: a manifest of immutable project blobs.

A `ProjectTable` is plain data. Its canonical bytes (`encode`) are the blob, and the SHA-256 of
those bytes is the project digest that every decision record names. `decide.table` turns a blob into
the compiled form the hot path uses; nothing here can be executed.
"""

import hashlib
from enum import StrEnum
from typing import Final, Literal

import msgspec

from pointsman.domain.events import Event
from pointsman.domain.quality import Quality

FORMAT: Final = 1
SPACE: Final = 1 << 32
"""Assignment happens on the integers [0, 2^32): every share is an exact multiple of 2^-32."""


class AttributeType(StrEnum):
    """Types of context attributes, by their CEL names."""

    STRING = "string"
    INT = "int"
    DOUBLE = "double"
    BOOL = "bool"


class FeatureType(StrEnum):
    """Types of model inputs, by their MLflow signature names."""

    STRING = "string"
    DOUBLE = "double"
    FLOAT = "float"
    LONG = "long"
    INTEGER = "integer"
    BOOLEAN = "boolean"


class Runtime(StrEnum):
    """Where a variant runs."""

    ONNX = "onnx"  # in the gateway worker
    NATIVE = "native"  # in the model runner
    CONSTANT = "constant"  # nowhere: a declared answer


class Attribute(msgspec.Struct, frozen=True):
    """One typed attribute of the request's context. Required unless it has a default."""

    name: str
    type: AttributeType
    required: bool = True
    default: str | int | float | bool | None = None


class Feature(msgspec.Struct, frozen=True):
    """One model input column. A feature that is not required may be missing or null."""

    name: str
    type: FeatureType
    required: bool = True


class Variant(msgspec.Struct, frozen=True):
    """Something traffic can go to, pinned: no alias, no range, nothing to resolve at serving time.

    version: what records and `model_version` name: the registry version (`3`), a digest prefix for
        versionless sources, or `constant`
    source: the pinned URI (`models:/income/3`), or empty for a constant
    artifact: digest of the `ArtifactManifest` blob; empty for a constant
    constant: the class a constant variant answers with
    threshold: score of the positive class from which it is predicted; None = the likeliest class
    deny: classes whose prediction counts as denied
    """

    name: str
    version: str
    source: str
    artifact: str
    runtime: Runtime
    constant: str = ""
    threshold: float | None = None
    deny: tuple[str, ...] = ()
    cost_per_request: float = 0.0

    @property
    def label(self) -> str:
        """`challenger:3`, what the Open Inference `model_version` carries."""
        return f"{self.name}:{self.version}"


class Allocation(msgspec.Struct, frozen=True):
    """A split's persisted cut points: the outcome of all weight changes so far.

    cuts: interval starts on [0, 2^32), ascending, the first is 0; interval i ends where i+1 starts,
        the last at 2^32
    arms: the variant of each interval; neighbours differ
    """

    cuts: tuple[int, ...]
    arms: tuple[str, ...]


class Shadow(msgspec.Struct, frozen=True):
    """A variant that also sees the request. Units hashing (own salt) below `cut` are shadowed."""

    variant: str
    cut: int
    salt: str


class Rule(msgspec.Struct, frozen=True):
    """An ordered condition with an action: `use` one variant, or `allocation` splits over several.

    when: CEL source, None = always
    use: variant of a plain rule, empty where the rule splits
    salt: of the split; holdout_salt: of the holdout, independent of it
    holdout: units hashing below it are kept on the champion, out of 2^32
    epoch: number of the stretch in which this rule's weights, variants and versions are unchanged
    """

    name: str
    when: str | None
    use: str
    allocation: Allocation | None
    salt: str
    holdout: int
    holdout_salt: str
    shadows: tuple[Shadow, ...]
    fallback: tuple[str, ...]
    epoch: int


class Bound(msgspec.Struct, frozen=True):
    """The most a challenger's rate of an event may be worse than the champion's.

    metric: its name in the project
    event, limit: kind and limit of an `Event`
    worse: which way is harm
    margin: as a share, of the champion's rate where `relative`, else of all; 0 or more
    slices: attributes for each value of which it has to hold, too
    """

    metric: str
    event: str
    margin: float
    relative: bool
    limit: float = 0.0
    worse: Literal["higher", "lower"] = "higher"
    slices: tuple[str, ...] = ()

    @property
    def counted(self) -> str:
        """Name of what is counted: equal for bounds on the same event."""
        return Event(self.event, self.limit).name


class Guard(msgspec.Struct, frozen=True):
    """What gateways watch by themselves while a challenger grows: no controller has a part in it.

    rule: that splits between the two
    evidence: under which name its counts are kept (hex); another one wherever they must not be
        added up: other epoch, other bounds
    share: chance of the variant among the two, where the rule draws one of them
    alpha: chance of a false alarm, over all looks, bounds and slices
    """

    rule: str
    variant: str
    against: str
    evidence: str
    share: float
    alpha: float
    bounds: tuple[Bound, ...]


class ProjectTable(msgspec.Struct, frozen=True):
    """One project as gateways serve it: the whole truth a decision needs besides the request.

    revision: SHA-256 of the canonical spec it was compiled from
    number: strictly increasing per project; a gateway refuses to step back except by `undo`, which
        publishes old content under a new number
    deadline_ms: for the whole request, fallbacks included
    quality: what is done about rows with problems; None = rows with any are refused
    """

    tenant: str
    project: str
    revision: str
    number: int
    classes: tuple[str, ...]
    positive: str
    unit: str
    context: tuple[Attribute, ...]
    features: tuple[Feature, ...]
    variants: tuple[Variant, ...]
    rules: tuple[Rule, ...]
    deadline_ms: int
    durability: Literal["os", "durable"] = "os"
    on_log_failure: Literal["serve_fallback_unlogged", "refuse"] = "serve_fallback_unlogged"
    format: int = FORMAT
    guards: tuple[Guard, ...] = ()
    quality: Quality | None = None


class TableRow(msgspec.Struct, frozen=True):
    """One line of the manifest: a project, its current digest, and what it takes to serve it.

    blobs: digests of every blob the project needs (artifact manifests and their files)
    """

    tenant: str
    project: str
    digest: str
    number: int
    blobs: tuple[str, ...]


class Manifest(msgspec.Struct, frozen=True):
    """The table: a version and one row a project. `version` strictly increases with each publish.

    killed: kill switches set at the controller: `tenant/project` or `tenant/project/variant`
    data_keys: BLAKE2b-256 digests (hex) of the data-plane keys, by key id
    keyed: whether a data-plane key was ever made: revoking the last one must open nothing
    """

    version: int
    rows: tuple[TableRow, ...]
    killed: tuple[str, ...] = ()
    data_keys: tuple["DataKey", ...] = ()
    format: int = FORMAT
    keyed: bool = False


class DataKey(msgspec.Struct, frozen=True):
    """A data-plane key as gateways know it: never the secret, only its digest.

    digest: hex BLAKE2b-256 of the whole key
    permissions: of `infer`, `decide`, `feedback`, `pin`
    """

    id: str
    digest: str
    tenant: str
    permissions: tuple[str, ...]


_encoder = msgspec.json.Encoder(order="deterministic")


def encode(value: ProjectTable | Manifest) -> bytes:
    """Canonical bytes of a table value: the blob itself."""
    return _encoder.encode(value)


def digest(blob: bytes) -> str:
    """Hex SHA-256 of a blob: its name everywhere."""
    return hashlib.sha256(blob).hexdigest()
