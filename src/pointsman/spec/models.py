"""The spec language as typed values: `Project` and everything below it.

These models know shapes and ranges only. What takes more than one place of the document to decide
(references, reachability, conditions) is in `spec.checks`; `spec.load` runs both.

Every default here is part of `pointsman/v1` and never changes within it: the stored form leaves
defaults out, so a changed one would change what a stored revision means.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BeforeValidator,
    Field,
    Strict,
    StringConstraints,
    model_serializer,
    model_validator,
)

from pointsman.domain.names import CHAMPION, DEFAULT_TENANT
from pointsman.domain.table import Attribute, AttributeType, Feature, FeatureType
from pointsman.spec.alerts import Alerts
from pointsman.spec.block import Block, Items
from pointsman.spec.events import DECISION_PATTERN, OPERATIONAL_PATTERN
from pointsman.spec.later import (
    Backend,
    Bandit,
    Cache,
    CascadeStep,
    Ensemble,
    Limits,
    Requires,
    Rollout,
)
from pointsman.spec.quality import FeatureName, Quality
from pointsman.spec.scalars import (
    AttributeName,
    Bytes,
    Condition,
    Milliseconds,
    Name,
    Percent,
    Scalar,
    Sorted,
    Text,
    Weight,
)

API_VERSION: Final = "pointsman/v1"
DAY_MS: Final = 86_400_000
DEFAULT_RULE: Final = "default"

ClassLabel = Annotated[str, StringConstraints(min_length=1, max_length=256)]
ModelReference = Annotated[str, StringConstraints(min_length=1, max_length=2048)]


def _typed(value: Any) -> Any:
    """`country: string` is short for `country: {type: string}`."""
    return {"type": value} if isinstance(value, str) else value


class ContextAttribute(Block):
    """A typed attribute that rules may read. Required unless it has a default."""

    type: Annotated[AttributeType, Strict(strict=False)]
    default: Scalar | None = None


class DeclaredFeature(Block):
    """A model input. A feature that is not required may be missing or null."""

    name: FeatureName
    type: Annotated[FeatureType, Strict(strict=False)]
    required: bool = True


class Features(Block):
    """Where the input schema comes from: a model's signature, or declared in place.

    Written as `{from: MODEL}`, as a mapping of name to type, or as a list of
    `{name, type, required}`; stored as the first or the last. The order of declared features is
    the order of a tensor's columns.
    """

    from_: Annotated[ModelReference | None, Field(alias="from")] = None
    declared: Items[DeclaredFeature] = ()

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return {"declared": value}
        if isinstance(value, Mapping) and set(value) != {"from"}:
            return {"declared": [_feature(name, entry) for name, entry in value.items()]}
        return value

    @model_serializer
    def _stored(self) -> dict[str, Any] | list[Any]:
        if self.from_ is not None:
            return {"from": self.from_}
        return [
            feature.model_dump(mode="json", by_alias=True, exclude_defaults=True)
            for feature in self.declared
        ]


def _feature(name: Any, entry: Any) -> Any:
    entry = _typed(entry)
    return {"name": name, **entry} if isinstance(entry, Mapping) else entry


class Decision(Block):
    """What the business does with a prediction.

    threshold: score of the positive class from which it is predicted; None = the likeliest class
    deny: classes that count as denied
    """

    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    deny: Items[ClassLabel] = ()


class VariantDecision(Block):
    """A variant's own threshold or denied classes; what it leaves out comes from the default."""

    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    deny: Items[ClassLabel] | None = None


class Cost(Block):
    """per_request: in whatever currency the owner counts in, the same for all variants"""

    per_request: Annotated[float, Field(alias="per_request", ge=0, le=1e9)] = 0.0


class Variant(Block):
    """Something traffic can go to: a model, or a constant answer."""

    model: ModelReference | None = None
    constant: ClassLabel | None = None
    decision: VariantDecision | None = None
    cost: Cost = Cost()
    on_alias_move: Literal["propose", "follow"] | None = None
    requires: Requires | None = None
    backend: Name | None = None


class Shadow(Block):
    """A variant that also sees the request, for this share of units, and never answers it."""

    variant: Name
    percent: Percent = Decimal(100)


class Rule(Block):
    """An ordered condition with one action: `use`, `split`, `bandit`, `ensemble` or `cascade`."""

    name: Name
    when: Condition | None = None
    use: Name | None = None
    split: Annotated[dict[Name, Weight], Sorted] | None = None
    holdout: Percent = Decimal(0)
    shadow: Items[Shadow] = ()
    fallback: Items[Name] = ()
    bandit: Bandit | None = None
    ensemble: Ensemble | None = None
    cascade: Items[CascadeStep] | None = None

    @property
    def served(self) -> tuple[str, ...]:
        """Variants this rule may assign by its own weights: `use`, or arms with a weight above 0.

        The holdout is not among them.
        """
        if self.use is not None:
            return (self.use,)
        return tuple(arm for arm, weight in (self.split or {}).items() if weight > 0)


class Log(Block):
    """How safe a decision is on disk before the answer leaves.

    durability: `os` = the write has returned (survives a killed process); `durable` = fsynced
    on_failure: what happens to traffic when nothing can be recorded
    """

    durability: Literal["os", "durable"] = "os"
    on_failure: Literal["serve_fallback_unlogged", "refuse"] = "serve_fallback_unlogged"


class Retention(Block):
    """How long decisions stay: `hot` in SQL rows, `archive` as Parquet, `max_bytes` in each."""

    hot: Milliseconds = 14 * DAY_MS
    archive: Milliseconds | None = None
    max_bytes: Bytes = 10 * 10**9


class Drift(Block):
    """When a shift of inputs or of answers is told.

    psi: from which it matters; false_alarms: among all alarms, at most
    reference: decisions of a champion that are compared with, once there are so many
    window: that is compared, by the hour or by the day; features: only these, all where empty
    on_drift: whether a rollout goes on meanwhile
    """

    psi: Annotated[float, Field(gt=0, le=10)] = 0.1
    false_alarms: Annotated[float, Field(gt=0, lt=1)] = 0.05
    reference: Annotated[int, Field(ge=200, le=50_000)] = 5_000
    window: Literal["1h", "1d"] = "1d"
    features: Items[FeatureName] = ()
    on_drift: Literal["warn", "hold"] = "warn"

    @property
    def window_s(self) -> int:
        return 3_600 if self.window == "1h" else 86_400

    def newest_over_ms(self, now_ms: int) -> int:
        """Start of the newest window that is over, Unix milliseconds."""
        window_ms = self.window_s * 1000
        return now_ms - now_ms % window_ms - window_ms


class LabelOutcome(Block):
    """horizon: how long after the decision a label can be trusted"""

    horizon: Milliseconds


class RewardOutcome(Block):
    """horizon: as for labels; default: the reward of a decision that got none within it"""

    horizon: Milliseconds
    default: Annotated[float, Field(ge=-1e12, le=1e12)] | None = None


class Outcomes(Block):
    """What becomes known about decisions, and how long it takes."""

    label: LabelOutcome | None = None
    reward: RewardOutcome | None = None


class ClassifierMetric(Block):
    """A figure of classification quality; needs labels."""

    kind: Literal["classifier"]
    of: Literal[
        "accuracy",
        "balanced_accuracy",
        "precision",
        "recall",
        "specificity",
        "f1",
        "auc",
        "log_loss",
        "brier",
    ]
    slices: Items[AttributeName] = ()


class DecisionMetric(Block):
    """The share of decisions with an event; needs no labels."""

    kind: Literal["decision"]
    event: Annotated[str, StringConstraints(pattern=DECISION_PATTERN)]
    slices: Items[AttributeName] = ()


class OperationalMetric(Block):
    """The share of requests with an event of serving itself, such as `error`."""

    kind: Literal["operational"]
    event: Annotated[str, StringConstraints(pattern=OPERATIONAL_PATTERN)]
    slices: Items[AttributeName] = ()


Metric = Annotated[
    ClassifierMetric | DecisionMetric | OperationalMetric, Field(discriminator="kind")
]

ContextEntry = Annotated[
    ContextAttribute,
    BeforeValidator(_typed),
]


class Metadata(Block):
    name: Name
    tenant: Name = DEFAULT_TENANT
    owner: Text | None = None
    labels: Annotated[dict[Text, Text], Sorted] = Field(default={})


class ProjectSpec(Block):
    """Everything below `spec`."""

    classes: Annotated[Items[ClassLabel], Field(min_length=2, max_length=1000)]
    positive: ClassLabel | None = None
    unit: AttributeName | None = None
    context: Annotated[dict[AttributeName, ContextEntry], Sorted, Field(max_length=100)] | None = (
        None
    )
    features: Features | None = None
    decision: Decision = Decision()
    variants: Annotated[dict[Name, Variant], Sorted, Field(min_length=1, max_length=100)]
    backends: Annotated[dict[Name, Backend], Sorted] | None = None
    rules: Annotated[Items[Rule], Field(min_length=1, max_length=100)] = (
        Rule(name=DEFAULT_RULE, use=CHAMPION),
    )
    deadline: Annotated[Milliseconds, Field(ge=1, le=60_000)] = 1_000
    cache: Cache | None = None
    log: Log = Log()
    retention: Retention = Retention()
    outcomes: Outcomes = Outcomes()
    metrics: Annotated[dict[Name, Metric], Sorted, Field(max_length=100)] = Field(default={})
    rollout: Rollout | None = None
    limits: Limits | None = None
    drift: Drift = Drift()
    quality: Quality | None = None
    alerts: Alerts = Alerts()

    @property
    def positive_class(self) -> str:
        """The class a threshold and recall speak of: as declared, else the second of two classes.

        Empty where there are more than two and none is declared.
        """
        if self.positive is not None:
            return self.positive
        return self.classes[1] if len(self.classes) == 2 else ""

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """The declared context as the table holds it, by name."""
        return tuple(
            Attribute(
                name=name,
                type=entry.type,
                required=entry.default is None,
                default=float(entry.default)
                if entry.type is AttributeType.DOUBLE and isinstance(entry.default, int)
                else entry.default,
            )
            for name, entry in (self.context or {}).items()
        )

    @property
    def declared_features(self) -> tuple[Feature, ...] | None:
        """Features declared in the file, None where they come from a model's signature."""
        if self.features is None or self.features.from_ is not None:
            return None
        return tuple(
            Feature(name=feature.name, type=feature.type, required=feature.required)
            for feature in self.features.declared
        )

    @property
    def features_from(self) -> str:
        """The model whose signature is the input schema; empty where features are declared."""
        if self.features is not None:
            return self.features.from_ or ""
        return self.variants[CHAMPION].model or ""

    def decision_of(self, variant: str) -> Decision:
        """The variant's own decision over the project's default, key by key."""
        own = self.variants[variant].decision
        if own is None:
            return self.decision
        return Decision(
            threshold=self.decision.threshold if own.threshold is None else own.threshold,
            deny=self.decision.deny if own.deny is None else own.deny,
        )

    def on_alias_move(self, variant: str) -> Literal["propose", "follow"]:
        """As declared; without that, `propose` where a rollout or limits exist, else `follow`."""
        declared = self.variants[variant].on_alias_move
        if declared is not None:
            return declared
        return "propose" if self.rollout is not None or self.limits is not None else "follow"


class Project(Block):
    """One document."""

    api_version: Literal["pointsman/v1"]
    kind: Literal["Project"]
    metadata: Metadata
    spec: ProjectSpec

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def tenant(self) -> str:
        return self.metadata.tenant
