"""The rollout loop's world when everything goes wrong in it; one seed draws all of it.

Controllers die before any transaction of theirs and are started again on the same store, or have a
rival that ticks in that very place; the database fails, the registry is away, gateways are late,
people ask for anything, evidence says anything, labels are late or never come, the clock jumps.
"""

from collections import Counter, defaultdict
from contextlib import contextmanager
from pathlib import Path
from random import Random

import msgspec
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from tests.controller.rollout_world import DAY, FILE, HOUR, MINUTE, NAME, SECOND, World

from pointsman.controller.projects import Intent
from pointsman.controller.switches import Switches
from pointsman.domain.errors import PointsmanError
from pointsman.journal.codec import encode_record
from pointsman.rollout.observation import Command, Verb
from pointsman.store import rollouts

GUARDRAIL = "      - {metric: errors, absolute: 0.1}\n"
LABELLED = FILE.replace(
    "  metrics:\n",
    "  outcomes: {label: {horizon: 1m}}\n  metrics:\n    right: {kind: classifier, of: accuracy}\n",
).replace(GUARDRAIL, GUARDRAIL + "    signals:\n      - {metric: right, atLeast: -0.3}\n")
FILES = (
    FILE,
    LABELLED,
    LABELLED.replace("hold: 1m, minDecisions: 20", "hold: 2m, minOutcomes: 20"),
    FILE.replace("- analysis: {hold: 1m}\n", "- approval: {by: approver}\n"),
    FILE.replace("setWeight: 10", "setWeight: 5").replace("setWeight: 50", "setWeight: 25"),
    FILE.replace("age: long", "age: double"),
)
"""Whatever `apply` may say from one time to the next."""

MOODS = {
    "good": {},
    "harmful": {"deny": {"challenger": 0.9}},
    "harms France": {"deny": {"challenger/FR": 1.0}},
    "failing": {"errors": {"challenger": 0.6}},
    "lying": {"lie": 0.04},
    "losing": {"lost": {"challenger": 0.6}},
}
"""What traffic is like, by what the challenger does to it."""

VERBS = ("promote", "pause", "resume", "resume", "abort", "retry", "undo", "approve", "approve")


BEGIN = "pointsman_begin"
"""Option of a connection that only reads."""


class Died(BaseException):
    """The controller was killed. Nothing of it may catch this."""


class Recording:
    """A controller's eyes, with what they saw last."""

    def __init__(self, watch):
        self._watch = watch
        self.seen = None

    def see(self, name, now_ms):
        self.seen = self._watch.see(name, now_ms)
        return self.seen


class RoughWorld(World):
    """One project and its rollouts. calm: with less that ends them"""

    def __init__(self, root: Path, seed: int) -> None:
        super().__init__(root, FILE)
        self.draw = Random(seed)
        self.calm = seed % 2 == 0
        self.mood = "good"
        self.registry.refused = {str(n) for n in range(5, 40, 7)}
        self.unheard = []
        self.drawn = Counter()
        self.fed = defaultdict(Counter)
        self.happened = Counter()
        self.failing = False
        self._until = None
        self._then = None
        self._written_by = None
        event.listen(self.engine, "checkout", self._before)
        event.listen(self.engine, "begin", self._begun)
        for end in ("commit", "rollback"):
            event.listen(self.engine, end, self._ended)

    def controller(self):
        made = super().controller()
        made._watch = Recording(made._watch)
        return made

    def _before(self, *_connection):
        """Before each transaction of anybody, whether it reads or writes."""
        if self.failing:
            raise OperationalError("BEGIN", {}, Exception("disk I/O error"))
        if self._until is None:
            return
        self._until -= 1
        # While somebody writes, others wait.
        if self._until < 0 and self._written_by is None:
            self._until = None
            self._then()

    def _begun(self, connection):
        if connection.get_execution_options().get(BEGIN) is None:
            self._written_by = connection

    def _ended(self, connection):
        if connection is self._written_by:
            self._written_by = None

    @contextmanager
    def interrupted(self, transactions, then):
        """After so many transactions something else happens first."""
        self._until, self._then = transactions, then
        try:
            yield
        finally:
            self._until = None

    # What happens between two ticks.

    def happen(self):
        """Something, most often what lets a rollout go on."""
        acts = [self.go_on, self.candidate, self.command, self.trouble, self.jump, self.mend]
        (act,) = self.draw.choices(acts, [60, 60 if self.phase_ended else 2, 8, 6, 4, 8])
        self.happened[act.__name__] += 1
        try:
            act()
        except PointsmanError:
            self.happened["refused"] += 1

    @property
    def phase_ended(self):
        state = self.state
        return state is None or state.phase.value in {"rolled_back", "failed", "succeeded"}

    def go_on(self):
        """Time passes, gateways serve the newest table or not yet, and there is traffic or none."""
        self.pass_time(self.draw.choice([20 * SECOND, MINUTE, 2 * MINUTE]))
        if self.draw.random() < 0.8:
            self.serve()
        if self.draw.random() < 0.9:
            self.some_traffic()

    def some_traffic(self):
        if self.draw.random() < 0.1:
            weights = [8, 2, 1, 1, 1, 1] if self.calm else [3, 2, 2, 2, 2, 2]
            (self.mood,) = self.draw.choices([*MOODS], weights)
        right = {"challenger": self.draw.choice([0.9, 0.9, 0.4]), "champion": 0.9}
        records = self.traffic(self.draw.choice([30, 90, 150]), **MOODS[self.mood])
        self.drawn.update((record.epoch, record.assigned) for record in records)
        attempt = 0 if self.state is None else self.state.attempt
        grown = sum(record.assigned == "challenger" for record in records)
        self.fed[attempt] += Counter({self.mood: grown})
        if self.draw.random() < 0.5:
            self.unheard += [self._label(record, right) for record in records]
        if self.draw.random() < 0.25:
            self.hear()

    def hear(self):
        """Some labels come, late and in any order; some never do."""
        self.draw.shuffle(self.unheard)
        heard, self.unheard = self.unheard[:150], self.unheard[150:]
        heard = [msgspec.structs.replace(one, received_ms=self.clock.ms) for one in heard]
        self.writer.append([encode_record(one) for one in heard])
        self.ingest()

    def candidate(self):
        """An alias moves: to another version, back to the champion's, or where it was."""
        alias = self.draw.choice(["challenger"] * 6 + ["champion"])
        self.point(alias, str(self.draw.randint(1, 40)))

    def command(self):
        """Somebody asks for something, and does not wait for the answer."""
        verb = self.draw.choice(VERBS)
        if self.calm and verb in {"abort", "undo", "pause"}:
            verb = "approve"
        actor = self.draw.choice(["ada", "bob", "eve"])
        roles = self.draw.choice([(), ("approver",)])
        self.asked(verb, actor=actor, roles=roles, full=self.draw.random() < 0.2)

    def asked(self, verb, **how):
        with self.ledger.writing() as connection:
            rollouts.ask(connection, NAME, Command(0, Verb(verb), **how), self.clock.ms)

    def trouble(self):
        """What happens more rarely, and what ends it again."""
        acts = [self.apply_another, self.undo_revision, self.registry_goes, self.switch, self.guard]
        acts += [self.refuse, self.refuse]
        self.draw.choice(acts)()

    def apply_another(self):
        self.apply(self.draw.choice(FILES))

    def undo_revision(self):
        """Past the rollout, in the middle of a promotion too."""
        self.projects.undo(NAME, None, Intent("ada"))

    def registry_goes(self):
        self.registry.down = not self.registry.down

    def switch(self):
        """At the controller."""
        switches, intent = Switches(self.ledger, self.projects), Intent("bob", "smoke")
        if not switches.lift(NAME, "challenger", intent)[0] and not self.calm:
            switches.kill(NAME, "challenger", intent)

    def guard(self):
        """At the gateway."""
        path = self.root / "gateway" / "overrides.json"
        if path.exists():
            path.unlink()
        elif not self.calm:
            switch = {"target": f"{NAME}/challenger", "actor": "guard", "reason": "errors"}
            path.write_bytes(msgspec.json.encode({"switches": [switch]}))

    def refuse(self):
        """Gateways cannot load what they were given."""
        self.serve(refused="" if self.calm else "onnxruntime says no")

    def mend(self):
        """Much of it is seen to, and whatever was paused goes on."""
        self.registry.down = False
        (self.root / "gateway" / "overrides.json").unlink(missing_ok=True)
        Switches(self.ledger, self.projects).lift(NAME, "challenger", Intent("bob"))
        self.asked("resume", actor="bob")

    def jump(self):
        """The controller was away for long, or its clock was put right."""
        self.pass_time(self.draw.choice([20 * MINUTE, 3 * HOUR, 2 * DAY, -10 * SECOND, -HOUR]))

    def heal(self):
        """All that goes wrong ends; gateways serve the newest table."""
        self.mend()
        self.rollouts = self.controller()
