"""Everything that can keep a rollout from its next step, in one list.

A rollout advances when nothing holds it. So that no evidence never advances anything, each hold
asks for something to be there, and none of them asks for something to be absent.
"""

from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from typing import Final, assert_never

import msgspec

from pointsman.rollout import words
from pointsman.rollout.machine import Phase
from pointsman.rollout.observation import Finding, Health, Judgement, Observation, Role, Verdict
from pointsman.rollout.state import ALL, BEFORE_THE_FIRST, State
from pointsman.rollout.terms import Analyse, Approve, SetWeight, Step, Terms

QUIET_MS: Final = 60_000
"""A variant with traffic that has made no decision for so long counts as silent."""


class Waiting(StrEnum):
    """What a rollout waits for."""

    GATEWAYS = "gateways"  # to serve what was published
    TIME = "time"
    DECISIONS = "decisions"
    OUTCOMES = "outcomes"
    APPROVAL = "approval"
    LIMIT = "limit"  # the step is larger than limits.maxStep: people must agree
    FREEZE = "freeze"
    SIGNAL = "signal"  # a signal is broken, or the evidence is not sound
    HARM = "harm"
    DATA = "data"  # decision data is missing
    PROOF = "proof"  # not every guardrail is shown to hold
    CHAMPION = "champion"  # is not healthy
    STOPPED = "stopped"  # something keeps traffic from the challenger
    COOLDOWN = "cooldown"
    RESUME = "resume"  # paused


WAIVED: Final = frozenset(
    {
        Waiting.TIME,
        Waiting.DECISIONS,
        Waiting.OUTCOMES,
        Waiting.SIGNAL,
        Waiting.COOLDOWN,
        Waiting.RESUME,
    }
)
"""What `promote` does not wait for. Never what protects people: harm, missing data, other people's
approval, limits, freezes, and the proof a promotion needs."""

ASKS_PEOPLE: Final = frozenset(
    {
        Waiting.APPROVAL,
        Waiting.LIMIT,
        Waiting.SIGNAL,
        Waiting.CHAMPION,
        Waiting.STOPPED,
    }
)
"""Holds that may not go away unless somebody does something: the owner is told, once."""


class Hold(msgspec.Struct, frozen=True):
    """One reason to wait. text: completes "waits for" """

    kind: Waiting
    text: str


def holds(terms: Terms, state: State, seen: Observation, now_ms: int) -> tuple[Hold, ...]:
    """What keeps the rollout from its next step; empty exactly where it may be taken now.

    Empty for a rollout that has ended.
    """
    match state.phase:
        case Phase.PENDING | Phase.RUNNING | Phase.PAUSED:
            found = [*_paused(state), *_here(terms, state, seen, now_ms)]
            found += _ahead(terms, state, seen, now_ms)
        case Phase.PROMOTING:
            found = [*_served(state, seen), *_champion(terms, seen)]
        case Phase.SUCCEEDED | Phase.ROLLED_BACK | Phase.FAILED:
            found = []
        case _:
            assert_never(state.phase)
    return tuple(dict.fromkeys(found))


def holds_to_promote(terms: Terms, state: State, seen: Observation, now_ms: int) -> list[Hold]:
    """What keeps the rollout from being promoted without any of its remaining steps."""
    found = [*_served(state, seen)]
    for position in range(max(state.position, 0), len(terms.steps)):
        one = terms.steps[position]
        if isinstance(one, Approve):
            found += _approval(state, position, one.by)
    if state.weight == 0:
        found.append(Hold(Waiting.DATA, f"a first step: {terms.variant} has had no traffic yet"))
    found += _growth(terms, state, seen, now_ms, len(terms.steps))
    return list(dict.fromkeys(found))


def silent(terms: Terms, state: State, seen: Observation, now_ms: int) -> str:
    """Why decision data counts as missing; empty where it is there, or none can be expected.

    Missing labels are not meant: they hold a promotion and nothing else.
    """
    if state.weight == 0:
        return ""
    quiet_ms = now_ms - max(state.published_ms, seen.counts.last_decision_ms or 0)
    if quiet_ms >= QUIET_MS:
        return f"{terms.variant} has made no decision for {words.span(quiet_ms)}"
    if seen.judgement is None or not seen.judgement.findings:
        return "nothing could be judged"
    unknown = [found for found in seen.judgement.findings if _lacks_decisions(found)]
    return words.findings(unknown) if unknown else ""


def harm(judgement: Judgement | None) -> tuple[Finding, ...]:
    """Findings that show harm: a failed guardrail, or a failed verdict whatever its reasons."""
    if judgement is None:
        return ()
    broken = tuple(
        found
        for found in judgement.findings
        if found.role is Role.GUARDRAIL and found.verdict is Verdict.FAIL
    )
    if broken or judgement.verdict is not Verdict.FAIL:
        return broken
    unnamed = Finding(Role.GUARDRAIL, "", Verdict.FAIL, text="a guardrail is broken")
    return judgement.findings or (unnamed,)


def unshown(terms: Terms, judgement: Judgement | None) -> tuple[str, ...]:
    """Why a promotion is not justified; empty exactly where every guardrail is shown to hold.

    A pass that names no numbers for a guardrail is none: silence must not pass for proof.
    """
    if judgement is None:
        return ("nothing could be judged",)
    if judgement.verdict is not Verdict.PASS:
        reasons = tuple(words.finding(found) for found in judgement.findings)
        return reasons or (f"the verdict is {judgement.verdict.value}",)
    not_passed = [
        words.finding(found)
        for found in judgement.findings
        if found.verdict is not Verdict.PASS and found.role is not Role.SIGNAL
    ]
    shown = {
        found.metric
        for found in judgement.findings
        if found.role is Role.GUARDRAIL and found.verdict is Verdict.PASS and found.n > 0
    }
    missing = [f"{metric}: not judged" for metric in terms.guardrails if metric not in shown]
    return tuple(not_passed + missing) or (() if shown else ("there is no guardrail",))


def approvers(state: State, position: int) -> set[str]:
    """Who has agreed to a step. Whoever asked for the version never gets to."""
    return {a.actor for a in state.approvals if a.position == position}


def _paused(state: State) -> Iterator[Hold]:
    if state.phase is Phase.PAUSED:
        yield Hold(Waiting.RESUME, "somebody to resume it")


def _here(terms: Terms, state: State, seen: Observation, now_ms: int) -> Iterator[Hold]:
    """What the step that has begun still asks for."""
    if state.position == BEFORE_THE_FIRST:
        if now_ms < state.not_before_ms:
            rest = words.span(state.not_before_ms - now_ms)
            yield Hold(Waiting.COOLDOWN, f"the cool-down ({rest} left)")
        # Traffic of the attempt before this one must be gone everywhere.
        yield from _served(state, seen)
        return
    one = state.course[state.position]
    match one:
        case SetWeight():
            yield from _served(state, seen)
        case Analyse():
            yield from _served(state, seen)
            yield from _minima(state, seen, now_ms, one)
            yield from _evidence(terms, state, seen, now_ms)
        case Approve(by):
            yield from _approval(state, state.position, by)
        case _:
            assert_never(one)


def _ahead(terms: Terms, state: State, seen: Observation, now_ms: int) -> Iterator[Hold]:
    """What the next step asks for before it may begin: only growth asks for anything."""
    following = state.position + 1
    if following >= len(state.course) or isinstance(state.course[following], SetWeight):
        yield from _growth(terms, state, seen, now_ms, following)


def _growth(
    terms: Terms, state: State, seen: Observation, now_ms: int, following: int
) -> Iterator[Hold]:
    """What has to be so before the variant gets more traffic, or becomes the champion."""
    weight = _weight(state.course, following)
    for freeze in terms.freezes:
        if freeze.from_ms <= now_ms < freeze.until_ms:
            yield Hold(Waiting.FREEZE, f"the end of the freeze ({freeze.text})")
    if seen.stopped:
        yield Hold(Waiting.STOPPED, f"{terms.variant} to be let in again ({seen.stopped})")
    if seen.drifting:
        yield Hold(Waiting.SIGNAL, f"a stretch of time without drift ({seen.drifting})")
    refusal = seen.refusal(state.target)
    if refusal:
        yield Hold(Waiting.GATEWAYS, f"gateways to accept {terms.variant} ({refusal})")
    yield from _limit(terms, state, following, weight)
    yield from _champion(terms, seen)
    if state.weight > 0:
        yield from _served(state, seen)
        yield from _evidence(terms, state, seen, now_ms)
    else:
        # There is no evidence of this attempt yet. Whoever brings harm from another one is in
        # error, and an attempt must not start into its own rollback.
        yield from _harm(seen)
    # With all the traffic there is nothing left to compare with, so the last step up is as good
    # as a promotion and asks for the same proof.
    if weight >= ALL:
        reasons = unshown(terms, seen.judgement)
        if reasons:
            text = f"every guardrail to be shown: {'; '.join(reasons[:2])}"
            yield Hold(Waiting.PROOF, text)


def _served(state: State, seen: Observation) -> Iterator[Hold]:
    if seen.acknowledged < state.publication:
        what = "the new champion" if state.phase is Phase.PROMOTING else words.percent(state.weight)
        yield Hold(Waiting.GATEWAYS, f"every gateway to serve {what}")


def _minima(state: State, seen: Observation, now_ms: int, one: Analyse) -> Iterator[Hold]:
    rest = state.entered_ms + one.hold_ms - now_ms
    if rest > 0:
        yield Hold(Waiting.TIME, f"time ({words.span(rest)} left)")
    counts = seen.counts if _is_of(state, seen) else state.baseline
    decisions = counts.decisions - state.baseline.decisions
    outcomes = counts.outcomes - state.baseline.outcomes
    if decisions < one.min_decisions:
        yield Hold(Waiting.DECISIONS, f"decisions ({decisions:,} of {one.min_decisions:,})")
    if outcomes < one.min_outcomes:
        yield Hold(Waiting.OUTCOMES, f"outcomes ({outcomes:,} of {one.min_outcomes:,})")


def _evidence(terms: Terms, state: State, seen: Observation, now_ms: int) -> Iterator[Hold]:
    """What the evidence says against going on. At least one decision must have been made here."""
    yield from _harm(seen)
    why = silent(terms, state, seen, now_ms)
    if not why and not (_is_of(state, seen) and seen.counts.decisions > 0):
        why = f"{terms.variant} has made no decision at this weight"
    if why:
        yield Hold(Waiting.DATA, f"decision data: {why}")
    if seen.judgement is not None and seen.judgement.holds:
        yield from _signals(seen.judgement)


def _signals(judgement: Judgement) -> Iterator[Hold]:
    """Where something is wrong: a broken signal, unsound evidence, labels that bear no claim."""
    wrong = judgement.findings
    if judgement.blind:
        yield Hold(Waiting.SIGNAL, "labels that come for every action")
        wrong = tuple(
            one for one in wrong if one.verdict is Verdict.FAIL or one.role is Role.EVIDENCE
        )
    if wrong or not judgement.blind:
        text = words.findings(wrong) or "the evidence is not sound"
        yield Hold(Waiting.SIGNAL, f"a signal to recover: {text}")


def _harm(seen: Observation) -> Iterator[Hold]:
    broken = harm(seen.judgement)
    if broken:
        yield Hold(Waiting.HARM, f"harm to be gone: {words.findings(broken)}")


def _approval(state: State, position: int, by: str) -> Iterator[Hold]:
    agreed = [a for a in state.approvals if a.position == position]
    if not any(by == a.actor or by in a.roles for a in agreed):
        yield Hold(Waiting.APPROVAL, f"approval by {by}")


def _limit(terms: Terms, state: State, following: int, weight: Decimal) -> Iterator[Hold]:
    if terms.max_step is None or weight - state.weight <= terms.max_step:
        return
    agreed = len({a.actor for a in state.approvals if a.position == following and a.reason})
    if agreed < terms.approvals:
        text = (
            f"approval of a step from {words.percent(state.weight)} to {words.percent(weight)}, "
            f"limit {words.percent(terms.max_step)} at once ({agreed} of {terms.approvals})"
        )
        yield Hold(Waiting.LIMIT, text)


def _champion(terms: Terms, seen: Observation) -> Iterator[Hold]:
    if seen.champion_health is Health.UNHEALTHY:
        yield Hold(Waiting.CHAMPION, f"{terms.against} to be healthy")


def _weight(course: tuple[Step, ...], position: int) -> Decimal:
    """The weight a step sets; everything once the steps are done."""
    if position >= len(course):
        return ALL
    one = course[position]
    assert isinstance(one, SetWeight)
    return one.weight


def _is_of(state: State, seen: Observation) -> bool:
    """Whether the counts are those of the weight the rollout has now, live everywhere."""
    return state.live_ms is not None and seen.epoch == state.epoch


def _lacks_decisions(found: Finding) -> bool:
    """A criterion over all decisions that has none. A slice may be rare without anything amiss."""
    return found.verdict is Verdict.NO_DATA and not found.needs_labels and not found.slice
