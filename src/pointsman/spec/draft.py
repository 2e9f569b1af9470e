"""As much of a document as can be understood, so that checks reach behind the first error."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from pointsman.spec.models import (
    ContextAttribute,
    ContextEntry,
    Decision,
    Features,
    Metric,
    Outcomes,
    Project,
    ProjectSpec,
    Rule,
    Variant,
)


@dataclass(slots=True)
class Draft:
    """The parts of `spec` that checks look at.

    None in place of a part: not declared, or not understood (`broken` tells). None in place of an
    entry: declared under this name, but not understood. An entry may lack those of its keys that
    are wrong, so `declares` is the one to ask whether something is there.
    """

    classes: tuple[str, ...] | None = None
    positive: str | None = None
    unit: str | None = None
    context: dict[str, ContextAttribute | None] | None = None
    features: Features | None = None
    decision: Decision | None = None
    variants: dict[str, Variant | None] = field(default_factory=dict)
    rules: list[Rule | None] = field(default_factory=list)
    outcomes: Outcomes | None = None
    metrics: dict[str, Metric | None] = field(default_factory=dict)
    raw: dict[str, Any] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()

    def declares(self, *path: str | int) -> bool:
        """Whether the document has this below `spec`, understood or not."""
        return self.at(*path, default=_NOT_THERE) is not _NOT_THERE

    def at(self, *path: str | int, default: Any = None) -> Any:
        """What the document has there below `spec`, as it is written."""
        value: Any = self.raw
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return default
        return value

    @classmethod
    def of(cls, project: Project, raw: dict[str, Any]) -> Self:
        """The draft of a project that is understood as a whole.

        raw: the document's `spec`, for what checks only need to know the presence of
        """
        spec = project.spec
        return cls(
            classes=spec.classes,
            positive=spec.positive,
            unit=spec.unit,
            context=None if spec.context is None else dict(spec.context),
            features=spec.features,
            decision=spec.decision,
            variants=dict(spec.variants),
            rules=list(spec.rules),
            outcomes=spec.outcomes,
            metrics=dict(spec.metrics),
            raw=raw,
        )

    @classmethod
    def salvage(cls, raw: Any) -> Self:
        """What can be understood of a document's `spec` that has errors in it."""
        if not isinstance(raw, dict):
            return cls(broken=frozenset(ProjectSpec.model_fields))
        broken: set[str] = set()

        def whole(key: str) -> Any:
            if key not in raw:
                return ProjectSpec.model_fields[key].default if key in _DEFAULTED else None
            understood = _attempt(key, raw[key])
            if understood is None:
                broken.add(key)
            return understood

        def mapping(key: str) -> dict[str, Any]:
            value = raw.get(key, {})
            if not isinstance(value, dict):
                broken.add(key)
                return {}
            return {name: _attempt(f"{key}[]", entry) for name, entry in value.items()}

        rules = raw.get("rules", [{"name": "default", "use": "champion"}])
        if not isinstance(rules, list):
            broken.add("rules")
            rules = []
        if "variants" not in raw:
            broken.add("variants")
        return cls(
            classes=_labels(raw.get("classes")),
            positive=whole("positive"),
            unit=whole("unit"),
            context=mapping("context") if "context" in raw else None,
            features=whole("features"),
            decision=whole("decision"),
            variants=mapping("variants"),
            rules=[_attempt("rules[]", rule) for rule in rules],
            outcomes=whole("outcomes"),
            metrics=mapping("metrics"),
            raw=raw,
            broken=frozenset(broken),
        )


_NOT_THERE = object()
_DEFAULTED = frozenset({"decision", "outcomes"})


@lru_cache(maxsize=1)
def _adapters() -> dict[str, TypeAdapter[Any]]:
    entries: dict[str, Any] = {
        "variants[]": Variant,
        "context[]": ContextEntry,
        "metrics[]": Metric,
        "rules[]": Rule,
    }
    for key in ("classes", "positive", "unit", "features", "decision", "outcomes"):
        entries[key] = ProjectSpec.model_fields[key].rebuild_annotation()
    return {key: TypeAdapter(annotation) for key, annotation in entries.items()}


def _attempt(part: str, value: Any) -> Any:
    """The value, or as much of a mapping as can be understood, or None."""
    adapter = _adapters()[part]
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        wrong = {detail["loc"][0] for detail in error.errors() if detail["loc"]}
    if not isinstance(value, dict):
        return None
    try:
        return adapter.validate_python({k: v for k, v in value.items() if k not in wrong})
    except ValidationError:
        return None


def _labels(raw: Any) -> tuple[str, ...] | None:
    """Classes as they would read in quotes: `0` is wrong, but it is wrong only once."""
    if not isinstance(raw, list) or len(raw) < 2:
        return None
    return tuple(str(label).lower() if isinstance(label, bool) else str(label) for label in raw)
