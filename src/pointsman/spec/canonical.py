"""The stored form of a project: canonical JSON (RFC 8785), named by its SHA-256.

Two files that mean the same have the same bytes: comments, key order, short forms, units of
durations and values that equal the default are gone. Weights are integers or strings, so no
decimal becomes a binary fraction.
"""

import hashlib
import json
from typing import Any

import rfc8785
from pydantic import ValidationError

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.spec.models import Project


def document(project: Project) -> dict[str, Any]:
    """The stored form as plain JSON values, short enough to be shown to people as YAML."""
    body: dict[str, Any] = project.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return body


def canonical(project: Project) -> bytes:
    """The stored form: RFC 8785 bytes."""
    return rfc8785.dumps(document(project))


def revision(project: Project) -> str:
    """Hex SHA-256 of the stored form: the revision's id."""
    return hashlib.sha256(canonical(project)).hexdigest()


def parse(stored: bytes) -> Project:
    """The project back from its stored form.

    Checks shapes, not references: only what `spec.load` accepted was ever stored. Raises
    PointsmanError(INTERNAL) on anything else.
    """
    try:
        return Project.model_validate(json.loads(stored))
    except (ValueError, ValidationError) as error:
        raise PointsmanError(
            Kind.INTERNAL,
            "the stored form of a project cannot be read",
            hint="a newer release stored it, or the store is damaged; run `pointsman doctor`",
        ) from error
