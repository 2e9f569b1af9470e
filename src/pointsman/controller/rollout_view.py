"""A rollout as `status` shows it: where it is, what it waits for, and what the evidence says."""

from collections.abc import Callable
from typing import Any, Final

from pointsman.controller import findings, judging, watch
from pointsman.controller.ledger import Ledger
from pointsman.controller.rollouts import Rollouts
from pointsman.controller.watch import Seen, Watch
from pointsman.judge.verdict import Measure
from pointsman.rollout import course, words
from pointsman.rollout.machine import TERMINAL
from pointsman.rollout.plan import Plan
from pointsman.rollout.state import State
from pointsman.spec import canonical
from pointsman.store import outbox, revisions, rollouts

Shown = dict[str, Any]
_RECENT: Final = 20
_REUSE_S: Final = 5.0
"""Evidence is shown as the loop read it so long ago: people who look must not slow it down."""


class RolloutViews:
    """Looks, and changes nothing. Blocking."""

    def __init__(
        self, ledger: Ledger, watching: Watch, rollouts: Rollouts, now_ms: Callable[[], int]
    ) -> None:
        self._ledger = ledger
        self._watch = watching
        self._rollouts = rollouts
        self._now_ms = now_ms

    def of(self, name: str) -> Shown | None:
        """None for a project that declares no rollout."""
        seen = self._watch.see(name, self._now_ms(), reuse_s=_REUSE_S)
        if seen is None:
            return None
        plan = self._rollouts.plan(seen)
        with self._ledger.reading() as connection:
            left = outbox.left(connection, name)
        pending = [
            {"what": outbox.kind_of(entry.task), "tries": entry.tries, "error": entry.error}
            for entry in left
        ]
        now_ms = self._now_ms()
        look = {
            "at_ms": now_ms + round(1000 * self._rollouts.rests_s(name)),
            "labels_ms": _labels_ms(seen),
            "until": [
                {
                    "text": hold.text,
                    "at_ms": course.until_ms(seen.at.terms, plan.state, hold, now_ms),
                }
                for hold in plan.holds
            ],
        }
        return {**_where(seen, plan), "next_look": look, **_evidence(seen), "pending": pending}

    def glance(self, name: str) -> Shown | None:
        """Phase, weight and last verdict, without reading evidence; None without a rollout."""
        with self._ledger.reading() as connection:
            state = rollouts.state(connection, name)
            revision = revisions.current(connection, name)
        if state is None or revision is None:
            return None
        rollout = canonical.parse(revision.spec).spec.rollout
        if rollout is None:
            return None
        last = state.history[-1] if state.history else None
        return {
            "variant": rollout.variant,
            "phase": state.phase.value,
            "weight": float(state.weight) / 100,
            "verdict": self._watch.last_verdict(name, state),
            "codes": self._watch.last_codes(name, state),
            "entered_ms": state.entered_ms,
            "event": "" if last is None else last.event.value,
            "event_ms": 0 if last is None else last.at_ms,
        }


def _where(seen: Seen, plan: Plan) -> Shown:
    state, terms, observed = seen.state, seen.at.terms, seen.observation
    body: Shown = {
        "variant": terms.variant,
        "against": terms.against,
        "rule": terms.rule,
        "phase": "none" if state is None else state.phase.value,
        "sentence": plan.sentence,
        "waits_for": [hold.text for hold in plan.holds],
        "stopped": observed.stopped,
        "champion": observed.champion.label,
        "candidate": "" if observed.candidate is None else observed.candidate.label,
        "version": "",
        "attempt": 0,
        "step": None,
        "steps": [
            {"text": one.text, "state": one.place.value} for one in course.stops(terms, state)
        ],
        "target": float(dict(plan.weights)[terms.variant]) / 100 if state is None else 0.0,
        "decisions": observed.counts.decisions,
        "outcomes": observed.counts.outcomes,
        "transitions": [],
    }
    return body if state is None else body | _of_state(state)


def _of_state(state: State) -> Shown:
    steps = state.course
    return {
        "version": state.target.label,
        "attempt": state.attempt,
        "step": {
            "number": min(max(state.position + 1, 0), len(steps)),
            "of": len(steps),
            "text": "" if state.phase in TERMINAL else words.step(steps, state.position),
            "since_ms": state.entered_ms,
            "live_ms": state.live_ms,
        },
        "target": float(state.weight) / 100,
        "cooldown_until_ms": state.not_before_ms,
        "transitions": [
            {
                "at_ms": one.at_ms,
                "attempt": one.attempt,
                "event": one.event.value,
                "phase": one.after.value,
                "weight": float(one.weight) / 100,
                "actor": one.actor,
                "sentence": one.sentence,
            }
            for one in state.history[-_RECENT:]
        ],
    }


def _labels_ms(seen: Seen) -> int | None:
    """When the next block of labels has matured and is judged; None where none is waited for."""
    outcomes = seen.at.project.spec.outcomes
    horizon = outcomes.label or outcomes.reward
    if seen.read is None or horizon is None or not seen.read.wanted.labelled:
        return None
    return judging.matures_ms(seen.read.judging, horizon.horizon)


def _evidence(seen: Seen) -> Shown:
    read = seen.read
    if read is None or read.verdict is None:
        return {"verdict": None, "reasons": [], "metrics": [], "blind": ""}
    judged = seen.observation.judgement
    return {
        "blind": judged.blind if judged is not None else "",
        "verdict": findings.verdict_of(read.verdict).value,
        "reasons": [reason.text for reason in read.verdict.reasons],
        "metrics": [_metric(seen, measure) for measure in read.verdict.measures],
    }


def _metric(seen: Seen, measure: Measure) -> Shown:
    """One criterion: differences to the champion, shares where they are relative."""
    criterion = measure.criterion
    return {
        "role": criterion.role.value,
        "metric": criterion.metric,
        "slice": criterion.slice,
        "verdict": measure.verdict,
        "value": measure.estimate,
        "low": measure.lower,
        "high": measure.upper,
        "bound": findings.bound(criterion),
        "unit": findings.unit(criterion, watch.shares_of(seen.at.project.spec)).value,
        "n": measure.n[0],
        "n_champion": measure.n[1],
        "challenger": measure.challenger,
        "champion": measure.champion,
        "method": measure.method,
        "text": measure.text,
    }
