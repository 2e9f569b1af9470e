"""New versions of the models that serve: noticed and told, never served by themselves."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog

from pointsman.controller import state
from pointsman.controller.ledger import Ledger
from pointsman.domain.errors import PointsmanError
from pointsman.spec import references
from pointsman.store import proposals, revisions
from pointsman.store.audit import Entry
from pointsman.store.proposals import Watched

_log = structlog.get_logger(__name__)
_REGISTERED: Final = re.compile(r"(models://[^/]+/[^/@:]+)/[1-9][0-9]*")

Newest = Callable[[Iterable[str]], Mapping[str, str]]
"""The highest version of each registered model (`models://REGISTRY/NAME`) that is known. Blocking.
"""


class Arrivals:
    """Looks for new versions, one look at a time. Blocking."""

    def __init__(self, ledger: Ledger, newest: Newest) -> None:
        self._ledger = ledger
        self._newest = newest

    def look(self) -> None:
        """Tells each project, once, of a version that its registered models did not have before."""
        with self._ledger.reading() as connection:
            active = revisions.active(connection)
            before = proposals.watched(connection)
        users: dict[str, dict[str, str]] = {}
        for revision in active:
            for variant, pin in state.decode(revision.state).pins.items():
                if match := _REGISTERED.fullmatch(pin.source):
                    users.setdefault(match[1], {})[revision.project] = variant
        try:
            newest = self._newest(users)
        except PointsmanError as error:
            _log.debug("registry", error=error.message)
            return
        for model, version in newest.items():
            last = before.get(model)
            if last is not None and last.source == version:
                continue
            sight = Watched(model, "", version, self._ledger.now_ms(), "")
            with self._ledger.writing() as connection:
                proposals.seen(connection, sight)
            if last is not None and int(version or 0) > int(last.source or 0):
                for project, variant in users[model].items():
                    self._tell(project, variant, model, version)

    def _tell(self, project: str, variant: str, model: str, version: str) -> None:
        registry, plain = references.split(model)
        name = plain.removeprefix("models:/")
        self._ledger.note(
            Entry(
                actor="pointsman",
                tenant=project.partition("/")[0],
                target=project,
                action="arrival",
                sentence=f"{project}: version {version} of {name} is in registry {registry}; point "
                f"the alias to it, or name it, to serve it as {variant}",
                payload={"model": model, "version": version, "variant": variant},
                tell=True,
            )
        )
