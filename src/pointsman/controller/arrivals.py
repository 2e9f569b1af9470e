"""New versions of the models that serve: noticed and told, never served by themselves."""

import re
from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection

from pointsman.controller import state
from pointsman.controller.ledger import Ledger
from pointsman.ports import Registered
from pointsman.spec import references
from pointsman.store import proposals, revisions
from pointsman.store.audit import Entry
from pointsman.store.proposals import Watched

_REGISTERED: Final = re.compile(r"(models://[^/]+/[^/@:]+)/[1-9][0-9]*")


class Arrivals:
    """Looks for new versions, one look at a time. Blocking."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def models(self) -> set[str]:
        """The registered models (`models://REGISTRY/NAME`) that are looked at."""
        with self._ledger.reading() as connection:
            return set(_users(connection))

    def look(self, seen: Mapping[str, Registered]) -> None:
        """Tells each project, once, of a version that its registered models did not have before.

        seen: models as they are now, by `models://REGISTRY/NAME`
        """
        with self._ledger.reading() as connection:
            users = _users(connection)
            before = proposals.watched(connection)
        newest = {model: seen[model].newest for model in users if model in seen}
        for model, version in newest.items():
            last = before.get(model)
            if not version or (last is not None and last.source == version):
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


def _users(connection: Connection) -> dict[str, dict[str, str]]:
    """By registered model the projects it serves in, each with one of its variants."""
    users: dict[str, dict[str, str]] = {}
    for revision in revisions.active(connection):
        for variant, pin in state.decode(revision.state).pins.items():
            if match := _REGISTERED.fullmatch(pin.source):
                users.setdefault(match[1], {})[revision.project] = variant
    return users
