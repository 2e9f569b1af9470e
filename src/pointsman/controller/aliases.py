"""Alias moves in the registry: proposed to people, followed, or rolled out, as is declared.

Tables hold pinned versions, so nothing a registry does changes what is served by itself. Following
goes the same way as applying: resolved, prepared, proved, checked, and only then published.
"""

import time
import uuid
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import msgspec
import structlog
from sqlalchemy import Connection

from pointsman.controller import pinned, state
from pointsman.controller.candidate import Resolve
from pointsman.controller.gate import HeldError
from pointsman.controller.ledger import Ledger
from pointsman.controller.projects import Intent, Outcome, Projects
from pointsman.controller.state import Pin
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.ports import ModelVersion, Registered
from pointsman.rollout.machine import Phase
from pointsman.rollout.plan import SetAlias
from pointsman.spec import canonical, references
from pointsman.store import outbox, proposals, revisions, rollouts
from pointsman.store.audit import Entry
from pointsman.store.proposals import Proposal, Watched
from pointsman.store.revisions import Revision

_log = structlog.get_logger(__name__)
_ACTOR: Final = "pointsman"
_FINAL: Final = frozenset({Kind.INVALID, Kind.FORBIDDEN, Kind.NOT_AVAILABLE_YET})
"""Kinds that say something of the version itself: asking again would change nothing."""
_RETRY_S: Final = 30.0

Moved = dict[str, ModelVersion]
_NOTHING_SEEN: Final[Mapping[str, Registered]] = {}


class Aliases:
    """Looks at the registry, and settles what it finds.

    Blocking: `look` for a few requests, `follow` for as long as models take to prepare. Each runs
    in one thread of its own, so that nothing goes unnoticed while a model is being prepared.
    """

    def __init__(self, ledger: Ledger, projects: Projects, resolve: Resolve) -> None:
        self._ledger = ledger
        self._projects = projects
        self._resolve = resolve
        self._retry_at: defaultdict[str, float] = defaultdict(float)
        self._to_follow: dict[str, Moved] = {}
        self._to_prepare: dict[str, tuple[str, ModelVersion]] = {}

    def models(self) -> set[str]:
        """The registered models (`models://REGISTRY/NAME`) whose aliases are looked at."""
        with self._ledger.reading() as connection:
            active = revisions.active(connection)
        pins = [pin for one in active for pin in state.decode(one.state).pins.values()]
        return {_place(pin).partition("@")[0] for pin in pins if _moves(pin)}

    def look(self, seen: Mapping[str, Registered] = _NOTHING_SEEN) -> bool:
        """One look at every reference of every project. False: nothing is left to be looked at.

        seen: models as they are now, where they are known; a reference that still points to what
            serves is then not asked for
        """
        with self._ledger.reading() as connection:
            active = revisions.active(connection)
            before = proposals.watched(connection)
            open_ones = proposals.open_projects(connection)
        found: dict[str, ModelVersion | None] = {}
        for revision in active:
            pins = state.decode(revision.state).pins
            moving = {variant: pin for variant, pin in pins.items() if _moves(pin)}
            quiet = all(_stays(pin, before, seen) for pin in moving.values())
            # A proposal is closed where its alias moved back, and a rollout has its own version.
            if quiet and revision.project not in open_ones and not self._rolls_out(revision):
                continue
            for pin in moving.values():
                if (place := _place(pin)) not in found:
                    found[place] = self._sight(pin, before)
            moved = {
                variant: version
                for variant, pin in moving.items()
                if (version := found[_place(pin)]) is not None
            }
            if moved:
                self._settle(revision, pins, moved)
        return False

    def _rolls_out(self, revision: Revision) -> bool:
        return canonical.parse(revision.spec).spec.rollout is not None

    def follow(self) -> bool:
        """Follows what the last look found, one project after the other. False: all of it."""
        while self._to_prepare:
            name, (variant, version) = self._to_prepare.popitem()
            self._prepare(name, variant, version)
        while self._to_follow:
            name, moved = self._to_follow.popitem()
            try:
                self._follow(name, moved)
            except PointsmanError as error:
                _log.warning("not followed", project=name, error=error.message)
        return False

    def proposals(self, name: str, only: str = "") -> list[Proposal]:
        """The newest first. only: a state, empty = all"""
        with self._ledger.reading() as connection:
            return proposals.of_project(connection, name, only)

    def accept(self, name: str, proposal_id: str, intent: Intent) -> Outcome:
        """The project with the proposed version, prepared and proved.

        Raises PointsmanError: NOT_FOUND, CONFLICT where it is settled, INVALID where the version
        cannot be served, FORBIDDEN where it is over the limits or frozen (the proposal stays open).
        """
        found = self._open(name, proposal_id)
        version = self._resolve(found.to_source)
        outcome = self._projects.repin(name, {found.variant: version}, "accept", intent)
        self._close(found, "accepted", "", intent.actor)
        return outcome

    def dismiss(self, name: str, proposal_id: str, intent: Intent) -> Proposal:
        """Leaves the version that serves; the same move is not proposed again."""
        found = self._open(name, proposal_id)
        self._close(found, "dismissed", intent.reason, intent.actor)
        return msgspec.structs.replace(found, state="dismissed", note=intent.reason)

    def _sight(self, pin: Pin, before: Mapping[str, Watched]) -> ModelVersion | None:
        """What a reference points to now; None where the registry cannot say."""
        place = _place(pin)
        last = before.get(place)
        try:
            version = self._resolve(place)
        except PointsmanError as error:
            if last is None or last.error != error.message:
                _log.warning("registry", reference=place, error=error.message)
                source = last.source if last else pin.source
                self._remember(Watched(place, pin.registry, source, self._now(), error.message))
            return None
        if last is None or last.source != version.uri or last.error:
            self._remember(Watched(place, pin.registry, version.uri, self._now(), ""))
        return version

    def _settle(self, revision: Revision, pins: Mapping[str, Pin], seen: Moved) -> None:
        """Proposes or follows what moved; closes proposals that are no longer true."""
        project = canonical.parse(revision.spec)
        follow: Moved = {}
        rollout = project.spec.rollout
        for variant, version in seen.items():
            if rollout is not None and variant == rollout.variant:
                self._to_roll_out(revision, pins[variant], variant, version)
                continue
            against = rollout is not None and variant == rollout.against
            if against and self._left_behind(revision.project, version):
                continue
            last = self._latest(revision.project, variant)
            if version.uri == pins[variant].source:
                if last is not None and last.state == "open":
                    self._close(last, "superseded", "the alias moved back", _ACTOR)
                continue
            if _settled(last, version, revision):
                continue
            wanted = project.spec.on_alias_move(variant)
            if wanted == "follow" and not self._undone(revision, variant, version):
                follow[variant] = version
            else:
                self._propose(revision, pins[variant], variant, version)
        if follow:
            self._to_follow[revision.project] = follow

    def _to_roll_out(
        self, revision: Revision, pin: Pin, variant: str, version: ModelVersion
    ) -> None:
        """A version that a rollout is to grow is prepared, and has no traffic before it grows."""
        with self._ledger.reading() as connection:
            stored = rollouts.candidate(connection, revision.project, variant)
        known = pin
        if stored:
            prepared = pinned.decode(stored)
            fits = prepared.schema == pinned.schema_of(self._projects.table(revision))
            if fits and prepared.pin is not None and prepared.pin.asked == pin.asked:
                known = prepared.pin
        last = self._latest(revision.project, variant)
        if last is not None and last.state == "open":
            self._close(last, "superseded", "a rollout decides about it", _ACTOR)
        if version.uri == known.source or _settled(last, version, revision):
            return
        self._to_prepare[revision.project] = (variant, version)

    def _prepare(self, name: str, variant: str, version: ModelVersion) -> None:
        """Makes the version a candidate, or says why it cannot be one."""
        key = f"{name}|{version.uri}"
        if time.monotonic() < self._retry_at[key]:
            return
        revision = self._projects.current(name)
        pins = state.decode(revision.state).pins
        try:
            found = self._projects.prepare(name, variant, version)
        except PointsmanError as error:
            if error.kind in _FINAL:
                self._refuse(revision, pins[variant], (variant, version), error)
            else:
                self._retry_at[key] = time.monotonic() + _RETRY_S
                _log.warning("not prepared", project=name, version=version.uri, error=error.message)
            return
        entry = Entry(
            actor=_ACTOR,
            tenant=name.partition("/")[0],
            target=name,
            action="candidate",
            sentence=f"{name}: {variant} version {version.version} is prepared to be rolled out",
            payload={"variant": variant, "to": version.uri},
        )
        stored = pinned.encode(found)
        self._ledger.note(
            entry, lambda tx: rollouts.put_candidate(tx, name, variant, stored, self._now())
        )

    def _left_behind(self, name: str, version: ModelVersion) -> bool:
        """Whether a promotion has left this version, and its alias has yet to follow."""
        with self._ledger.reading() as connection:
            found = rollouts.state(connection, name)
            left = outbox.left(connection, name)
        if found is None or version.uri != found.champion.source:
            return False
        return found.phase is Phase.PROMOTING or any(isinstance(e.task, SetAlias) for e in left)

    def _latest(self, name: str, variant: str) -> Proposal | None:
        with self._ledger.reading() as connection:
            return proposals.latest(connection, name, variant)

    def _undone(self, revision: Revision, variant: str, version: ModelVersion) -> bool:
        """Whether people went back from this very version: then it is proposed, never followed."""
        with self._ledger.reading() as connection:
            known = {
                found.number: found
                for found in revisions.history(connection, revision.project, limit=200)
            }
        left = (known.get(found.parent) for found in known.values() if found.cause == "undo")
        return any(
            (pin := state.decode(found.state).pins.get(variant)) is not None
            and pin.source == version.uri
            for found in left
            if found is not None
        )

    def _follow(self, name: str, moved: Moved) -> None:
        """All that moved in one revision; where that cannot be, each by itself."""
        revision = self._projects.current(name)
        pins = state.decode(revision.state).pins
        left = {
            variant: version
            for variant, version in moved.items()
            if variant in pins
            and pins[variant].source != version.uri
            and not _settled(self._latest(name, variant), version, revision)
            # People may have gone back from it since it was found; the next look proposes it.
            and not self._undone(revision, variant, version)
        }
        key = "|".join([name, *sorted(version.uri for version in left.values())])
        if not left or time.monotonic() < self._retry_at[key]:
            return
        what = ", ".join(f"{variant} to {version.uri}" for variant, version in left.items())
        # Only on top of what was looked at: an undo while it is prepared is the last word.
        intent = Intent(_ACTOR, f"alias moved: {what}", parent=revision.number)
        try:
            self._projects.repin(name, left, "follow", intent)
        except PointsmanError as error:
            if isinstance(error, HeldError) and len(left) == 1:
                # A person may accept it, once others agree or the freeze is over.
                for variant, version in left.items():
                    why = "; ".join(v.message for v in error.violations) or error.message
                    self._propose(revision, pins[variant], variant, version, why)
            elif error.kind in _FINAL and len(left) > 1:
                for variant, version in left.items():
                    self._follow(name, {variant: version})
            elif error.kind in _FINAL:
                for variant, version in left.items():
                    self._refuse(revision, pins[variant], (variant, version), error)
            elif error.kind is not Kind.CONFLICT:  # then the next look sees what stands by now
                self._retry_at[key] = time.monotonic() + _RETRY_S
                _log.warning("not followed", project=name, moved=what, error=error.message)

    def _propose(
        self, revision: Revision, pin: Pin, variant: str, version: ModelVersion, why: str = ""
    ) -> None:
        """why: it is not followed, where it is declared to be"""
        sentence = (
            f"{revision.project}: {pin.asked} moved from version {pin.version} to "
            f"{version.version}; proposed for {variant}" + (f", not followed: {why}" if why else "")
        )
        new = self._proposal(revision, pin, (variant, version), "open", why)
        self._write(revision.project, "propose", sentence, new)

    def _refuse(
        self,
        revision: Revision,
        pin: Pin,
        target: tuple[str, ModelVersion],
        error: PointsmanError,
    ) -> None:
        variant, version = target
        why = "; ".join(violation.message for violation in error.violations) or error.message
        sentence = (
            f"{revision.project}: {variant} stays at version {pin.version}: version "
            f"{version.version} cannot be served: {why}"
        )
        new = self._proposal(revision, pin, target, "refused", why)
        self._write(revision.project, "refuse", sentence, new)

    def _proposal(
        self,
        revision: Revision,
        pin: Pin,
        target: tuple[str, ModelVersion],
        standing: str,
        note: str = "",
    ) -> Proposal:
        variant, version = target
        return Proposal(
            id=uuid.uuid4().hex[:12],
            project=revision.project,
            variant=variant,
            asked=pin.asked,
            from_source=pin.source,
            to_source=version.uri,
            from_version=pin.version,
            to_version=version.version,
            state=standing,
            note=note,
            at_ms=self._now(),
        )

    def _write(self, name: str, action: str, sentence: str, new: Proposal) -> None:
        _log.info(action, sentence=sentence)
        entry = Entry(
            actor=_ACTOR,
            tenant=name.partition("/")[0],
            target=name,
            action=action,
            sentence=sentence,
            payload={"proposal": new.id, "variant": new.variant, "to": new.to_source},
            tell=True,
        )
        self._ledger.note(entry, lambda connection: proposals.add(connection, new))

    def _open(self, name: str, proposal_id: str) -> Proposal:
        with self._ledger.reading() as connection:
            found = proposals.find(connection, proposal_id)
        if found is None or found.project != name:
            raise PointsmanError(
                Kind.NOT_FOUND,
                f"{name} has no proposal {proposal_id[:40]!r}",
                hint="`pointsman proposals list` shows which there are",
            )
        if found.state != "open":
            raise PointsmanError(
                Kind.CONFLICT, f"proposal {found.id} is {found.state} since {found.decided_ms} ms"
            )
        return found

    def _close(self, found: Proposal, standing: str, note: str, actor: str) -> None:
        settled = msgspec.structs.replace(
            found, state=standing, note=note, decided_ms=self._now(), decided_by=actor
        )
        entry = Entry(
            actor=actor,
            tenant=found.project.partition("/")[0],
            target=found.project,
            action=f"proposal.{standing}",
            sentence=f"{found.project}: proposal of {found.to_source} for {found.variant} "
            f"{standing}" + (f" ({note})" if note else ""),
            payload={"proposal": found.id, "note": note},
        )

        def settle(connection: Connection) -> None:
            proposals.settle(connection, found.id, settled)

        self._ledger.note(entry, settle)

    def _remember(self, sight: Watched) -> None:
        with self._ledger.writing() as connection:
            proposals.seen(connection, sight)

    def _now(self) -> int:
        return self._ledger.now_ms()


def _moves(pin: Pin) -> bool:
    """Whether a reference can point elsewhere tomorrow, or is a version already."""
    return references.is_alias(pin.asked)


def _place(pin: Pin) -> str:
    """What was asked for, in the registry it was found in: others may have come since."""
    return references.within(pin.asked, pin.registry)


def _stays(pin: Pin, before: Mapping[str, Watched], seen: Mapping[str, Registered]) -> bool:
    """Whether a reference is known to point to what serves, now and when it was last asked for."""
    place = _place(pin)
    model, _, alias = place.partition("@")
    last = before.get(place)
    if last is None or last.error or model not in seen:
        return False
    version = seen[model].aliases.get(alias)
    return version is not None and last.source == pin.source == f"{model}/{version}"


def _settled(last: Proposal | None, version: ModelVersion, revision: Revision) -> bool:
    """Whether this very move has been dealt with since the revision that serves was made."""
    if last is None or last.to_source != version.uri:
        return False
    if last.state in ("open", "dismissed"):
        return True
    return last.state == "refused" and last.at_ms >= revision.at_ms
