"""Tells a rollout as a conversation: a command, and everything the machine said to it.

The world around the machine is as small as can be: gateways that acknowledge when told to, counts
and verdicts as the story gives them, and a store that compares and swaps.
"""

import re
import shlex
from decimal import Decimal

from msgspec.structs import replace

from pointsman.rollout.observation import (
    Command,
    Counts,
    Finding,
    Health,
    Judgement,
    Observation,
    Refusal,
    Role,
    Unit,
    Verb,
    Verdict,
    Version,
)
from pointsman.rollout.plan import Notify, Publish, Record, SetAlias
from pointsman.rollout.reconcile import reconcile
from pointsman.rollout.state import decode, encode
from pointsman.rollout.terms import Analyse, Approve, Freeze, SetWeight, Terms
from pointsman.rollout.words import percent
from pointsman.spec.scalars import parse_duration

BEGIN_MS = 1_800_000_000_000
VERBS = {verb.value: verb for verb in Verb}


def steps_of(text):
    """`1% 30m+2000d+500o 5% @approver 100%`: weights, minima, approvals."""
    return tuple(_step(token) for token in text.split())


def _step(token):
    if token.endswith("%"):
        return SetWeight(Decimal(token[:-1]))
    if token.startswith("@"):
        return Approve(token[1:])
    minima = {"hold_ms": 0, "min_decisions": 0, "min_outcomes": 0}
    for part in token.split("+"):
        if re.fullmatch(r"\d+dec", part):
            minima["min_decisions"] = int(part[:-3])
        elif re.fullmatch(r"\d+out", part):
            minima["min_outcomes"] = int(part[:-3])
        else:
            minima["hold_ms"] = parse_duration(part)
    return Analyse(**minima)


class Story:
    """One project from its first rollout on."""

    def __init__(self):
        self.terms = None
        self.state = None
        self.now_ms = BEGIN_MS
        self.flowing = False
        self.seq = 0
        self.asked_pin = None
        self.seen = None

    def tell(self, lines):
        """The answer to one command, whose further lines are findings."""
        word, *rest = shlex.split(lines[0])
        if word in VERBS:
            return self._person(VERBS[word], rest)
        return getattr(self, f"_{word.replace('-', '_')}")(rest, lines[1:])

    # What there is.

    def _rollout(self, rest, _more):
        told = _pairs(rest)
        self.terms = Terms(
            project=told.get("project", "fraud"),
            variant="challenger",
            against="champion",
            rule="default",
            others=_others(told.get("others", "champion=95")),
            steps=steps_of(told["steps"]),
            guardrails=tuple(told.get("guardrails", "errors").split(",")),
            signals=tuple(told["signals"].split(",")) if "signals" in told else (),
            no_data=told.get("no-data", "hold"),
            no_data_deadline_ms=parse_duration(told.get("deadline", "10m")),
            cooldown_ms=parse_duration(told.get("cooldown", "1h")),
            alias=told.get("alias", "champion"),
            max_step=Decimal(told["max-step"]) if "max-step" in told else None,
            approvals=int(told.get("approvals", "1")),
        )
        self.seen = Observation(
            champion=Version(told["champion"]),
            candidate=Version(told["challenger"]),
            epoch=1,
            author=told.get("author", ""),
        )
        return ["ok"]

    def _steps(self, rest, _more):
        self.terms = replace(self.terms, steps=steps_of(" ".join(rest)))
        return ["ok"]

    def _freeze(self, rest, _more):
        freeze = Freeze(self.now_ms, self.now_ms + parse_duration(rest[0]), "the holidays")
        self.terms = replace(self.terms, freezes=(freeze,))
        return ["ok"]

    def _alias(self, rest, _more):
        self.seen = replace(self.seen, candidate=Version(rest[0]) if rest else None)
        return ["ok"]

    def _champion(self, rest, _more):
        """How it is, or which version somebody made it by publishing past the rollout."""
        if rest[0] in {*Health}:
            self.seen = replace(self.seen, champion_health=Health(rest[0]))
        else:
            self.seen = replace(self.seen, champion=Version(rest[0]))
        return ["ok"]

    def _refuse(self, rest, _more):
        refusals = tuple(Refusal(self.seen.candidate, why) for why in rest)
        self.seen = replace(self.seen, refusals=refusals)
        return ["ok"]

    def _stop(self, rest, _more):
        self.seen = replace(self.seen, stopped=rest[0] if rest else "")
        return ["ok"]

    def _epoch(self, _rest, _more):
        """Somebody published another table, in which the rule compares something else."""
        counts = replace(self.seen.counts, decisions=0, outcomes=0)
        self.seen = replace(self.seen, epoch=self.seen.epoch + 1, counts=counts)
        return ["ok"]

    def _live(self, rest, _more):
        """Every gateway serves what was published last. An argument: since when."""
        since = self.now_ms + (_signed(rest[0]) if rest else 0)
        self.seen = replace(
            self.seen,
            acknowledged=self.state.publication,
            acknowledged_ms=since,
            epoch=self.seen.epoch + 1,
            counts=Counts(last_decision_ms=self.seen.counts.last_decision_ms),
            champion=self.asked_pin or self.seen.champion,
        )
        self.asked_pin = None
        return [f"publication {self.state.publication} is live, epoch {self.seen.epoch}"]

    def _see(self, rest, more):
        """Counts and a verdict. `quiet`: no decision from now on; `blind`: nothing was judged."""
        told = _pairs([word for word in rest if "=" in word])
        counts = self.seen.counts
        self.flowing = "quiet" not in rest
        judgement = Judgement(
            Verdict(told.get("verdict", "inconclusive")),
            tuple(_finding(line) for line in more),
            holds="holds" in rest,
        )
        self.seen = replace(
            self.seen,
            counts=Counts(
                decisions=int(told.get("decisions", counts.decisions)),
                outcomes=int(told.get("outcomes", counts.outcomes)),
                last_decision_ms=self.now_ms if self.flowing else counts.last_decision_ms,
            ),
            judgement=None if "blind" in rest else judgement,
        )
        return ["ok"]

    # What happens.

    def _wait(self, rest, _more):
        self.now_ms += parse_duration(rest[0])
        return ["ok"]

    def _tick(self, rest, _more):
        self.now_ms += _signed(rest[0]) if rest else 0
        return self._say(self._ticked())

    def _race(self, rest, _more):
        """Two controllers see the same at once; the store takes the first one's plan."""
        self.now_ms += _signed(rest[0]) if rest else 0
        seen = self._observed()
        plans = [reconcile(self.terms, self.state, seen, self.now_ms) for _ in range(2)]
        first = self._write(plans[0])
        answer = self._say(plans[0]) if first else []
        second = "written" if self._write(plans[1]) else "conflict, thrown away"
        again = reconcile(self.terms, self.state, seen, self.now_ms)
        return [
            *answer,
            f"the other controller: {second}",
            f"its next tick: {'changes' if again.changed else 'changes nothing'}",
        ]

    def _person(self, verb, rest):
        told = _pairs([word for word in rest if "=" in word])
        self.seq = int(told.get("seq", self.seq + 1))
        command = Command(
            seq=self.seq,
            verb=verb,
            actor=told.get("by", "ann"),
            roles=tuple(told["as"].split(",")) if "as" in told else (),
            reason=told.get("reason", ""),
            full="--full" in rest,
        )
        self.seen = replace(self.seen, commands=(command,))
        plan = self._ticked()
        self.seen = replace(self.seen, commands=())
        return self._say(plan)

    def _observed(self):
        if self.flowing:
            counts = replace(self.seen.counts, last_decision_ms=self.now_ms)
            self.seen = replace(self.seen, counts=counts)
        return self.seen

    def _ticked(self):
        plan = reconcile(self.terms, self.state, self._observed(), self.now_ms)
        assert self._write(plan)
        return plan

    def _write(self, plan):
        """The store: compare and swap, in its stored form."""
        stored = 0 if self.state is None else self.state.number
        if plan.expects != stored:
            return False
        self.state = None if plan.state is None else decode(encode(plan.state))
        for effect in plan.effects:
            if isinstance(effect, Publish) and effect.pin is not None:
                self.asked_pin = effect.pin
        return True

    def _say(self, plan):
        lines = [
            f"accepted {answer.seq}" if answer.accepted else answer.sentence
            for answer in plan.answers
        ]
        for effect in plan.effects:
            lines += _shown(effect)
        # A refusal has been told already, and an event is its own sentence.
        if not any(isinstance(effect, Record) for effect in plan.effects) and not lines:
            lines.append(plan.sentence)
        return lines


def _shown(effect):
    if isinstance(effect, Record):
        one = effect.transition
        before = one.before.value if one.before is not None else "(nothing)"
        weights = percent(one.weight)
        if one.weight != one.weight_before:
            weights = f"{percent(one.weight_before)} -> {weights}"
        return [f"{before} -> {one.after.value} by {one.event.value}   {weights}", one.sentence]
    if isinstance(effect, Publish):
        weights = " ".join(f"{arm}={weight}" for arm, weight in effect.weights)
        pin = f", champion pinned to {effect.pin.label}" if effect.pin else ""
        return [f"* publish {effect.publication}: {weights}{pin}"]
    if isinstance(effect, SetAlias):
        return [f"* alias {effect.alias} -> {effect.version.label}"]
    assert isinstance(effect, Notify)
    return ["* notify"] if effect.event else [f"* notify: {effect.sentence}"]


def _finding(line):
    metric, verdict, *rest = shlex.split(line)
    told = _pairs([word for word in rest if "=" in word])
    flags = {word for word in rest if "=" not in word}
    role = next((role for role in Role if role.value in flags), Role.GUARDRAIL)
    unit = next((unit for unit in Unit if unit.value in flags), Unit.POINTS)
    return Finding(
        role=role,
        metric=metric,
        verdict=Verdict(verdict),
        slice=told.get("slice", ""),
        value=float(told["value"]) if "value" in told else None,
        bound=float(told["bound"]) if "bound" in told else None,
        unit=unit,
        n=int(told.get("n", "0")),
        needs_labels="labels" in flags,
        text=told.get("text", ""),
    )


def _others(text):
    pairs = sorted(_pairs(text.split(",")).items())
    return tuple((arm, Decimal(weight)) for arm, weight in pairs)


def _pairs(words):
    return dict(word.split("=", 1) for word in words)


def _signed(text):
    return -parse_duration(text[1:]) if text.startswith("-") else parse_duration(text.lstrip("+"))
