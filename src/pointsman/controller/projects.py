"""What people do to projects: plan, apply, undo, delete. Each answers with what came of it."""

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from sqlalchemy import Connection

from pointsman.controller import state
from pointsman.controller.asking import Asking
from pointsman.controller.blast import Ground
from pointsman.controller.candidate import Base, Candidate, Workshop
from pointsman.controller.changes import Declared, Difference, difference
from pointsman.controller.gate import Gate, Standing
from pointsman.controller.ledger import Ledger
from pointsman.controller.outlook import Course, Outlook, Seen, Window, course
from pointsman.controller.ownership import Shift, claimed, grows, shifted
from pointsman.controller.pinned import Pinned, schema_of
from pointsman.controller.state import Pin, Serving
from pointsman.decide.compile import ProjectState, restored
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.names import qualified
from pointsman.domain.table import ProjectTable, Variant, digest, encode
from pointsman.ports import ModelVersion
from pointsman.rollout.state import NOTHING, State
from pointsman.runtime.blobs import BlobStore
from pointsman.spec import canonical
from pointsman.spec.models import Project
from pointsman.store import revisions, rollouts
from pointsman.store.audit import Entry
from pointsman.store.revisions import Revision

_TRIES: Final = 5
"""Of a change, each to what somebody else published while it was prepared."""


class Intent(msgspec.Struct, frozen=True):
    """Who wants a change, why, and on top of which revision.

    parent: the revision the change was made to; None = whatever stands (only for changes that
    were not made from a revision somebody looked at)
    force: past limits and freezes; needs a reason, and is told in the audit log
    """

    actor: str
    reason: str = ""
    parent: int | None = None
    force: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """What a change came to.

    number: of the revision that now serves; changed: whether it is a new one
    table: version of the manifest that carries it, 0 where nothing changed
    """

    project: str
    number: int
    digest: str
    changed: bool
    difference: Difference
    sentence: str
    table: int = 0


class Planned(msgspec.Struct, frozen=True):
    """What `apply` would do. pins: the version behind each model reference, by variant.

    course: its tables; None where nothing changes, or nothing serves yet
    seen: what it would have done to logged decisions, where that was asked for
    standing: how it stands to the limits; None where they were not looked at
    """

    project: str
    number: int
    digest: str
    difference: Difference
    pins: dict[str, str]
    course: Course | None = None
    seen: Seen | None = None
    standing: Standing | None = Standing()

    @property
    def changed(self) -> bool:
        return bool(self.difference.changes)


class Projects:
    """The projects and their revisions. Blocking; safe to use from several threads."""

    def __init__(
        self, ledger: Ledger, workshop: Workshop, blobs: BlobStore, asking: Asking | None = None
    ) -> None:
        self._ledger = ledger
        self._workshop = workshop
        self._blobs = blobs
        self._outlook = Outlook(ledger, asking)
        self.gate = Gate(ledger, self._outlook)
        # Whoever publishes holds the first, for a moment; people's changes take turns by the other.
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._makers: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def current(self, name: str) -> Revision:
        """What `tenant/project` serves from. Raises PointsmanError(NOT_FOUND)."""
        with self._ledger.reading() as connection:
            found = revisions.current(connection, name)
        if found is None:
            raise _no_project(name)
        return found

    def revision(self, name: str, number: int) -> Revision:
        """One revision, serving or not. Raises PointsmanError(NOT_FOUND)."""
        with self._ledger.reading() as connection:
            found = revisions.get(connection, name, number)
        if found is None:
            raise PointsmanError(
                Kind.NOT_FOUND,
                f"{name} has no revision {number}",
                hint="`pointsman history` shows which there are",
            )
        return found

    def table(self, revision: Revision) -> ProjectTable:
        """The table a revision was compiled to."""
        return msgspec.json.decode(self._blobs.read(revision.table_digest), type=ProjectTable)

    def declared(self, revision: Revision) -> Declared:
        return Declared(canonical.parse(revision.spec), self.table(revision))

    def compare(self, name: str, before: int, after: int) -> Difference:
        """What differs between two revisions."""
        return difference(
            self.declared(self.revision(name, before)), self.declared(self.revision(name, after))
        )

    def plan(
        self, project: Project, intent: Intent | None = None, window: Window | None = None
    ) -> Planned:
        """What applying this would change. Asks the registry, and changes nothing.

        intent: who may want it applied: a plan over the limits is kept under this name, and a
            version that the replay has to ask is prepared; without one, it has to be prepared
        window: logged decisions to replay; None = none, and limits that need some are not looked at
        """
        name = qualified(project.tenant, project.name)
        last = self._last(name)
        serving = last if last is not None and last.cause != "delete" else None
        revision_id = canonical.revision(project)
        number = 0 if last is None else last.number
        if serving is not None and serving.digest == revision_id:
            pins = {variant: pin.source for variant, pin in _serving(serving).pins.items()}
            return Planned(name, number, revision_id, difference(None, None), pins)
        base = self._base(last)
        resolution = self._workshop.resolve(project, base.pins, {})
        before = None if serving is None else self.declared(serving)
        rollout = self._rollout(name, project)
        weight = NOTHING if rollout is None else rollout.weight
        preview = self._workshop.preview(project, resolution, claimed(weight, project, base))
        if rollout is not None and not grows(rollout, project, preview, exactly=False):
            preview = self._workshop.preview(project, resolution, claimed(NOTHING, project, base))
        pins = {variant: version.uri for variant, version in resolution.by_variant.items()}
        planned = Planned(
            name, number, revision_id, difference(before, Declared(project, preview)), pins
        )
        if before is None:
            return planned
        if window is None:
            return msgspec.structs.replace(planned, standing=None)

        def artifact(variant: Variant) -> str:
            make = intent is not None and bool(intent.actor)
            return variant.artifact or self._workshop.artifact(
                project, resolution, base, variant.source, make=make
            )

        tables = course(before.table, preview, project, base.state, rollout)
        seen = self._outlook.look(tables, (before.project, project), window, artifact)
        ground = Ground(name, number, revision_id, pins)
        # Limits are held against what an apply will look at, whatever part people ask to see.
        alike = msgspec.structs.replace(window, value="") == Window()
        judged = seen if alike else None
        standing = self.gate.standing(ground, tables, (before.project, project), judged, artifact)
        if intent is not None:
            self.gate.remember(ground, standing, intent.actor)
        return msgspec.structs.replace(planned, course=tables, seen=seen, standing=standing)

    def apply(self, project: Project, intent: Intent) -> Outcome:
        """Makes the project what is declared; prepared and proved first, then published at once."""
        name = qualified(project.tenant, project.name)
        revision_id = canonical.revision(project)

        def made(last: Revision | None) -> Candidate | None:
            if last is not None and last.cause != "delete" and last.digest == revision_id:
                return None
            base = self._base(last)
            resolution = self._workshop.resolve(project, base.pins, {})
            return self._owned(
                name, project, base, lambda own: self._workshop.build(project, resolution, own)
            )

        return self._change(name, made, "apply", intent)

    def repin(
        self, name: str, moved: Mapping[str, ModelVersion], cause: str, intent: Intent
    ) -> Outcome:
        """The project with some variants at other versions; declared content stays as it is.

        The input schema stays too: clients were told of it. Raises PointsmanError: INVALID where a
        new version does not fit it; as `apply` where it is over the limits, or frozen.
        """

        def made(_: Revision | None) -> Candidate:
            last = self.current(name)
            base = self._base(last)
            project = canonical.parse(last.spec)
            resolution = self._workshop.resolve(project, base.pins, moved)
            kept = msgspec.structs.replace(resolution, signature=None)
            return self._owned(
                name, project, base, lambda own: self._workshop.build(project, kept, own)
            )

        return self._change(name, made, cause, intent)

    def _change(
        self,
        name: str,
        make: Callable[[Revision | None], Candidate | None],
        cause: str,
        intent: Intent,
    ) -> Outcome:
        """Makes a change that may take minutes, without keeping anything immediate waiting.

        Models are prepared and limits looked at while rollbacks, undos and weights go on; what came
        in between is what the change is then made to, quickly, since everything is prepared.
        make: the candidate for a revision; None where that is what is wanted already
        """
        with self._makers[name]:
            for _ in range(_TRIES):
                moment, last = self._moment(name), self._last(name)
                _check_parent(name, last, intent)
                candidate = make(last)
                if candidate is None:
                    assert last is not None
                    sentence = f"{name}: nothing to change, revision {last.number} is the same"
                    nothing = difference(None, None)
                    return Outcome(name, last.number, last.digest, False, nothing, sentence)
                forced = self._pass(last, candidate, intent)
                with self._locks[name]:
                    if self._moment(name) == moment:
                        return self._commit(last, candidate, cause, intent, forced=forced)
        raise PointsmanError(
            Kind.CONFLICT,
            f"{name} keeps being changed; nothing was changed by this",
            hint="try again, or `pause` its rollout first",
        )

    def undo(self, name: str, to: int | None, intent: Intent) -> Outcome:
        """An earlier revision again, under a new number: its spec, versions and allocation.

        Immediate: no registry, no preparation. to: None = the one before the present one
        """
        with self._locks[name]:
            last = self._last(name)
            if last is None:
                raise _no_project(name)
            _check_parent(name, last, intent)
            target = self._undo_target(last, to)
            earlier = self.table(target)
            serving = _serving(target)
            base = self._base(last)
            project = canonical.parse(target.spec)

            def again(own: Base) -> Candidate:
                then = restored(own.state, earlier)
                then = msgspec.structs.replace(then, adopted=serving.project.adopted)
                return self._workshop.compiled(project, then, serving.pins)

            candidate = self._owned(name, project, base, again)
            return self._commit(last, candidate, "undo", intent, restores=target.number)

    def prepare(self, name: str, variant: str, version: ModelVersion) -> Pinned:
        """What a variant would be at another version, prepared and proved; nothing is changed.

        Raises PointsmanError as `repin`.
        """
        last = self.current(name)
        base = self._base(last)
        project = canonical.parse(last.spec)
        resolution = self._workshop.resolve(project, base.pins, {variant: version})
        kept = msgspec.structs.replace(resolution, signature=None)
        candidate = self._workshop.build(project, kept, base)
        found = next(v for v in candidate.table.variants if v.name == variant)
        return Pinned(found, candidate.serving.pins[variant], schema_of(candidate.table))

    def shift(
        self, name: str, shift: Shift, intent: Intent, also: Callable[[Connection, int], None]
    ) -> Outcome:
        """The project with other weights of one rule, and some variants at other versions.

        Immediate: no registry, no preparation. Nothing is published where all of it is so already.
        also: done in the same transaction, with the number of the revision that carries it
        """
        with self._locks[name]:
            last = self.current(name)
            project = canonical.parse(last.spec)
            candidate = self._workshop.compiled(project, *shifted(self._base(last), project, shift))
            if _same(candidate.table, self.table(last)):
                with self._ledger.writing() as connection:
                    also(connection, last.number)
                sentence = f"{name}: revision {last.number} has these weights already"
                nothing = difference(None, None)
                return Outcome(name, last.number, last.digest, False, nothing, sentence)
            return self._commit(last, candidate, "rollout", intent, also=also)

    def _pass(self, last: Revision | None, candidate: Candidate, intent: Intent) -> str:
        """Lets a change through that keeps the limits or is approved; what was broken by force.

        Errors: FORBIDDEN where it may not pass, INVALID for force without a reason.
        """
        if intent.force and not intent.reason.strip():
            raise PointsmanError(
                Kind.INVALID, "force needs a reason", hint="say it with --reason; it is recorded"
            )
        if last is None or last.cause == "delete":
            return ""
        before, project = self.declared(last), candidate.project
        pins = {variant: pin.source for variant, pin in candidate.serving.pins.items()}
        ground = Ground(last.project, last.number, canonical.revision(project), pins)
        rollout, base = self._rollout(last.project, project), self._base(last)
        tables = course(before.table, candidate.table, project, base.state, rollout)
        standing = self.gate.standing(ground, tables, (before.project, project), None)
        if not intent.force:
            self.gate.remember(ground, standing, intent.actor)
            self.gate.check(ground, standing, intent.actor)
            return ""
        return "; ".join(
            [standing.frozen] * bool(standing.frozen) + [one.sentence for one in standing.over]
        )

    def _owned(
        self, name: str, project: Project, base: Base, build: Callable[[Base], Candidate]
    ) -> Candidate:
        """The candidate of a change by people, with the split a rollout owns as it has to be.

        That is without any traffic before a rollout has begun, and for any version but the one
        that grows: nothing but a rollout gives traffic to a version that nobody has judged.
        """
        rollout = self._rollout(name, project)
        weight = NOTHING if rollout is None else rollout.weight
        candidate = build(claimed(weight, project, base))
        if rollout is None or weight == 0 or grows(rollout, project, candidate.table):
            return candidate
        return build(claimed(NOTHING, project, base))

    def _moment(self, name: str) -> tuple[int, int]:
        """What a change is made to: the newest revision, and what a rollout last asked for."""
        with self._ledger.reading() as connection:
            row = revisions.project_row(connection, name)
            found = rollouts.state(connection, name)
        return 0 if row is None else row.number, 0 if found is None else found.publication

    def _rollout(self, name: str, project: Project) -> State | None:
        if project.spec.rollout is None:
            return None
        with self._ledger.reading() as connection:
            return rollouts.state(connection, name)

    def delete(self, name: str, intent: Intent) -> Outcome:
        """Takes the project out of the table. Its revisions stay, and `undo` brings it back."""
        with self._locks[name]:
            last = self.current(name)
            _check_parent(name, last, intent)
            kept = _serving(last)
            after = msgspec.structs.replace(
                last,
                number=last.number + 1,
                parent=last.number,
                cause="delete",
                state=state.encode(kept),
                at_ms=self._ledger.now_ms(),
                actor=intent.actor,
                reason=intent.reason,
                restores=None,
            )
            found = difference(self.declared(last), None)
            sentence = f"{name}: deleted at revision {after.number}"
            return self._write(after, found, sentence)

    def _last(self, name: str) -> Revision | None:
        """The newest revision, serving or deleted."""
        with self._ledger.reading() as connection:
            row = revisions.project_row(connection, name)
            return None if row is None else revisions.get(connection, name, row.number)

    def _base(self, last: Revision | None) -> Base:
        if last is None:
            return Base(ProjectState(1, (), ()), {})
        serving = _serving(last)
        pins: dict[str, Pin] = {} if last.cause == "delete" else serving.pins
        return Base(msgspec.structs.replace(serving.project, number=last.number + 1), pins)

    def _undo_target(self, last: Revision, to: int | None) -> Revision:
        if to is not None:
            target = self.revision(last.project, to)
            if target.cause == "delete":
                raise PointsmanError(
                    Kind.INVALID,
                    f"revision {to} of {last.project} is its deletion; there is nothing to restore",
                    hint="name a revision that served",
                )
            return target
        with self._ledger.reading() as connection:
            for earlier in revisions.history(connection, last.project, limit=1000):
                if earlier.number < last.number and earlier.cause != "delete":
                    return earlier
        raise PointsmanError(
            Kind.INVALID,
            f"{last.project} has no revision before {last.number}",
            hint="there is nothing to go back to; `kill` sends everything to the champion",
        )

    def _commit(  # noqa: PLR0913 - each is a part of the revision
        self,
        last: Revision | None,
        candidate: Candidate,
        cause: str,
        intent: Intent,
        *,
        restores: int | None = None,
        also: Callable[[Connection, int], None] | None = None,
        forced: str = "",
    ) -> Outcome:
        project = candidate.project
        name = qualified(project.tenant, project.name)
        spec = canonical.canonical(project)
        new = Revision(
            project=name,
            number=candidate.table.number,
            digest=canonical.revision(project),
            parent=0 if last is None else last.number,
            cause=cause,
            spec=spec,
            state=state.encode(candidate.serving),
            table_digest=digest(encode(candidate.table)),
            blobs=candidate.blobs,
            at_ms=self._ledger.now_ms(),
            actor=intent.actor,
            reason=intent.reason,
            restores=restores,
        )
        before = None if last is None or last.cause == "delete" else self.declared(last)
        found = difference(before, Declared(project, candidate.table))
        sentence = _sentence(new, found)
        if forced:
            sentence = f"{sentence}; BY FORCE, past {forced}"
        return self._write(new, found, sentence, also, forced=forced)

    def _write(
        self,
        new: Revision,
        found: Difference,
        sentence: str,
        also: Callable[[Connection, int], None] | None = None,
        *,
        forced: str = "",
    ) -> Outcome:
        entry = Entry(
            actor=new.actor,
            tenant=new.project.partition("/")[0],
            target=new.project,
            action=f"{new.cause}.force" if forced else new.cause,
            sentence=sentence,
            payload={
                "number": new.number,
                "parent": new.parent,
                "revision": new.digest,
                "table": new.table_digest,
                "reason": new.reason,
                "restores": new.restores,
                **({"forced": forced} if forced else {}),
            },
            # Rollouts tell of their own steps, and people know what they did.
            tell=new.cause == "follow",
        )

        def work(connection: Connection) -> None:
            revisions.commit(connection, new)
            if also is not None:
                also(connection, new.number)

        published = self._ledger.publish(entry, work)
        return Outcome(
            new.project, new.number, new.digest, True, found, sentence, published.version
        )


def _no_project(name: str) -> PointsmanError:
    return PointsmanError(
        Kind.NOT_FOUND, f"no project {name}", hint="`pointsman list` shows what there is"
    )


def _same(one: ProjectTable, other: ProjectTable) -> bool:
    """Whether two tables differ in nothing but their number."""
    return one == msgspec.structs.replace(other, number=one.number)


def _serving(revision: Revision) -> Serving:
    return state.decode(revision.state)


def _check_parent(name: str, last: Revision | None, intent: Intent) -> None:
    """Raises PointsmanError(CONFLICT) where the change was made to another revision."""
    stands = 0 if last is None else last.number
    if intent.parent is not None and intent.parent != stands:
        raise PointsmanError(
            Kind.CONFLICT,
            f"{name} is at revision {stands}, and this change was made to revision {intent.parent}",
            hint="plan again on the newest revision, then apply",
        )


def _sentence(new: Revision, found: Difference) -> str:
    counts = f"{found.add} added, {found.change} changed, {found.destroy} removed"
    what = {
        "apply": f"revision {new.number} applied ({counts})",
        "undo": f"back to revision {new.restores}, as revision {new.number}",
        "accept": f"revision {new.number}: proposal accepted",
        "follow": f"revision {new.number}: followed the registry",
        "rollout": f"revision {new.number}: the rollout's weights",
    }[new.cause]
    moved = "; ".join(f"{move.share:.1%} of rule {move.rule}'s units move" for move in found.moves)
    versions = "; ".join(
        f"{change.name}: {detail}"
        for change in found.changes
        for detail in change.details
        if change.kind == "variant" and detail.startswith("serves: ")
    )
    reason = f" ({new.reason})" if new.reason else ""
    told = "; ".join(part for part in (what, versions, moved) if part)
    return f"{new.project}: {told}{reason}"
