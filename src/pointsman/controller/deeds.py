"""What a rollout decided, carried out: tables published, aliases moved, people told.

The decision was committed before, so each deed is done until it succeeds, and may be done twice.
Tables need neither registry nor gateway, so a registry that is down delays an alias and nothing
else.
"""

from collections.abc import Callable, Iterator
from typing import Final

import structlog
from sqlalchemy import Connection

from pointsman.controller import pinned, watch
from pointsman.controller.ledger import Ledger
from pointsman.controller.ownership import Shift
from pointsman.controller.pinned import Pinned
from pointsman.controller.projects import Intent, Projects
from pointsman.controller.watch import Place
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.ports import Notification, Notifier, RegistryWriter
from pointsman.rollout import declared, words
from pointsman.rollout.observation import Finding, Unit, Version
from pointsman.rollout.plan import Notify, Publish, SetAlias, Weights
from pointsman.rollout.state import State, VerdictChange
from pointsman.spec import canonical
from pointsman.store import outbox, revisions, rollouts
from pointsman.store.audit import Entry

_log = structlog.get_logger(__name__)
ACTOR: Final = "pointsman"
_FIRST_WAIT_MS: Final = 1_000
_REVISIONS: Final = 500
"""How far back a version is looked for that the champion goes back to."""

_HOPELESS: Final = frozenset({Kind.INVALID, Kind.NOT_FOUND, Kind.FORBIDDEN})
"""Of a registry: asking again would change nothing."""


class Deeds:
    """Carries out the outbox. Blocking; safe to use from several threads."""

    def __init__(
        self, ledger: Ledger, projects: Projects, registry: RegistryWriter, notifier: Notifier
    ) -> None:
        self._ledger = ledger
        self._projects = projects
        self._registry = registry
        self._notifier = notifier

    def tables(self, name: str) -> bool:
        """Publishes what is to be published. Whether nothing is left of it."""
        return self._each(name, (Publish,), self._publish)

    def others(self) -> bool:
        """Moves aliases and tells people, for one caller at a time: a registry that does not answer
        takes its time. False: what is left waits for its next try."""
        with self._ledger.reading() as connection:
            names = outbox.projects(connection)
        for name in names:
            with self._ledger.reading() as connection:
                left = outbox.left(connection, name)
            # People hear of what happened, whatever became of it; an alias follows its table.
            self._each(name, (Notify, outbox.Tell), self._notify)
            if not any(isinstance(entry.task, Publish) for entry in left):
                self._each(name, (SetAlias,), self._set_alias)
        return False

    def publish(self, place: Place, state: State | None, weights: Weights) -> None:
        """Makes the table what the rollout wants, where somebody published past it. Whoever does so
        again at this moment is left to the next tick."""
        try:
            self._shift(place, state, Publish(0, weights), _nothing)
        except PointsmanError as error:
            if error.kind is not Kind.CONFLICT:
                raise
            _log.info("not put right yet", project=place.revision.project, error=error.message)

    def _each(
        self,
        name: str,
        kinds: tuple[type[outbox.Task], ...],
        do: Callable[[outbox.Entry], None],
    ) -> bool:
        with self._ledger.reading() as connection:
            due = outbox.due(connection, name, self._ledger.now_ms())
        for entry in due:
            if not isinstance(entry.task, kinds):
                continue
            try:
                do(entry)
            except PointsmanError as error:
                wait = min(_FIRST_WAIT_MS * 2 ** min(entry.tries, 20), outbox.LONGEST_WAIT_MS)
                _log.warning(
                    "not done yet",
                    project=name,
                    what=outbox.kind_of(entry.task),
                    error=error.message,
                    again_in_ms=wait,
                )
                with self._ledger.writing() as connection:
                    again = self._ledger.now_ms() + wait
                    outbox.failed(connection, entry, error.message, again)
                return False
        return True

    def _done(self, entry: outbox.Entry) -> None:
        with self._ledger.writing() as connection:
            outbox.done(connection, entry, self._ledger.now_ms())

    def _publish(self, entry: outbox.Entry) -> None:
        wanted = entry.task
        assert isinstance(wanted, Publish)
        with self._ledger.reading() as connection:
            state = rollouts.state(connection, entry.project)
            revision = revisions.current(connection, entry.project)
        if state is None or revision is None or state.publication > wanted.publication:
            self._done(entry)  # overtaken by a later one, or there is nothing to publish any more
            return
        project = canonical.parse(revision.spec)
        terms = declared.terms(project)
        if terms is None:
            self._done(entry)
            return

        def also(connection: Connection, number: int) -> None:
            rollouts.published(connection, entry.project, wanted.publication, number)
            outbox.done(connection, entry, self._ledger.now_ms())

        place = Place(revision, project, self._projects.table(revision), terms)
        self._shift(place, state, wanted, also)

    def _shift(
        self,
        place: Place,
        state: State | None,
        wanted: Publish,
        also: Callable[[Connection, int], None],
    ) -> None:
        name, terms = place.revision.project, place.terms
        found: dict[str, Pinned] = {}
        if state is not None and dict(wanted.weights)[terms.variant] > 0:
            found[terms.variant] = self._find(place, state.target)
        if wanted.pin is not None:
            found[terms.against] = self._find(place, wanted.pin)
        shift = Shift(terms.rule, wanted.weights, found)
        reason = state.history[-1].sentence if state is not None and state.history else ""

        def unless_overtaken(connection: Connection, number: int) -> None:
            # Another controller may have taken traffic back since, and published that already.
            if _publication(rollouts.state(connection, name)) != _publication(state):
                raise PointsmanError(Kind.CONFLICT, f"{name}: the rollout has gone on meanwhile")
            also(connection, number)

        self._projects.shift(name, shift, Intent(ACTOR, reason), unless_overtaken)

    def _find(self, place: Place, wanted: Version) -> Pinned:
        """A prepared version. Raises PointsmanError(NOT_FOUND)."""
        found = pinned.find(wanted, self._known(place), pinned.schema_of(place.table))
        if found is None:
            raise PointsmanError(
                Kind.NOT_FOUND,
                f"{place.revision.project}: version {wanted.label} was prepared for no table with "
                "these classes and features",
                hint="`abort`, then apply the version that is wanted",
            )
        return found

    def _known(self, place: Place) -> Iterator[Pinned]:
        """Every version there is, the likeliest first."""
        yield from pinned.of_revision(place.revision, place.table)
        name = place.revision.project
        with self._ledger.reading() as connection:
            candidate = watch.candidate(connection, place)
            earlier = revisions.history(connection, name, _REVISIONS)
        if candidate is not None:
            yield candidate
        for revision in earlier:
            if revision.cause != "delete":
                yield from pinned.of_revision(revision, self._projects.table(revision))

    def _set_alias(self, entry: outbox.Entry) -> None:
        task = entry.task
        assert isinstance(task, SetAlias)
        with self._ledger.reading() as connection:
            state = rollouts.state(connection, entry.project)
        where = f"{task.alias} of {task.version.source}"
        tags = written_back(state, task.version) if state is not None else {}
        try:
            self._registry.write_back(task.version.source, task.alias, tags)
            sentence = f"{entry.project}: alias {task.alias} points to version {task.version.label}"
            failed = ""
        except PointsmanError as error:
            if error.kind not in _HOPELESS:
                raise
            sentence = f"{entry.project}: alias {where} could not be moved: {error.message}"
            failed = error.message
            _log.error("alias not moved", project=entry.project, error=error.message)
        told = Entry(
            ACTOR,
            entry.project.partition("/")[0],
            entry.project,
            "rollout.alias",
            sentence,
            {"alias": task.alias, "source": task.version.source, "error": failed},
            tell=True,
        )
        self._ledger.note(told, lambda tx: outbox.done(tx, entry, self._ledger.now_ms()))

    def _notify(self, entry: outbox.Entry) -> None:
        task = entry.task
        assert isinstance(task, Notify | outbox.Tell)
        if isinstance(task, outbox.Tell):
            kind = task.action
        else:
            kind = f"rollout.{'waiting' if task.event is None else task.event.value}"
        self._notifier.notify(Notification(entry.project, kind, task.sentence, entry.at_ms))
        self._done(entry)


class LogNotifier:
    """Tells nobody but the log."""

    def notify(self, notification: Notification) -> None:
        _log.info(
            "notification",
            project=notification.project,
            kind=notification.type,
            sentence=notification.sentence,
        )


def written_back(state: State, version: Version) -> dict[str, str]:
    """What a version's tags say of its rollout: the verdict, the metrics with n, and the traffic
    it had. Nothing for a version that did not grow in it."""
    if version != state.target:
        return {}
    own = [step for step in state.history if step.attempt == state.attempt]
    traffic = [f"{words.percent(step.weight)} from {step.at_ms}" for step in own if step.weight]
    latest = {(v.role, v.metric, v.slice): v for v in state.verdicts}
    return {
        "pointsman.verdict": state.phase.value,
        "pointsman.sentence": own[-1].sentence if own else "",
        "pointsman.metrics": "; ".join(_metric(change) for change in latest.values()),
        "pointsman.traffic": "; ".join(dict.fromkeys(traffic)),
    }


def _metric(change: VerdictChange) -> str:
    found = Finding(
        change.role,
        change.metric,
        change.verdict,
        change.slice,
        change.value,
        change.bound,
        Unit.PLAIN,
        change.n,
    )
    return f"{words.finding(found)}: {change.verdict.value}"


def _publication(state: State | None) -> int:
    """The newest that was asked for; 0 without a rollout."""
    return 0 if state is None else state.publication


def _nothing(_: Connection, __: int) -> None:
    """It was decided before, and is written down already."""
