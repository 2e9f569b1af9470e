"""Every seam on one page. An adapter is one file in `plugins/`, or comes by entry point."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from pointsman.domain.errors import PointsmanError

if TYPE_CHECKING:
    # Whoever prepares or runs models knows this page, and has no use for what alerts need.
    from pointsman.alerts.message import Message

PROFILE_FILE: Final = "pointsman_profile.json"
"""What a version's inputs looked like when it was trained: a file beside its `MLmodel`."""
PROFILE_TAG: Final = "pointsman.profile"
"""Tag of a version whose profile lies with a run instead: `runs:/RUN_ID/PATH`."""


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


class Registered(msgspec.Struct, frozen=True):
    """What a registered model looks like now.

    aliases: alias -> version; newest: highest version, empty where there are none
    """

    aliases: dict[str, str]
    newest: str


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


class Profiled(msgspec.Struct, frozen=True):
    """A profile as it lies in a registry, not looked at yet. place: where, for people"""

    place: str
    body: bytes


class Profiles(Protocol):
    """Where a version's registry keeps what its inputs looked like when it was trained."""

    def profile(self, source: str, version: str) -> Profiled | None:
        """What the registry holds of a pinned version; None where it holds none. Blocking.

        Raises PointsmanError: as `Registry`, TOO_LARGE.
        """


class RegistryWriter(Protocol):
    """The little that is ever written to a registry, after a rollout."""

    def write_back(self, source: str, alias: str, tags: Mapping[str, str]) -> None:
        """Moves an alias to a pinned version (`models://main/income/3`) and tags that version.

        Doing it twice changes nothing. Blocking. Raises PointsmanError: INVALID for a source that
        can have no alias, else as `Registry`.
        """


class Notification(msgspec.Struct, frozen=True):
    """Something the owner of a project should hear of.

    project: `tenant/project`
    type: what happened, by its name in the project's history (`rollout.started`, `propose`);
        `rollout.waiting` where a rollout waits for a person
    sentence: what happened or is waited for, for people
    """

    project: str
    type: str
    sentence: str
    at_ms: int


class Notifier(Protocol):
    """Tells people. Raises PointsmanError where it could not; it is then asked again later."""

    def notify(self, notification: Notification) -> None: ...


class RefusedError(PointsmanError):
    """A message was refused as such: sending it again is no use, the next one may be taken."""


class Receiver(Protocol):
    """Takes messages about alerts to people, or to what pages them."""

    @property
    def type(self) -> str:
        """`webhook`, `slack`, `email` or `pagerduty`."""

    def deliver(self, message: "Message") -> None:
        """Returns once it has been taken; the same message may come again, with the same id.

        Blocking, for at most a minute. Raises RefusedError, or PointsmanError for everything else
        that went wrong.
        """


class Clock(Protocol):
    """Time as the system sees it; tests bring their own."""

    def now_ms(self) -> int:
        """Unix milliseconds, UTC."""
