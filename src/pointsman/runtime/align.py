"""Whether a model fits a project, and how: classes and features are matched by name, only by name.

Pure. Position never decides anything: two models that disagree on the order of their classes would
otherwise turn every denial into an approval, and no error would say so.
"""

from collections.abc import Sequence
from typing import Any, Final

from pointsman.domain.errors import Kind, PointsmanError, Violation
from pointsman.domain.table import Feature, FeatureType

_WIDENS: Final[dict[FeatureType, frozenset[FeatureType]]] = {
    # Project type -> model types that take every one of its values.
    FeatureType.STRING: frozenset({FeatureType.STRING}),
    FeatureType.BOOLEAN: frozenset(FeatureType) - {FeatureType.STRING},
    FeatureType.INTEGER: frozenset(
        {FeatureType.INTEGER, FeatureType.LONG, FeatureType.FLOAT, FeatureType.DOUBLE}
    ),
    FeatureType.LONG: frozenset({FeatureType.LONG, FeatureType.FLOAT, FeatureType.DOUBLE}),
    FeatureType.FLOAT: frozenset({FeatureType.FLOAT, FeatureType.DOUBLE}),
    FeatureType.DOUBLE: frozenset({FeatureType.FLOAT, FeatureType.DOUBLE}),
}


def class_order(
    project: Sequence[str], model: Sequence[Any] | None, declared: Sequence[str], columns: int
) -> tuple[int, ...]:
    """The model's output column of each project class.

    project: class names in the project's order
    model: the model's own class labels, by output column; None where it does not know them
    declared: names for the classes 0..K-1 (tag or metadata `classes`); used where the model has no
        names of its own
    columns: how many probabilities the model returns, 0 where that is not known yet
    Raises PointsmanError(INVALID) where the two sets of names differ or cannot be known.
    """
    names = _names(model, declared, set(project))
    if names is None:
        raise PointsmanError(
            Kind.INVALID,
            "the model does not say what its classes are called, so its probabilities cannot be "
            f"matched with the project's classes {_listed(project)}",
            hint="set the tag `classes` on the model version: a JSON list of the names of classes "
            f'0 to K-1, such as ["{project[0]}", ...] in the model\'s own order',
        )
    if columns and columns != len(names):
        raise PointsmanError(
            Kind.INVALID,
            f"the model returns {columns} probabilities but names {len(names)} classes",
            hint="correct the tag or metadata `classes`",
        )
    if len(set(names)) != len(names):
        raise PointsmanError(
            Kind.INVALID, f"the model names a class twice: {_listed(names)}", hint="rename one"
        )
    missing = [name for name in project if name not in names]
    extra = [name for name in names if name not in project]
    if missing or extra:
        raise PointsmanError(
            Kind.INVALID,
            f"the model's classes {_listed(names)} are not the project's {_listed(project)}"
            + (f"; the model lacks {_listed(missing)}" if missing else "")
            + (f"; the project lacks {_listed(extra)}" if extra else ""),
            hint="train on the same classes, or, where the model's classes are 0 to K-1, name them "
            "with the tag `classes`",
        )
    return tuple(names.index(name) for name in project)


def _names(
    model: Sequence[Any] | None, declared: Sequence[str], project: set[str]
) -> list[str] | None:
    if model is None:
        return list(declared) or None
    labels = [_plain(label) for label in model]
    texts = [str(label) for label in labels]
    numbered = labels == list(range(len(labels)))  # False and True count as 0 and 1
    if set(texts) == project:
        return texts
    booleans = [text.lower() for text in texts]
    if all(isinstance(label, bool) for label in labels) and set(booleans) == project:
        return booleans
    if numbered and declared:
        return list(declared)
    if numbered and not any(isinstance(label, bool) for label in labels):
        return None
    return texts


def _plain(label: Any) -> Any:
    """A NumPy scalar as Python's own; 1.0 as 1, since labels often pass through floats."""
    value = label.item() if hasattr(label, "item") else label
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return int(value) if isinstance(value, float) and value.is_integer() else value


def check_features(model: Sequence[Feature], project: Sequence[Feature]) -> None:
    """Raises PointsmanError(INVALID) with every feature of the model the project cannot fill."""
    by_name = {feature.name: feature for feature in project}
    violations = []
    for wanted in model:
        path = f"features.{wanted.name}"
        ours = by_name.get(wanted.name)
        if ours is None:
            violations.append(
                Violation(
                    path,
                    "the model reads it, and the project does not have it",
                    f"declare it, or train without it; the project has {_listed(by_name)}",
                )
            )
        elif wanted.type not in _WIDENS[ours.type]:
            violations.append(
                Violation(
                    path,
                    f"the model takes {wanted.type.value}, the project sends {ours.type.value}",
                    "log the model with the project's type, or declare the model's type",
                )
            )
        elif wanted.required and not ours.required:
            violations.append(
                Violation(
                    path,
                    "the model needs it, and the project lets it be missing",
                    "make it required in the project, or optional in the model's signature",
                )
            )
    if violations:
        raise PointsmanError(
            Kind.INVALID,
            f"the model's features do not fit the project: {len(violations)} problems"
            if len(violations) > 1
            else f"the model's features do not fit the project: {violations[0].path}: "
            f"{violations[0].message}",
            hint=violations[0].hint,
            violations=tuple(violations),
        )


def _listed(names: Sequence[str] | dict[str, Any]) -> str:
    shown = [repr(str(name)) for name in list(names)[:20]]
    return ", ".join(shown) + (", ..." if len(names) > 20 else "")
