"""Every seam on one page. An adapter is one file in `plugins/`, or comes by entry point."""

from pathlib import Path
from typing import Protocol

import msgspec


class ModelVersion(msgspec.Struct, frozen=True):
    """A model reference after resolution: pinned, with nothing left to look up.

    uri: pinned (`models:/income/3`, `runs:/<id>/model`, an absolute path); asked: as written
    version: the registry's own (`3`), or a digest prefix for versionless sources
    registry: name of the registry it came from, as the operator configured it
    trusted: whether code-carrying formats from there may be loaded
    download: where the artifacts are (an `mlflow-artifacts:/` URI, a path)
    """

    uri: str
    asked: str
    version: str
    registry: str
    trusted: bool
    download: str
    tags: dict[str, str] = {}


class Registry(Protocol):
    """Where trained models come from. Read mostly; never trains, never deletes.

    Every method raises PointsmanError: NOT_FOUND for an unknown model or alias, BACKEND_FAILED when
    the registry is down or answers nonsense, FORBIDDEN for a source the operator does not allow.
    """

    @property
    def name(self) -> str: ...

    def resolve(self, uri: str) -> ModelVersion:
        """The pinned version behind a URI. Blocking; call it off the event loop."""

    def download(self, version: ModelVersion, into: Path) -> None:
        """Fetches every file of the version below `into`, which is empty. Blocking."""


class Clock(Protocol):
    """Time as the system sees it; tests bring their own."""

    def now_ms(self) -> int:
        """Unix milliseconds, UTC."""
