"""A small world that a rollout runs in, and that goes wrong: shared by random tests.

Gateways serve what was published when they get round to it, evidence says anything, people ask for
anything, controllers die between two lines and come in pairs. Drawn from one seeded source, so
that a failing run replays.
"""

from decimal import Decimal
from random import Random

from msgspec.structs import replace
from tests.rollout.story import steps_of

from pointsman.rollout.observation import (
    Command,
    Counts,
    Finding,
    Health,
    Judgement,
    Observation,
    Refusal,
    Role,
    Verb,
    Verdict,
    Version,
)
from pointsman.rollout.plan import Publish
from pointsman.rollout.reconcile import reconcile
from pointsman.rollout.state import decode, encode
from pointsman.rollout.terms import Freeze, SetWeight, Terms

MINUTE = 60_000
COURSES = (
    "5% 10m+50dec 25% 1h 50% 1h+20out 100%",
    "1% 30m @approver 10% 30m",
    "@approver 10% 10m 20% 1h",
    "10% 5m 30% 5m @approver 5m 60% 5m",
    "2% 5m 100%",
    "50% 1h+500dec",
)
HEALTH = (Health.HEALTHY, Health.HEALTHY, Health.UNHEALTHY, Health.UNKNOWN)
GUARDRAILS = ("errors", "recall")


def terms(draw: Random, start_ms):
    """Any terms that `declared` would let through."""
    freeze = start_ms + draw.randrange(0, 3 * 60) * MINUTE
    return Terms(
        project="fraud",
        variant="challenger",
        against="champion",
        rule="default",
        others=(("champion", Decimal(90)),),
        steps=steps_of(draw.choice(COURSES)),
        guardrails=GUARDRAILS,
        signals=("drift",),
        no_data=draw.choice(["hold", "rollback"]),
        no_data_deadline_ms=10 * MINUTE,
        cooldown_ms=draw.choice([0, 60 * MINUTE]),
        alias=draw.choice(["champion", ""]),
        max_step=draw.choice([None, Decimal(25)]),
        approvals=draw.choice([1, 2]),
        freezes=(Freeze(freeze, freeze + 90 * MINUTE, "a day off"),) if draw.random() < 0.3 else (),
    )


def judgement(draw: Random):
    """Any verdict, with reasons that fit it, or nothing at all."""
    kind = draw.choices(
        ["pass", "inconclusive", "holds", "labels", "silent", "fail", "bare", "none"],
        [40, 25, 8, 8, 5, 4, 3, 3],
    )[0]
    if kind == "none":
        return None
    if kind == "bare":
        return Judgement(draw.choice(list(Verdict)))
    if kind == "pass":
        n = draw.choice([0, 400, 400, 400])
        metrics = GUARDRAILS if draw.random() < 0.9 else GUARDRAILS[:1]
        found = [Finding(Role.GUARDRAIL, metric, Verdict.PASS, n=n) for metric in metrics]
        if draw.random() < 0.15:
            # A judge that contradicts itself is not to be believed.
            doubt = draw.choice([Verdict.INCONCLUSIVE, Verdict.FAIL])
            found.append(Finding(draw.choice(list(Role)), "drift", doubt, n=n))
        return Judgement(Verdict.PASS, tuple(found))
    verdict = {
        "inconclusive": Verdict.INCONCLUSIVE,
        "holds": Verdict.INCONCLUSIVE,
        "labels": Verdict.NO_DATA,
        "silent": Verdict.NO_DATA,
        "fail": Verdict.FAIL,
    }[kind]
    found = Finding(
        Role.SIGNAL if kind == "holds" else draw.choice([Role.GUARDRAIL, Role.EVIDENCE]),
        "recall" if kind == "labels" else "errors",
        verdict,
        value=0.1,
        n=40,
        needs_labels=kind == "labels",
        slice=draw.choice(["", "country=EU"]) if kind == "silent" else "",
    )
    return Judgement(verdict, (found,), holds=kind == "holds")


class World:
    """Everything around the machine. `tick` is one controller's tick, committed."""

    def __init__(self, seed, *, calm=False):
        self.draw = Random(seed)
        self.now_ms = 1_800_000_000_000
        self.terms = terms(self.draw, self.now_ms)
        self.state = None
        self.calm = calm
        self.seq = 0
        self.waiting = []
        self.pins = {}
        self.seen = Observation(champion=Version("12"), candidate=Version("13"), epoch=1)
        self.published = 0

    # The machine.

    def observed(self):
        return replace(self.seen, commands=tuple(self.waiting))

    def plan(self):
        return reconcile(self.terms, self.state, self.observed(), self.now_ms)

    def commit(self, plan):
        """Compare and swap; only what is committed reaches anybody."""
        stored = 0 if self.state is None else self.state.number
        if plan.expects != stored:
            return False
        if plan.state is not None:
            self.state = decode(encode(plan.state))
        answered = {answer.seq for answer in plan.answers}
        self.waiting = [command for command in self.waiting if command.seq not in answered]
        for effect in plan.effects:
            if isinstance(effect, Publish):
                self.published = effect.publication
                self.pins[effect.publication] = effect.pin
        return True

    # The world.

    def pass_time(self):
        minutes = self.draw.choice([0, 1, 1, 5, 11, 31, 61, 200, 5000])
        self.now_ms += minutes * MINUTE
        if self.draw.random() < 0.85:
            self.decide()

    def decide(self):
        """Traffic goes on, and some of its outcomes mature."""
        counts = self.seen.counts
        more = Counts(
            decisions=counts.decisions + self.draw.choice([0, 10, 100, 1000]),
            outcomes=counts.outcomes + self.draw.choice([0, 0, 30]),
            last_decision_ms=self.now_ms,
        )
        self.seen = replace(self.seen, counts=more)

    def serve(self):
        """Gateways take up what was published, all of them or so many publications late."""
        if self.published <= self.seen.acknowledged:
            return
        pin = next(
            (
                p
                for n in range(self.published, self.seen.acknowledged, -1)
                if (p := self.pins.get(n))
            ),
            None,
        )
        self.seen = replace(
            self.seen,
            acknowledged=self.published,
            acknowledged_ms=self.now_ms - self.draw.choice([0, 0, 7 * MINUTE, 900 * MINUTE]),
            epoch=self.seen.epoch + 1,
            champion=pin or self.seen.champion,
            counts=Counts(last_decision_ms=self.seen.counts.last_decision_ms),
        )
        self.decide()

    def judge(self):
        self.seen = replace(self.seen, judgement=judgement(self.draw))

    def ask(self):
        self.seq += 1
        verb = self.draw.choice([*Verb, Verb.APPROVE, Verb.PROMOTE])
        if self.calm and verb in {Verb.ABORT, Verb.UNDO, Verb.PAUSE}:
            verb = Verb.APPROVE
        self.waiting.append(
            Command(
                seq=self.seq,
                verb=verb,
                actor=self.draw.choice(["ann", "bob", "eve"]),
                roles=self.draw.choice([(), ("approver",)]),
                reason=self.draw.choice(["", "because"]),
                full=verb is Verb.PROMOTE and self.draw.random() < 0.3,
            )
        )

    def disturb(self):
        """One of the rarer things that go wrong, or right again."""
        what = self.draw.randrange(10)
        if what == 0:
            label = self.draw.choice(["12", "13", "13", "14", None])
            self.seen = replace(self.seen, candidate=Version(label) if label else None)
        elif what == 1:
            self.seen = replace(self.seen, champion_health=self.draw.choice(HEALTH))
        elif what == 2:
            self.seen = replace(self.seen, stopped=self.draw.choice(["", "", "local guard"]))
        elif what == 3:
            refusal = Refusal(Version(self.draw.choice(["13", "14"])), "golden rows")
            self.seen = replace(self.seen, refusals=self.draw.choice([(), (refusal,)]))
        elif what == 4:
            self.terms = replace(self.terms, steps=steps_of(self.draw.choice(COURSES)))
        elif what == 5:
            fresh = Counts(last_decision_ms=self.seen.counts.last_decision_ms)
            self.seen = replace(self.seen, epoch=self.seen.epoch + 1, counts=fresh)
        elif what == 6:
            self.waiting = self.waiting[::-1]
        elif what == 8:
            self.seen = replace(self.seen, drifting=self.draw.choice(["", "", "amount drifted"]))
        elif what == 7:
            somebodys = Version(self.draw.choice(["11", "12"]))
            self.seen = replace(self.seen, champion=somebodys)
        else:
            self.seen = replace(self.seen, author=self.draw.choice(["", "ann"]))

    def happen(self):
        """Something, most often what lets a rollout go on."""
        act = self.draw.choices(
            [self.pass_time, self.serve, self.judge, self.ask, self.disturb],
            [40, 30, 20, 8, 2 if self.calm else 6],
        )[0]
        act()


def weight_of(steps, position):
    """The weight a course has reached at a position."""
    weights = [s.weight for s in steps[: position + 1] if isinstance(s, SetWeight)]
    return weights[-1] if weights else Decimal(0)
