"""Verdicts: any harm fails, only shown safety passes, silence and unsound evidence never pass."""

from typing import assert_never

import numpy as np
import pytest
from draws import at_most, binary_moments, moments
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pointsman.domain.evidence import Confusion
from pointsman.judge import bounded, mean, ratio
from pointsman.judge.assess import assess, judge
from pointsman.judge.bounded import BoundedState
from pointsman.judge.event import EventBlock, EventState, fold_all
from pointsman.judge.kinds import Events, Means, Ratios
from pointsman.judge.mean import MeanBlock, MeanState, Tuning
from pointsman.judge.ratio import RatioBlock
from pointsman.judge.sample_ratio import Coverage, Draws, RatioState, Stage, audit_propensities
from pointsman.judge.verdict import (
    Code,
    Criteria,
    Criterion,
    EpochHealth,
    Evidence,
    Fail,
    GoalsNeeded,
    Health,
    Inconclusive,
    NoData,
    Pass,
    Role,
    Worse,
)

ERRORS = Criterion("errors", Role.GUARDRAIL, Worse.HIGHER, 0.10, relative=True)
DENIED = Criterion("denied", Role.GUARDRAIL, Worse.EITHER, 0.01, slice="country=de")
RECALL = Criterion("recall", Role.SIGNAL, Worse.LOWER, 0.01, needs_labels=True)
REWARD = Criterion("reward", Role.GOAL, Worse.LOWER, 0.0)
TUNING = Tuning(n_star=40_000)

GOOD_ERRORS = Events((fold_all([EventBlock(18_000, 20_000, 0.5)]),), (500_000, 500_000))
BAD_ERRORS = Events((fold_all([EventBlock(60, 20, 0.5)]),), (5_000, 5_000))
FEW_ERRORS = Events((fold_all([EventBlock(3, 4, 0.5)]),), (800, 800))


def binary(challenger, champion, n=40_000, share=0.5, seed=0):
    """Evidence of a 0/1 metric with these rates."""
    rng = np.random.default_rng(seed)
    state, exact = MeanState(), BoundedState()
    for _ in range(10):
        block = MeanBlock(
            binary_moments(rng, round(n * share / 10), challenger),
            binary_moments(rng, round(n * (1 - share) / 10), champion),
            share,
        )
        state, exact = mean.fold(state, block), bounded.fold(exact, block)
    return Means(state, (exact,), binary=True)


def rewards(lift, seed=0, n=4_000):
    rng = np.random.default_rng(seed)
    one, two = moments(rng.normal(1 + lift, 1, n)), moments(rng.normal(1, 1, n))
    return Means(mean.fold(MeanState(), MeanBlock(one, two, 0.5)))


def recalls(challenger, champion, n=30_000, seed=0):
    rng = np.random.default_rng(seed)
    cells = []
    for hit in (challenger, champion):
        cell = Confusion.empty(2)
        for unit, found in enumerate(rng.random(n) < hit):
            cell.observe(1, int(found), unit_hash=unit)
        cells.append(cell)
    return Ratios((RatioBlock(*cells, 0.5),), ratio.recall(2, 1))


def verdict(metrics, *criteria, health=None, **more):
    evidence = Evidence(metrics, health or Health())
    return judge(evidence, Criteria(criteria, TUNING, **more))


def codes(found):
    return [reason.code for reason in found.reasons]


def test_all_guardrails_within_their_margins_pass():
    """Fewer errors, the same denials, a recall that is not worse: promote."""
    metrics = {
        ERRORS.key: GOOD_ERRORS,
        DENIED.key: binary(0.05, 0.05, n=120_000),
        RECALL.key: recalls(0.8, 0.8),
    }
    found = verdict(metrics, ERRORS, DENIED, RECALL)

    assert isinstance(found, Pass)
    assert codes(found)[:2] == [Code.WITHIN_MARGIN, Code.WITHIN_MARGIN]
    assert [m.criterion.metric for m in found.measures] == ["errors", "denied", "recall"]
    assert found.measures[0].upper < 0.10


def test_one_broken_guardrail_fails_whatever_else_passes():
    """Rollback is any; the reason says what, by how much, and from how many."""
    metrics = {ERRORS.key: BAD_ERRORS, DENIED.key: binary(0.05, 0.05, n=120_000)}
    found = verdict(metrics, ERRORS, DENIED)

    assert isinstance(found, Fail)
    assert codes(found) == [Code.HARM_SHOWN]
    assert found.reasons[0].text.startswith("errors: +200.0% with n = 5,000 and 5,000, shown to be")
    assert found.measures[0].harm_lower > 0.10


def test_too_few_events_are_inconclusive_and_do_not_hold():
    """A step may advance while no harm is shown; a promotion may not."""
    found = verdict({ERRORS.key: FEW_ERRORS}, ERRORS)

    assert isinstance(found, Inconclusive)
    assert codes(found) == [Code.NOT_YET]
    assert not found.holds


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {ERRORS.key: Events((EventState(),), (0, 900))},
        {ERRORS.key: Events((EventState(),), (0, 0))},
    ],
)
def test_an_arm_without_data_is_no_data(metrics):
    """Silence is not a pass (Kayenta's 100 for an empty group is the counter-example)."""
    found = verdict(metrics, ERRORS)

    assert isinstance(found, NoData)
    assert codes(found) == [Code.NO_DATA]


def test_no_errors_at_all_never_show_a_relative_margin():
    """Zero of a million against zero of a million: a ratio of nothing stays open, and the reason
    says what would not."""
    found = verdict({ERRORS.key: Events((EventState(),), (10**6, 10**6))}, ERRORS)

    assert isinstance(found, Inconclusive)
    assert found.measures[0].upper is None
    assert "an absolute one may" in found.reasons[0].text


def test_no_criteria_are_no_promotion():
    """Vacuous truth promotes nobody."""
    assert codes(verdict({}, RECALL)) == [Code.NO_DATA]
    assert codes(verdict({})) == [Code.NO_CRITERIA]
    assert codes(verdict({RECALL.key: recalls(0.9, 0.8)}, RECALL)) == [Code.NO_CRITERIA]


def test_a_broken_signal_holds():
    """Recall is shown to be down by more than a point: no rollback, but not a step further."""
    metrics = {ERRORS.key: GOOD_ERRORS, RECALL.key: recalls(0.7, 0.8)}
    found = verdict(metrics, ERRORS, RECALL)

    assert isinstance(found, Inconclusive)
    assert found.holds
    assert codes(found) == [Code.HARM_SHOWN]
    assert found.reasons[0].needs_labels


def test_a_signal_without_data_keeps_a_pass_back():
    """Missing labels never promote."""
    found = verdict({ERRORS.key: GOOD_ERRORS}, ERRORS, RECALL)

    assert isinstance(found, NoData)
    assert found.reasons[0].needs_labels


LOST = {Stage.LOGGED: RatioState((Draws((0.5, 0.5), (9_000, 10_000)),))}
UNEVEN = (Coverage(0.5, 10_000, 10_000, 4_000, 5_000),)
LYING = (Draws((0.5, 0.5), (11_000, 10_000)),)


def unsound(**found):
    """Of the third epoch, after two that are sound."""
    sound = {Stage.ASSIGNED: RatioState((Draws((0.5, 0.5), (5_000, 5_000)),))}
    before = (EpochHealth(1, sound), EpochHealth(2, sound))
    return Health((*before, EpochHealth(3, **found)))


@pytest.mark.parametrize(
    ("health", "code"),
    [
        (unsound(stages=LOST), Code.SAMPLE_RATIO),
        (unsound(coverage=UNEVEN), Code.LABEL_COVERAGE),
        (unsound(logged=LYING), Code.PROPENSITY),
    ],
)
def test_unsound_evidence_blocks_a_pass_and_excuses_no_harm(health, code):
    """Unhealthy means hold, not decide; but a broken guardrail still rolls back."""
    good = {ERRORS.key: GOOD_ERRORS, RECALL.key: recalls(0.8, 0.8)}
    held = verdict(good, ERRORS, RECALL, health=health)
    failed = verdict({**good, ERRORS.key: BAD_ERRORS}, ERRORS, RECALL, health=health)

    assert isinstance(held, Inconclusive)
    assert held.holds
    assert codes(held) == [code]
    assert isinstance(failed, Fail)
    assert codes(failed) == [Code.HARM_SHOWN, code]


def test_uneven_labels_do_not_matter_where_no_criterion_needs_labels():
    """Errors are errors, whoever gets labels."""
    found = verdict({ERRORS.key: GOOD_ERRORS}, ERRORS, health=unsound(coverage=UNEVEN))

    assert isinstance(found, Pass)


def test_units_that_come_back_in_each_epoch_are_not_taken_for_new_ones():
    """The same 4,000 sticky units in ten epochs of half and half: what one draw made of them is
    counted ten times, and alarms in no more runs than health_alpha allows; pooled, it would."""
    rng, runs, alpha = np.random.default_rng(11), 300, 0.05
    alarms = pooled = 0
    for _ in range(runs):
        ours = int(rng.binomial(4_000, 0.5))
        draws = Draws((0.5, 0.5), (ours, 4_000 - ours))
        epochs = tuple(EpochHealth(k, logged=(draws,)) for k in range(10))
        found = verdict(
            {ERRORS.key: GOOD_ERRORS}, ERRORS, health=Health(epochs), health_alpha=alpha
        )
        alarms += codes(found) == [Code.PROPENSITY]
        pooled += audit_propensities([draws] * 10) >= -np.log(alpha / 3)

    assert at_most(alarms / runs, alpha, runs)
    assert not at_most(pooled / runs, alpha, runs)


def test_labels_of_one_arm_that_get_lost_matter_only_to_criteria_that_need_labels():
    """The last stage is about labels; errors do not wait for them."""
    health = unsound(stages={Stage.LABELLED: LOST[Stage.LOGGED]})
    held = verdict({ERRORS.key: GOOD_ERRORS, RECALL.key: recalls(0.8, 0.8)}, ERRORS, RECALL,
                   health=health)  # fmt: skip

    assert codes(held) == [Code.SAMPLE_RATIO]
    assert held.reasons[0].needs_labels
    assert isinstance(verdict({ERRORS.key: GOOD_ERRORS}, ERRORS, health=health), Pass)


def test_a_goal_has_to_be_reached():
    """An improvement is shown, not yet shown, or out of reach."""
    guard = {ERRORS.key: GOOD_ERRORS}
    worse = replace(REWARD, margin=0.05)

    assert isinstance(verdict({**guard, REWARD.key: rewards(0.2)}, ERRORS, REWARD), Pass)
    early = verdict({**guard, REWARD.key: rewards(0.05, n=300)}, ERRORS, REWARD)
    assert isinstance(early, Inconclusive)
    assert not early.holds
    missed = verdict({**guard, REWARD.key: rewards(-0.2)}, ERRORS, worse)
    assert isinstance(missed, Inconclusive)
    assert missed.holds
    assert codes(missed) == [Code.GOAL_OUT_OF_REACH]


def test_of_many_goals_any_is_paid_for_by_e_bh():
    """The evidence that is enough for one goal is not enough as the best of forty."""
    fitting = next(
        rewards(0.062, seed=seed)
        for seed in range(200)
        if isinstance(verdict({REWARD.key: rewards(0.062, seed=seed)}, REWARD), Pass)
    )
    others = [replace(REWARD, metric=f"reward{i}") for i in range(39)]
    metrics = {REWARD.key: fitting} | {o.key: rewards(0.0, seed=i) for i, o in enumerate(others)}
    any_of = {"goals_needed": GoalsNeeded.ANY}

    assert isinstance(verdict({REWARD.key: fitting}, REWARD, **any_of), Pass)
    assert isinstance(verdict(metrics, REWARD, *others, **any_of), Inconclusive)
    strong = {**metrics, REWARD.key: rewards(0.4)}
    assert isinstance(verdict(strong, REWARD, *others, **any_of), Pass)


def test_the_exact_bound_answers_before_the_normal_one_may():
    """120 decisions at a 10 % share, half of them denied against 2 %: shown without a burn-in."""
    found = verdict({DENIED.key: binary(0.5, 0.02, n=1_200, share=0.1)}, DENIED)
    late = replace(binary(0.5, 0.02, n=1_200, share=0.1), exact=None)

    assert isinstance(found, Fail)
    assert found.measures[0].method == "empirical Bernstein of each epoch, exact"
    assert codes(verdict({DENIED.key: late}, DENIED)) == [Code.BURN_IN]


def test_guardrails_share_the_error_of_a_rollback():
    """What breaks a lone guardrail need not break it among twenty, unless it weighs more."""
    item = replace(ERRORS, margin=0.0)
    metrics = {item.key: Events((fold_all([EventBlock(51, 24, 0.5)]),), (5_000, 5_000))}
    others = [replace(item, slice=f"country={i}") for i in range(19)]
    metrics |= {o.key: FEW_ERRORS for o in others}
    heavy = replace(item, weight=1_000.0)

    assert isinstance(verdict(metrics, item), Fail)
    assert isinstance(verdict(metrics, item, *others), Inconclusive)
    assert isinstance(verdict(metrics, heavy, *others), Fail)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.02, 0.2), st.floats(0.02, 0.2), st.sampled_from([0.1, 0.5]), st.integers(0, 99))
def test_mirrored_data_mirror_the_verdict(a, b, share, seed):
    """Swapped arms and a swapped direction change nothing but the sign."""
    one = binary(a, b, n=6_000, share=share, seed=seed)
    state = one.state
    p0, n0, n1, p1 = state.baseline[2:] + state.baseline[:2]
    pp, nn, pn, pc, nc, cc = state.products
    turned = Means(
        MeanState(
            state.n, state.p, state.c, (nn, pp, pn, nc, pc, cc),
            state.counts[::-1], state.totals[::-1], (p0, n0, n1, p1),
        ),
        (bounded.mirrored(one.exact[0]),),
        binary=True,
    )  # fmt: skip
    higher = Criterion("denied", Role.GUARDRAIL, Worse.HIGHER, 0.01)
    lower = replace(higher, worse=Worse.LOWER)

    found, other = (
        judge(Evidence({("denied", ""): evidence}), Criteria((item,), TUNING))
        for evidence, item in ((one, higher), (turned, lower))
    )
    assert type(found) is type(other)
    assert codes(found) == codes(other)
    if found.measures[0].lower is not None:
        assert found.measures[0].lower == pytest.approx(-other.measures[0].upper, abs=1e-9)


def test_a_relative_margin_of_a_mean_needs_no_division():
    """Cost may rise by 10 %: 2 % is within it, 30 % beyond."""
    rng = np.random.default_rng(21)
    item = Criterion("cost", Role.GUARDRAIL, Worse.HIGHER, 0.10, relative=True)

    def cost(factor):
        one, two = (moments(rng.exponential(scale, 60_000)) for scale in (factor, 1.0))
        return Means(mean.fold(MeanState(), MeanBlock(one, two, 0.5)))

    assert isinstance(verdict({item.key: cost(1.02)}, item), Pass)
    assert isinstance(verdict({item.key: cost(1.30)}, item), Fail)


def test_every_kind_of_verdict_can_be_matched():
    """The closed set, as callers read it."""
    for metrics in ({ERRORS.key: e} for e in (GOOD_ERRORS, BAD_ERRORS, FEW_ERRORS)):
        found = verdict(metrics, ERRORS)
        match found:
            case Pass() | Fail() | Inconclusive() | NoData():
                assert found.reasons
            case _:
                assert_never(found)
    assert isinstance(verdict({}, ERRORS), NoData)


def test_one_criterion_alone_has_one_reason_and_one_measure():
    """What status shows beside each metric."""
    found = assess(ERRORS, BAD_ERRORS, Criteria((ERRORS,), TUNING), 0.05)

    assert (len(found.reasons), len(found.measures)) == (1, 1)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ((replace(ERRORS, margin=-0.1),), "margin"),
        ((replace(REWARD, worse=Worse.EITHER),), "direction"),
        ((replace(ERRORS, weight=0.0),), "weight"),
        ((ERRORS, ERRORS), "only once"),
    ],
)
def test_criteria_no_evidence_can_meet_are_refused(items, message):
    """Before any data is looked at."""
    with pytest.raises(ValueError, match=message):
        verdict({}, *items)


def test_a_relative_margin_of_a_classifier_metric():
    """Recall may fall by 5 % of the champion's: 1 % is within it, 15 % beyond."""
    item = Criterion("recall", Role.GUARDRAIL, Worse.LOWER, 0.05, relative=True)

    assert isinstance(verdict({item.key: recalls(0.792, 0.8)}, item), Pass)
    assert isinstance(verdict({item.key: recalls(0.68, 0.8)}, item), Fail)
    assert isinstance(verdict({item.key: recalls(0.76, 0.8)}, item), Inconclusive)
