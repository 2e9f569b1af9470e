"""The exact test of two rates: right at 0 and 1, never wrong more often than declared."""

import math

import numpy as np
import pytest
from draws import at_most, moments
from scipy import special

from pointsman.domain import evidence as cells
from pointsman.domain.evidence import BUCKETS, Confusion
from pointsman.judge import measured, progress, rates
from pointsman.judge.assess import DECIDED_BY, judge
from pointsman.judge.mean import Tuning
from pointsman.judge.progress import Block, Progress
from pointsman.judge.rates import RateState
from pointsman.judge.verdict import (
    Code,
    Criteria,
    Criterion,
    Evidence,
    Fail,
    Health,
    Inconclusive,
    Pass,
    Role,
    Worse,
)

METRICS = ("accuracy", "recall", "precision", "specificity", "f1", "balanced_accuracy")
ALPHA = 0.05
PERFECT, WRONG = (1.0, 1.0), (0.0, 0.0)
USUAL = (0.95, 0.8)
"""Chance to be right, by label."""


def labelled(rng, n, right, positives=0.3):
    """Confusion of n units with a decision each."""
    label = (rng.random(n) < positives).astype(int)
    hit = rng.random(n) < np.where(label == 1, right[1], right[0])
    return confusion(rng.integers(0, BUCKETS, n), label, np.where(hit, label, 1 - label))


def confusion(bucket, label, predicted):
    at = np.bincount((bucket * 2 + label) * 2 + predicted, minlength=4 * BUCKETS)
    counts = at.reshape(BUCKETS, 4).sum(axis=0).tolist()
    return Confusion(2, counts, {int(i): int(at[i]) for i in np.flatnonzero(at)})


def arm(cell):
    """All cells that labels of these decisions are in."""
    table = np.zeros((BUCKETS, 4))
    for at, n in cell.by_bucket.items():
        table[divmod(at, 4)] = n
    bucket = np.repeat(np.arange(BUCKETS), table.sum(axis=1).astype(int))
    rows = [(r[0] + r[3], r[1] + r[2]) for r in table.astype(int)]
    right = np.concatenate([np.repeat([1.0, 0.0], row) for row in rows])
    first = Confusion(2, cell.counts)
    return {
        (cells.CONFUSION, ""): cell,
        (cells.FIRST_CONFUSION, ""): first,
        (cells.CORRECT, ""): moments(right, bucket),
    }


def found(metric, challenger, champion, share=0.5):
    tests = {(metric, ""): measured.of_classifier(metric, 2, 1)}
    known = progress.fold(Progress(), Block(1, 1, share, arm(challenger), arm(champion)), tests)
    return progress.evidence(known, tests, Health())


def verdict(metric, challenger, champion, *, worse=Worse.LOWER, relative=False):
    criterion = Criterion(metric, Role.GUARDRAIL, worse, 0.05, relative, needs_labels=True)
    return judge(found(metric, challenger, champion), Criteria((criterion,), Tuning(20_000.0)))


@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "relative"])
@pytest.mark.parametrize("metric", METRICS)
def test_a_level_of_0_or_1_is_decided(metric, relative):
    """All wrong beside a usual one, usual beside all wrong, perfect beside perfect: each way."""
    rng = np.random.default_rng(1)
    wrong, perfect = labelled(rng, 400, WRONG), labelled(rng, 2_000, PERFECT)
    usual, other = labelled(rng, 400, USUAL), labelled(rng, 2_000, PERFECT)

    def said(*arms, worse=Worse.LOWER):
        return type(verdict(metric, *arms, relative=relative, worse=worse))

    assert said(wrong, usual) is Fail
    assert said(wrong, perfect) is Fail
    assert said(wrong, usual, worse=Worse.HIGHER) is Pass
    assert said(usual, wrong) is Pass
    assert said(usual, wrong, worse=Worse.HIGHER) is Fail
    assert said(perfect, other) is Pass
    assert said(perfect, other, worse=Worse.EITHER) is Pass


@pytest.mark.parametrize("metric", ["recall", "f1", "balanced_accuracy"])
def test_a_challenger_that_never_finds_a_positive_is_shown(metric):
    """All others are as right as ever."""
    rng = np.random.default_rng(2)
    said = verdict(metric, labelled(rng, 400, (0.95, 0.0)), labelled(rng, 400, USUAL))

    assert isinstance(said, Fail)


def test_what_a_rate_cannot_be_taken_over_keeps_a_promotion_back():
    """A challenger that predicts no positive has no precision: as a signal that holds, and says
    so, once there are labels enough."""
    rng = np.random.default_rng(3)
    safe = Criterion("accuracy", Role.GUARDRAIL, Worse.LOWER, 0.9, needs_labels=True)
    signal = Criterion("precision", Role.SIGNAL, Worse.LOWER, 0.05, needs_labels=True)
    said = []
    for n in (DECIDED_BY - 1, DECIDED_BY):
        arms = labelled(rng, n, (1.0, 0.0)), labelled(rng, 2_000, USUAL)
        both = found("accuracy", *arms).metrics | found("precision", *arms).metrics
        seen = Evidence(both)
        said.append(judge(seen, Criteria((safe, signal), Tuning(20_000.0))))

    assert [type(one) for one in said] == [Pass, Inconclusive]
    assert not said[1].holds
    (reason,) = said[1].reasons
    assert (reason.code, reason.metric, reason.role) == (Code.BURN_IN, "precision", Role.SIGNAL)
    assert "keeps the promotion back" in reason.text


@pytest.mark.parametrize(("right", "kept"), [((0.93, 0.78), True), ((0.95, 0.81), False)])
def test_a_signal_that_looks_broken_keeps_a_promotion_back(right, kept):
    """Beyond its margin and not shown; one within it does not have to be shown."""
    label = np.arange(1_500) % 10 < 3
    bucket = np.arange(1_500) % BUCKETS

    def exactly(right):
        hit = np.arange(1_500) // 10 % 100 / 100 < np.where(label, right[1], right[0])
        return confusion(bucket, label.astype(int), np.where(hit, label, ~label).astype(int))

    arms = exactly(right), exactly(USUAL)
    safe = Criterion("recall", Role.GUARDRAIL, Worse.LOWER, 0.9, needs_labels=True)
    signal = Criterion("accuracy", Role.SIGNAL, Worse.LOWER, 0.01, needs_labels=True)
    both = found("recall", *arms).metrics | found("accuracy", *arms).metrics
    said = judge(Evidence(both), Criteria((safe, signal), Tuning(20_000.0)))

    assert isinstance(said, Inconclusive if kept else Pass)
    assert said.measures[1].verdict == "inconclusive"
    assert [r.role for r in said.reasons] == [Role.SIGNAL if kept else Role.GUARDRAIL]


def test_later_decisions_of_a_unit_have_their_say():
    """First exposures all right, the later ones of the same units all wrong: never shown safe."""
    rng = np.random.default_rng(4)
    perfect, first = labelled(rng, 4_000, PERFECT), labelled(rng, 2_000, PERFECT)
    later = labelled(rng, 2_000, WRONG)
    every = cells.merge(first, later)
    mine = arm(every) | {(cells.FIRST_CONFUSION, ""): Confusion(2, first.counts)}
    for metric in METRICS:
        tests = {(metric, ""): measured.of_classifier(metric, 2, 1)}
        known = progress.fold(Progress(), Block(1, 1, 0.5, mine, arm(perfect)), tests)
        criterion = Criterion(metric, Role.GUARDRAIL, Worse.LOWER, 0.05, needs_labels=True)
        seen = progress.evidence(known, tests, Health())
        assert not isinstance(judge(seen, Criteria((criterion,), Tuning(20_000.0))), Pass)


def test_the_e_value_is_the_least_over_all_pairs_of_rates_in_the_hypothesis():
    """Its slow twin looks at every pair of a fine grid; rates of 0 and 1, F1's unit too."""
    rng = np.random.default_rng(5)
    grid = np.linspace(0.0, 1.0, 801)
    for number in range(80):
        n = rng.integers(1, 400, 2)
        k = rng.binomial(n, rng.choice([0.0, 0.02, 0.5, 0.9, 1.0], 2))
        f1, above = bool(number % 2), bool(rng.integers(2))
        factor, margin = float(rng.choice([0.5, 1.0, 1.2])), float(rng.choice([0.0, -0.3, 0.1]))
        state = RateState(((int(k[0]), int(n[0]), int(k[1]), int(n[1])),), f1)
        rate = grid / (2.0 - grid) if f1 else grid
        each = [
            special.betaln(a + 0.5, b - a + 0.5) - special.betaln(0.5, 0.5)
            - special.xlogy(a, rate) - special.xlogy(b - a, 1.0 - rate)
            for a, b in zip(k, n, strict=True)
        ]  # fmt: skip
        gap = grid[:, None] - factor * grid - margin
        inside = gap <= 1e-9 if above else gap >= -1e-9
        slow = (each[0][:, None] + each[1])[inside].min()

        fast = rates.log_e(state, factor, margin, above=above)
        assert slow - 0.1 * max(1.0, abs(slow)) <= fast <= slow + 1e-6


@pytest.mark.parametrize("f1", [False, True])
def test_bounds_are_where_the_e_value_reaches_one_over_alpha(f1):
    """Difference and ratio, of one part and of two."""
    for parts in (((30, 50, 80, 90),), ((30, 50, 80, 90), (0, 40, 20, 60))):
        state, bar = RateState(parts, f1), math.log(20.0)
        low, high = rates.lower_bound(state, ALPHA), rates.upper_bound(state, ALPHA)
        less, more = rates.ratio_bounds(state, ALPHA)

        assert rates.log_e(state, 1.0, low, above=True) == pytest.approx(bar, abs=1e-4)
        assert rates.log_e(state, 1.0, high, above=False) == pytest.approx(bar, abs=1e-4)
        assert rates.log_e(state, less, 0.0, above=True) == pytest.approx(bar, abs=1e-4)
        assert rates.log_e(state, more, 0.0, above=False) == pytest.approx(bar, abs=1e-4)


LEVELS = {
    "near 1": (0.999, 0.999),
    "near 0": (0.001, 0.001),
    "beside 1": (0.98, 1.0),
    "at 0": (0.0, 0.02),
    "drifting": (0.0, 0.0),
}


@pytest.mark.parametrize("share", [0.05, 0.5])
@pytest.mark.parametrize("level", LEVELS)
def test_no_bound_errs_more_often_than_declared_near_0_and_1(level, share):
    """Harm beyond the true difference, and safety within it, both ways, looked at 40 times; the
    drifting one falls from 0.99 to 0.5 in one epoch, alike in both arms."""
    rng, runs, wrong = np.random.default_rng(6), 400, [0, 0]
    one, two = LEVELS[level]
    for _ in range(runs):
        looks = np.minimum(np.cumsum(rng.multinomial(4_000, [1 / 40] * 40)), 4_000)
        ours = rng.random(4_000) < share
        chance = np.where(ours, one, two)
        if level == "drifting":
            chance = np.linspace(0.99, 0.5, 4_000)
        right = rng.random(4_000) < chance
        hit = [False, False]
        for at in looks:
            mine, theirs = right[:at][ours[:at]], right[:at][~ours[:at]]
            part = (int(mine.sum()), len(mine), int(theirs.sum()), len(theirs))
            for side, above in enumerate((True, False)):
                e = rates.log_e(RateState((part,)), 1.0, one - two, above=above)
                hit[side] |= e >= -math.log(ALPHA)
        wrong = [count + was for count, was in zip(wrong, hit, strict=True)]

    assert at_most(wrong[0] / runs, ALPHA, runs)
    assert at_most(wrong[1] / runs, ALPHA, runs)


@pytest.mark.parametrize("metric", METRICS)
def test_verdicts_err_no_more_often_than_declared_near_1(metric):
    """The whole judge, exact and asymptotic together, at the margin itself: harm and safety."""
    rng, runs = np.random.default_rng(7), 100
    best, worst = (0.99, 0.99), (0.985, 0.985)
    wrong = {"harm": 0, "safety": 0}
    big = [labelled(rng, 1_000_000, right) for right in (worst, best)]
    value = [rate_of(metric, cell) for cell in big]
    margin = value[1] - value[0]
    tests = {(metric, ""): measured.of_classifier(metric, 2, 1)}
    guardrail = Criterion(metric, Role.GUARDRAIL, Worse.LOWER, margin, needs_labels=True)
    criteria = Criteria((guardrail,), Tuning(4_000.0), ALPHA)
    for _ in range(runs):
        known, said = Progress(), set()
        for look in range(10):
            ours, theirs = labelled(rng, 100, worst), labelled(rng, 400, best)
            known = progress.fold(known, Block(look, 1, 0.2, arm(ours), arm(theirs)), tests)
            said.add(type(judge(progress.evidence(known, tests, Health()), criteria)))
        wrong["harm"] += Fail in said
        wrong["safety"] += Pass in said

    for what, count in wrong.items():
        assert at_most(count / runs, ALPHA, runs), what


def rate_of(metric, cell):
    (tn, fp), (fn, tp) = np.array(cell.counts).reshape(2, 2).tolist()
    return {
        "accuracy": (tp + tn) / (tp + tn + fp + fn),
        "recall": tp / (tp + fn),
        "precision": tp / (tp + fp),
        "specificity": tn / (tn + fp),
        "f1": 2 * tp / (2 * tp + fp + fn),
        "balanced_accuracy": (tp / (tp + fn) + tn / (tn + fp)) / 2,
    }[metric]
