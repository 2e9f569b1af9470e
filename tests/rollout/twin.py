"""The slow, obvious twin of the rollout machine: one object that changes in place, and plain ifs.

Written from the rules, not from the code: it keeps no history, says nothing, and asks every
question where it needs the answer. It must agree with the machine on every tick.
"""

from decimal import Decimal

from pointsman.rollout.observation import Health, Role, Verb, Verdict
from pointsman.rollout.terms import Analyse, Approve, SetWeight

UNTRIED = ("withdrawn", "opened")
MINUTE = 60_000


class Twin:
    def __init__(self):
        self.phase = None
        self.attempts = 0
        self.target = self.champion = None
        self.steps = ()
        self.position = -1
        self.weight = Decimal(0)
        self.publication = 0
        self.published_ms = 0
        self.live_ms = None
        self.epoch = 0
        self.since_ms = 0
        self.base = (0, 0)
        self.cool_ms = 0
        self.silent_ms = None
        self.asked_by = ""
        self.agreed = []
        self.done = 0
        self.ends = {}

    def shown(self):
        return self.phase, self.target, self.position, self.weight, self.publication

    def tick(self, terms, seen, now):
        self.terms, self.seen, self.now = terms, seen, now
        if self.phase is None:
            if seen.candidate is None or seen.candidate == seen.champion:
                return
            self.begin(seen.candidate)
        self.file()
        self.look()
        for command in sorted(seen.commands, key=lambda c: c.seq):
            if command.seq > self.done:
                self.done = command.seq
                self.obey(command)
        if self.protect():
            return
        if (
            self.phase == "promoting"
            and seen.acknowledged >= self.publication
            and seen.champion_health is not Health.UNHEALTHY
        ):
            if seen.champion == self.target:
                self.finish("succeeded", "succeeded")
            else:
                self.finish("rolled_back", "undone")
        attempts = self.attempts
        self.registry()
        if attempts != self.attempts:
            self.protect()
        while self.phase in ("pending", "running") and not self.blocked():
            self.forward()

    # What happens.

    def begin(self, target):
        self.attempts += 1
        had = self.weight
        self.phase, self.target, self.champion = "pending", target, self.seen.champion
        self.steps, self.position, self.weight = self.terms.steps, -1, Decimal(0)
        self.asked_by, self.agreed, self.silent_ms = self.seen.author, [], None
        if had > 0:
            self.cool_ms = max(self.cool_ms, self.now + self.terms.cooldown_ms)
            self.publish()

    def publish(self):
        self.publication += 1
        self.published_ms = self.since_ms = self.now
        self.live_ms, self.epoch, self.base = None, 0, (0, 0)

    def finish(self, phase, how, *, publish=False):
        had = self.weight
        self.ends[self.target] = how
        self.phase, self.weight, self.position, self.silent_ms = phase, Decimal(0), -1, None
        self.cool_ms = self.now + self.terms.cooldown_ms
        self.agreed = []
        if had > 0 or publish:
            self.publish()

    def forward(self):
        self.position += 1
        if self.position >= len(self.steps):
            self.phase, self.champion, self.weight = "promoting", self.seen.champion, Decimal(0)
            self.silent_ms = None
            self.publish()
            return
        self.phase = "running"
        step = self.steps[self.position]
        if isinstance(step, SetWeight):
            self.weight = step.weight
            self.publish()
        else:
            self.since_ms = self.now
            same = self.seen.epoch == self.epoch
            counts = self.seen.counts
            self.base = (counts.decisions, counts.outcomes) if same else (0, 0)

    def file(self):
        steps = self.terms.steps
        if self.steps == steps or self.phase not in ("pending", "running", "paused"):
            return
        self.steps, self.agreed = steps, []
        if self.weight == 0:
            self.position = -1
            return
        had = self.weight
        self.position, self.weight = -1, Decimal(0)
        for index, step in enumerate(steps):
            if isinstance(step, SetWeight) and step.weight <= had:
                self.position, self.weight = index, step.weight
        self.publish()

    def look(self):
        if self.phase not in ("running", "paused") or self.weight == 0:
            if self.phase in ("running", "paused", "promoting"):
                self.silent_ms = None
            return
        if self.live_ms is None:
            if self.seen.acknowledged >= self.publication:
                self.live_ms = max(self.published_ms, self.seen.acknowledged_ms)
                self.live_ms = min(self.live_ms, self.now)
                self.since_ms, self.epoch, self.base = self.live_ms, self.seen.epoch, (0, 0)
                after = self.steps[self.position + 1 : self.position + 2]
                if after and not isinstance(after[0], SetWeight):
                    self.position += 1
        elif self.seen.epoch != self.epoch:
            self.epoch, self.since_ms, self.live_ms = self.seen.epoch, self.now, self.now
            self.base = (0, 0)
        if self.now - self.published_ms < MINUTE or not self.silent():
            self.silent_ms = None
        elif self.silent_ms is None:
            self.silent_ms = self.now

    def protect(self):
        """Whether it was halted."""
        seen = self.seen
        if self.phase not in ("pending", "running", "paused", "promoting"):
            return False
        promoting = self.phase == "promoting"
        if self.target in [refusal.version for refusal in seen.refusals]:
            self.finish("failed", "unservable", publish=promoting)
            return False
        if seen.stopped and self.weight > 0:
            self.finish("rolled_back", "stopped")
            return False
        why = ""
        if self.harmed() and (self.weight > 0 or promoting):
            why = "harm"
        elif self.silent_ms is not None:
            had = self.live_ms is not None and seen.counts.decisions > 0
            over = self.now - self.silent_ms >= self.terms.no_data_deadline_ms
            if over or (self.terms.no_data == "rollback" and had):
                why = "silence"
        if not why:
            return False
        if (promoting or self.weight == 100) and seen.champion_health is Health.UNHEALTHY:
            return True
        self.finish("rolled_back", why, publish=promoting)
        return False

    def registry(self):
        wanted = self.seen.candidate
        if wanted is None or self.phase in ("paused", "promoting"):
            return
        going = self.phase in ("pending", "running")
        if wanted == self.seen.champion:
            if going:
                self.finish("rolled_back", "withdrawn")
            return
        if going and wanted == self.target:
            return
        if self.ends.get(wanted, "opened") not in UNTRIED:
            if going:
                self.finish("rolled_back", "withdrawn")
            return
        self.begin(wanted)

    # What is asked.

    def harmed(self):
        judged = self.seen.judgement
        if judged is None:
            return False
        return judged.verdict is Verdict.FAIL or any(
            f.verdict is Verdict.FAIL and f.role is Role.GUARDRAIL for f in judged.findings
        )

    def silent(self):
        judged, last = self.seen.judgement, self.seen.counts.last_decision_ms or 0
        if self.weight == 0:
            return False
        if self.now - max(last, self.published_ms) >= MINUTE:
            return True
        if judged is None or len(judged.findings) == 0:
            return True
        return any(
            f.verdict is Verdict.NO_DATA and not f.slice and not f.needs_labels
            for f in judged.findings
        )

    def evidence_against(self, *, waive=False):
        judged = self.seen.judgement
        if self.harmed() or self.silent():
            return True
        counted = self.live_ms is not None and self.seen.epoch == self.epoch
        if not counted or self.seen.counts.decisions == 0:
            return True
        return judged.holds and not waive

    def proven(self):
        judged = self.seen.judgement
        if judged is None or judged.verdict is not Verdict.PASS:
            return False
        good = set()
        for finding in judged.findings:
            if finding.verdict is not Verdict.PASS and finding.role is not Role.SIGNAL:
                return False
            if finding.verdict is Verdict.PASS and finding.role is Role.GUARDRAIL and finding.n > 0:
                good.add(finding.metric)
        return bool(good) and good >= set(self.terms.guardrails)

    def people_for(self, position):
        return [a for a in self.agreed if a[0] == position]

    def approval_missing(self, position):
        by = self.steps[position].by
        return not any(
            by == actor or by in roles for _, actor, roles, _ in self.people_for(position)
        )

    def limit_missing(self, position, weight):
        limit = self.terms.max_step
        if limit is None or weight - self.weight <= limit:
            return False
        people = {actor for _, actor, _, reason in self.people_for(position) if reason}
        return len(people) < self.terms.approvals

    def unserved(self):
        return self.seen.acknowledged < self.publication

    def growth_blocked(self, position, *, waive=False):
        weight = self.steps[position].weight if position < len(self.steps) else Decimal(100)
        if any(f.from_ms <= self.now < f.until_ms for f in self.terms.freezes):
            return True
        if self.seen.stopped or self.limit_missing(position, weight):
            return True
        if self.seen.champion_health is Health.UNHEALTHY:
            return True
        if self.seen.drifting and not waive:
            return True
        if self.weight == 0 and self.harmed():
            return True
        if self.weight > 0 and (self.unserved() or self.evidence_against(waive=waive)):
            return True
        return weight == 100 and not self.proven()

    def blocked(self, *, waive=False):
        if self.position == -1:
            if self.unserved() or (self.now < self.cool_ms and not waive):
                return True
        else:
            step = self.steps[self.position]
            if isinstance(step, SetWeight) and self.unserved():
                return True
            if isinstance(step, Approve) and self.approval_missing(self.position):
                return True
            if isinstance(step, Analyse):
                if self.unserved() or self.evidence_against(waive=waive):
                    return True
                counts = self.seen.counts
                early = self.now - self.since_ms < step.hold_ms
                few = counts.decisions - self.base[0] < step.min_decisions
                few = few or counts.outcomes - self.base[1] < step.min_outcomes
                if (early or few) and not waive:
                    return True
        following = self.position + 1
        grows = following >= len(self.steps) or isinstance(self.steps[following], SetWeight)
        return grows and self.growth_blocked(following, waive=waive)

    # People.

    def obey(self, command):
        going = self.phase in ("pending", "running", "paused")
        if command.verb in (Verb.ABORT, Verb.UNDO):
            self.take_back(command.verb)
        elif command.verb is Verb.PAUSE and self.phase in ("pending", "running"):
            self.phase = "paused"
        elif command.verb is Verb.RESUME and self.phase == "paused":
            self.phase = "running"
        elif command.verb is Verb.RETRY and self.phase in ("rolled_back", "failed"):
            target = self.seen.candidate or self.target
            if target != self.seen.champion:
                self.begin(target)
                self.asked_by = command.actor
        elif command.verb is Verb.PROMOTE and going:
            self.promote(command.full)
        elif command.verb is Verb.APPROVE and going:
            self.approve(command)

    def take_back(self, verb):
        if self.phase in ("pending", "running", "paused"):
            self.finish("rolled_back", verb)
        promoted = self.phase == "succeeded" and self.seen.champion == self.target
        if self.phase == "promoting" or (verb is Verb.UNDO and promoted):
            self.finish("rolled_back", verb, publish=True)

    def promote(self, full):
        if not full:
            if not self.blocked(waive=True):
                if self.phase == "paused":
                    self.phase = "running"
                self.forward()
            return
        ahead = range(max(self.position, 0), len(self.steps))
        if any(isinstance(self.steps[i], Approve) and self.approval_missing(i) for i in ahead):
            return
        if self.weight == 0 or self.growth_blocked(len(self.steps)):
            return
        self.position = len(self.steps) - 1
        self.forward()

    def approve(self, command):
        if command.actor == self.asked_by:
            return
        here, following = self.position, self.position + 1
        new = (command.actor, command.roles, command.reason)
        agreed = []
        if here >= 0 and isinstance(self.steps[here], Approve) and self.approval_missing(here):
            by = self.steps[here].by
            if by == command.actor or by in command.roles:
                agreed.append((here, *new))
        grows = following >= len(self.steps) or isinstance(self.steps[following], SetWeight)
        if grows:
            last = following >= len(self.steps)
            weight = Decimal(100) if last else self.steps[following].weight
            before = {actor for _, actor, _, _ in self.people_for(following)}
            fresh = command.reason and command.actor not in before
            if self.limit_missing(following, weight) and fresh:
                agreed.append((following, *new))
        self.agreed += agreed
