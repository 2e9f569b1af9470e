"""The loop of a rollout: observe, judge, reconcile, commit, act. One project at a time.

A tick acts on what is so now, so a missed one costs time and nothing else. What it decided is
committed with its audit entries before anything of it is done; if somebody else was first, the
whole tick is thrown away and made again.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Final

import msgspec
import structlog
from sqlalchemy import Connection

from pointsman.controller import judging, state
from pointsman.controller.deeds import ACTOR, Deeds
from pointsman.controller.ledger import Ledger
from pointsman.controller.looks import Looks
from pointsman.controller.watch import Seen, Watch
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.rollout.machine import Phase
from pointsman.rollout.observation import Command
from pointsman.rollout.plan import Answer, Plan, Record
from pointsman.rollout.reconcile import reconcile
from pointsman.rollout.state import Transition
from pointsman.spec import canonical
from pointsman.store import looks, outbox, revisions, rollouts
from pointsman.store.audit import Entry
from pointsman.store.revisions import Revision
from pointsman.store.rollouts import Overtaken

_log = structlog.get_logger(__name__)
_TRIES: Final = 5
_REST: Final = 4.0
"""After a tick a project rests for so many times as long as it worked, so that one whose every
slice is judged keeps no processor busy."""
_LONGEST_REST_S: Final = 3.0
"""But never longer: harm has to be seen."""


class Rollouts:
    """Ticks every project that declares a rollout. Blocking; safe to use from several threads."""

    def __init__(
        self,
        ledger: Ledger,
        watch: Watch,
        deeds: Deeds,
        witness: Callable[[str, Seen, Transition], None] | None = None,
    ) -> None:
        """witness: told of each transition once it is committed; may neither raise nor block"""
        self._witness = witness
        self._ledger = ledger
        self._watch = watch
        self._deeds = deeds
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._rested_at: defaultdict[str, float] = defaultdict(float)
        self._looks = Looks()

    def turn(self) -> bool:
        """One tick of each project. False: what is left waits for time or for somebody."""
        for name in self._watch.names():
            if time.monotonic() < self._rested_at[name]:
                continue
            # Its own work, not what it waited for: a machine that is busy with other things must
            # not keep a project from being looked at.
            started = time.thread_time()
            try:
                self.tick(name)
            except Exception as error:  # noqa: BLE001 - one project must not stop the others
                _log.warning("no tick", project=name, error=f"{type(error).__name__}: {error}")
            rest_s = min(_REST * (time.thread_time() - started), _LONGEST_REST_S)
            self._rested_at[name] = time.monotonic() + rest_s
        return False

    def rests_s(self, name: str) -> float:
        """How long until `turn` looks at a project again; 0 where its next turn does."""
        return max(self._rested_at.get(name, 0.0) - time.monotonic(), 0.0)

    def tick(self, name: str) -> Plan | None:
        """One tick, with what follows from it as far as it can be done now.

        Returns: None where the project declares no rollout
        Raises what the store raises; what was committed is then done by a later tick.
        """
        with self._locks[name]:
            for _ in range(_TRIES):
                seen = self._watch.see(name, self._ledger.now_ms())
                if seen is None:
                    return None
                plan = self.plan(seen)
                try:
                    self.commit(name, seen, plan)
                except Overtaken:
                    continue
                self._act(name, seen, plan)
                return plan
        raise PointsmanError(
            Kind.CONFLICT,
            f"{name}: the rollout keeps being changed by somebody else",
            hint="is another controller using this data directory?",
        )

    def plan(self, seen: Seen) -> Plan:
        """What is to be done about what was seen. Nothing is changed."""
        return reconcile(seen.at.terms, seen.state, seen.observation, self._ledger.now_ms())

    def commit(self, name: str, seen: Seen, plan: Plan) -> None:
        """Writes state, transitions, answers, outbox and what judging read, or nothing.

        Raises Overtaken where another state is there than the plan came from.
        """
        records = [one.transition for one in plan.effects if isinstance(one, Record)]
        tasks = [one for one in plan.effects if not isinstance(one, Record)]
        read = seen.read
        if not plan.changed and not plan.answers and (read is None or not read.changed):
            return

        def work(connection: Connection) -> None:
            if plan.changed:
                assert plan.state is not None
                rollouts.put_state(connection, name, plan.expects, plan.state)
            if read is not None and read.changed:
                body = judging.encode(read.judging)
                rollouts.put_judging(connection, name, read.number, body)
            for answer in plan.answers:
                rollouts.answer(connection, answer)
            outbox.put(connection, name, tasks, self._ledger.now_ms())
            if seen.state is not None:
                looks.add(connection, name, seen.state.attempt, new)

        new = self._looks.new(name, seen, self._ledger.now_ms())
        self._ledger.commit([_entry(name, record) for record in records], work)
        self._looks.keep(name, seen, new)
        for record in records:
            _log.info(
                "rollout",
                project=name,
                rollout_event=record.event.value,
                phase=record.after.value,
                weight=str(record.weight),
                actor=record.actor or ACTOR,
                sentence=record.sentence,
            )
            if self._witness is not None:
                self._witness(name, seen, record)

    def ask(self, name: str, wanted: Command) -> Answer:
        """Carries a command out, or refuses it, with the sentence. `wanted.seq` is given here.

        Raises PointsmanError: INVALID where the project declares no rollout.
        """
        if self._watch.see(name, self._ledger.now_ms()) is None:
            raise PointsmanError(
                Kind.INVALID,
                f"{name} declares no rollout",
                hint="add a `rollout` block to its file; `undo` and `kill` need none",
            )
        with self._ledger.writing() as connection:
            seq = rollouts.ask(connection, name, wanted, self._ledger.now_ms())
        self.tick(name)
        with self._ledger.reading() as connection:
            answer = rollouts.answered(connection, seq)
        if answer is None:
            raise PointsmanError(
                Kind.UNAVAILABLE,
                f"{name}: {wanted.verb.value} is taken down, and nobody has answered it yet",
                hint="`status` shows what comes of it",
            )
        return answer

    def takes_undo(self, name: str) -> bool:
        """Whether an `undo` that names no revision is about the rollout: it has traffic, or its
        success was the last thing that happened."""
        with self._ledger.reading() as connection:
            found = rollouts.state(connection, name)
            revision = revisions.current(connection, name)
        if found is None or revision is None or not _has_rollout(revision):
            return False
        if found.phase is Phase.SUCCEEDED:
            return revision.cause == "rollout"
        return found.phase in {Phase.RUNNING, Phase.PAUSED, Phase.PROMOTING}

    def _act(self, name: str, seen: Seen, plan: Plan) -> None:
        """Publishes, which asks nobody. What may take its time (aliases, people) is done apart."""
        if self._deeds.tables(name) and not plan.changed:
            self._restore(seen, plan)

    def _restore(self, seen: Seen, plan: Plan) -> None:
        """Publishes the rollout's weights again where somebody published past it."""
        kept = state.decode(seen.at.revision.state).project.owned
        own = next((one.weights for one in kept if one.rule == seen.at.terms.rule), None)
        if own is not None and dict(own) == dict(plan.weights) and not _another(seen):
            return
        self._deeds.publish(seen.at, plan.state, plan.weights)


def _has_rollout(revision: Revision) -> bool:
    return canonical.parse(revision.spec).spec.rollout is not None


def _another(seen: Seen) -> bool:
    """Whether a version has the rollout's traffic that is not the one that grows."""
    if seen.state is None or seen.state.weight == 0:
        return False
    table = seen.at.variant(seen.at.terms.variant)
    return table is not None and table.source != seen.state.target.source


def _entry(name: str, record: Transition) -> Entry:
    return Entry(
        actor=record.actor or ACTOR,
        tenant=name.partition("/")[0],
        target=name,
        action=f"rollout.{record.event.value}",
        sentence=record.sentence,
        payload=msgspec.to_builtins(record),
    )
