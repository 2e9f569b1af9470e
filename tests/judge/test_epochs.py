"""Sticky units that come back at every weight with their outcomes for good: the worst of a ramp.

What one draw made of such a unit shows in every epoch again. Each error is held to its nominal
value plus two standard errors, at the margin itself and in both directions; the same data fail
the test that adds epochs up.
"""

import math

import numpy as np
import pytest
from draws import at_most, moments, shown

from pointsman.domain.evidence import BUCKETS, Confusion
from pointsman.judge import bounded, event, mean, ratio
from pointsman.judge.bounded import BoundedState
from pointsman.judge.e_value import log_e_beyond
from pointsman.judge.effect import effect
from pointsman.judge.event import log_e_above_many
from pointsman.judge.kinds import Effect, Means, Unknown
from pointsman.judge.mean import MeanBlock, MeanState, Tuning
from pointsman.judge.progress import Block, EventTest, MeanTest, Progress, RatioTest, evidence, fold
from pointsman.judge.spending import HARM, safety
from pointsman.judge.verdict import Health

ALPHA = 0.05
BAR = math.log(1 / ALPHA)
FIVE = (0.01, 0.05, 0.1, 0.25, 0.5)
TEN = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
LOOKS = 3
"""At each weight."""

TESTS = {
    ("relative", ""): EventTest(cell="denied"),
    ("absolute", ""): MeanTest(binary=True, first_exposures=True, cell="denied"),
    ("score", ""): MeanTest(cell="score"),
    ("recall", ""): RatioTest(ratio.recall(2, 1), cell="recall"),
}
RATE, FACTOR = 0.06, 1.25
MARGINS = {
    "relative": FACTOR - 1,
    "absolute": RATE * (FACTOR - 1),
    "score": 0.1,
    "recall": -RATE * (FACTOR - 1),
}
"""Each is the truth: neither harm beyond it nor safety within it may be shown."""


def ramp(rng, shares, units, *, sticky=True, factor=FACTOR):
    """Blocks of a ramp through which all units come, in another order each time.

    sticky: the same units with what happens to them, not others at every weight
    """
    crowd = None
    for epoch, share in enumerate(shares):
        if crowd is None or not sticky:
            crowd = rng.random((2, units)), rng.integers(0, BUCKETS, units), rng.normal(0, 1, units)
        (place, luck), bucket, score = crowd
        for look, part in enumerate(np.array_split(rng.permutation(units), LOOKS)):
            ours = place[part] < share
            arms = []
            for arm, rate, lift in ((ours, RATE * factor, MARGINS["score"]), (~ours, RATE, 0.0)):
                who = part[arm]
                hit = luck[who] < rate
                arms.append(
                    {
                        ("denied", ""): moments(hit, bucket[who]),
                        ("score", ""): moments(score[who] + lift, bucket[who]),
                        ("recall", ""): confusion(~hit, bucket[who]),
                    }
                )
            yield Block(LOOKS * epoch + look, epoch, share, *arms)


def confusion(found, bucket):
    """All of them positive, some of them found."""
    at = np.bincount((bucket * 2 + 1) * 2 + found, minlength=4 * BUCKETS)
    counts = at.reshape(BUCKETS, 4).sum(axis=0).tolist()
    return Confusion(2, counts, {int(i): int(at[i]) for i in np.flatnonzero(at)})


def errors(shares, units, runs, seed, **more):
    """How often harm beyond the margin, and safety within it, is ever shown, by metric.

    By e-values, which reach the bar whenever a bound is beyond the margin, and sometimes before.
    """
    rng, tuning = np.random.default_rng(seed), Tuning(units)
    spent = {"harm": HARM, "safety": safety(len(shares))}
    wrong = {(metric, side): 0 for metric, _ in TESTS for side in spent}
    for _ in range(runs):
        progress, hits = Progress(), set()
        for block in ramp(rng, shares, units, **more):
            progress = fold(progress, block, TESTS)
            for (metric, _), found in evidence(progress, TESTS, Health()).metrics.items():
                for side, spending in spent.items():
                    worse_is_lower = metric == "recall"
                    e = log_e_beyond(
                        found,
                        tuning,
                        MARGINS[metric],
                        relative=metric == "relative",
                        above=(side == "harm") is not worse_is_lower,
                        spending=spending,
                    )
                    if not isinstance(e, Unknown) and e >= BAR:
                        hits.add((metric, side))
        for hit in hits:
            wrong[hit] += 1
    return {key: count / runs for key, count in wrong.items()}


@pytest.mark.parametrize(
    ("shares", "units"), [(FIVE, 4_000), (TEN, 600)], ids=["5 steps", "10 steps"]
)
def test_units_that_come_back_for_good_make_no_bound_err_more_than_declared(shares, units):
    """Absolute and relative bounds, events, means and rates, of all units or of a small slice."""
    runs = 60 if shares is FIVE else 30
    for what, rate in errors(shares, units, runs, seed=len(shares) + units).items():
        print(what, end="")
        assert at_most(rate, ALPHA, runs), what


def test_adding_epochs_up_errs_on_the_same_units():
    """What is tested apart would alarm in more than twice the declared rate of runs if added up:
    relative risks and bounded means, ten steps, no harm, and each the other way round."""
    rng, runs, units = np.random.default_rng(44), 80, 2_000
    wrong = np.zeros(4)
    for _ in range(runs):
        hits, small, counts = np.zeros(4, bool), BoundedState(), np.zeros((2, len(TEN)))
        for block in ramp(rng, TEN, units, factor=1.0):
            cells = [arm["denied", ""] for arm in (block.challenger, block.champion)]
            small = bounded.fold(small, MeanBlock(*cells, block.share))
            counts[:, block.epoch] += [sum(cell.total) for cell in cells]
            x, y = counts[:, None]
            hits |= [
                bounded.log_e_above(small, 0.0) >= BAR,
                bounded.log_e_below(small, 0.0) >= BAR,
                log_e_above_many(x, y, TEN, 1.0)[0] >= BAR,
                log_e_above_many(y, x, [1 - share for share in TEN], 1.0)[0] >= BAR,
            ]
        wrong += hits

    assert shown("added up", (wrong / runs).max()) > 2 * ALPHA


def test_a_unit_with_many_decisions_and_one_outcome_is_no_more_than_a_unit():
    """20 requests each, all right or all wrong: a mean over every labelled decision sees it."""
    rng, runs, units, share = np.random.default_rng(45), 250, 2_000, 0.05
    wrong, naive = np.zeros(2), 0
    for _ in range(runs):
        state, hits, hit = MeanState(), np.zeros(2, bool), False
        ours, right = rng.random(units) < share, rng.random(units) < 0.9
        for who in np.array_split(np.arange(units), 6):
            cells = [
                moments(np.repeat(right[part], 20), np.repeat(part, 20))
                for part in (who[ours[who]], who[~ours[who]])
            ]
            state = mean.fold(state, MeanBlock(*cells, share))
            found = effect(Means(state, binary=True), Tuning(10_000.0), ALPHA, relative=False)
            if isinstance(found, Effect):
                hits |= [found.lower > 0.0, found.upper < 0.0]
                contrast = mean.contrast(state)
                hit |= abs(contrast.difference) > 3.0 * contrast.error
        wrong, naive = wrong + hits, naive + hit

    assert at_most(wrong[0] / runs, ALPHA, runs)
    assert at_most(wrong[1] / runs, ALPHA, runs)
    assert shown("by decision", naive / runs) > 2 * ALPHA


@pytest.mark.parametrize("spending", [HARM, *map(safety, range(1, 7))])
def test_no_more_is_spent_than_there_is(spending):
    """Over any number of epochs, of both methods together."""
    parts = [spending.of_epoch(number) for number in range(1, 5_000)]

    assert min(parts) > 0.0
    assert max(parts) == spending.of_epoch(spending.favoured)
    assert 0.74 < math.fsum(parts) <= 1.0
    assert spending.exact + spending.asymptotic == pytest.approx(1.0)


def test_a_bound_is_passed_only_where_an_e_value_says_so_too():
    """Bounds and e-values spend alike, of every kind of test, after every block."""
    rng, spending = np.random.default_rng(46), safety(3)
    progress, told = Progress(), 0
    for block in ramp(rng, (0.1, 0.3, 0.5), 3_000, factor=2.0):
        progress = fold(progress, block, TESTS)
        for (metric, _), found in evidence(progress, TESTS, Health()).metrics.items():
            asked = {"relative": metric == "relative", "spending": spending}
            bounds = effect(found, Tuning(3_000.0), ALPHA, **asked)
            for above in (True, False):
                e = log_e_beyond(found, Tuning(3_000.0), 0.0, above=above, **asked)
                if isinstance(bounds, Effect) and (
                    bounds.lower > 0.0 if above else bounds.upper < 0.0
                ):
                    told += 1
                    assert e >= BAR - 1e-6
    assert told > 5


def test_epochs_without_a_cell_keep_their_number():
    """A slice that appears at the third weight has the third weight's part of the error."""
    block = next(ramp(np.random.default_rng(47), (0.2,), 500))
    progress = fold(Progress(), block, TESTS)

    early, late = (
        evidence(progress, TESTS, Health(), epochs).metrics["relative", ""].epochs
        for epochs in ((), (-2, -1, block.epoch))
    )
    assert late[2:] == early
    assert [state.by_share for state in late[:2]] == [(), ()]


def first_shown(blocks, metric, margin, tuning, bound):
    """Challenger's and all units until a bound is passed; None where it never is."""
    progress, tests = Progress(), {key: TESTS[key] for key in TESTS if key[0] == metric}
    ours = both = 0
    for block in blocks:
        progress = fold(progress, block, tests)
        n = [sum(arm["denied", ""].n) for arm in (block.challenger, block.champion)]
        ours, both = ours + n[0], both + sum(n)
        (found,) = evidence(progress, tests, Health()).metrics.values()
        if bound(found, margin, tuning):
            return ours, both
    return None


def harm_is_shown(found, margin, tuning):
    relative = not isinstance(found, Means)
    seen = effect(found, tuning, ALPHA, relative=relative, spending=HARM)
    return isinstance(seen, Effect) and seen.lower > margin


def harm_was_shown(found, margin, tuning):
    """As before: all of alpha for events, half of it for the exact bound of a mean."""
    if isinstance(found, Means):
        return bounded.log_e_above(found.exact[0], margin) >= BAR + math.log(2)
    return event.log_e_above(found.whole, 1.0 + margin) >= BAR


@pytest.mark.parametrize(("metric", "margin"), [("relative", 0.1), ("absolute", 0.01)])
def test_large_harm_at_the_first_weight_is_found_as_fast_as_ever(metric, margin):
    """Six times the denials at 5 %: at most a fifth more units of the challenger than a test
    without other epochs in mind would need."""
    rng, tuning = np.random.default_rng(48), Tuning(4_000.0)
    needed = {harm_is_shown: [], harm_was_shown: []}
    for _ in range(30):
        weights = [0.05] * 150  # in looks of 14 units, of one epoch
        blocks = [
            Block(i, 0, b.share, b.challenger, b.champion)
            for i, b in enumerate(ramp(rng, weights, 42, sticky=False, factor=6))
        ]
        for bound, counts in needed.items():
            found = first_shown(blocks, metric, margin, tuning, bound)
            counts.append(math.inf if found is None else found[0])
    now, before = (float(np.median(counts)) for counts in needed.values())

    assert shown(f"{metric}: units until harm is shown", now) <= 1.2 * shown("before", before) + 1


def safety_is_shown(found, margin, tuning):
    relative = not isinstance(found, Means)
    seen = effect(found, tuning, ALPHA, relative=relative, spending=safety(len(FIVE)))
    return isinstance(seen, Effect) and seen.upper < margin


def safety_was_shown(found, margin, tuning):
    """As before: events added up with all of alpha; means by sequences with half of it."""
    if not isinstance(found, Means):
        return event.log_e_below(found.whole, 1.0 + margin) >= BAR
    seen = mean.contrast(found.state)
    radius = math.inf if seen is None else mean.one_sided_radius(seen, ALPHA / 2, tuning)
    return seen is not None and seen.difference + radius < margin


@pytest.mark.parametrize(
    ("metric", "margin", "factor"), [("relative", 0.15, 1.3), ("absolute", 0.01, 1.05)]
)
def test_a_harmless_version_waits_little_longer_for_its_promotion(metric, margin, factor):
    """Five weights of 3,000 new units each, and on at the last: at most so many times the units."""
    rng, tuning = np.random.default_rng(49), Tuning(10_000.0)
    needed = {safety_is_shown: [], safety_was_shown: []}
    for _ in range(8 if metric == "relative" else 30):
        weights = [*FIVE[:-1], *FIVE[-1:] * 20]
        blocks = [
            Block(i, min(b.epoch, len(FIVE) - 1), b.share, b.challenger, b.champion)
            for i, b in enumerate(ramp(rng, weights, 3_000, sticky=False, factor=1.0))
        ]
        for bound, counts in needed.items():
            found = first_shown(blocks, metric, margin, tuning, bound)
            counts.append(math.inf if found is None else found[1])
    now, before = (float(np.median(counts)) for counts in needed.values())

    assert shown(f"{metric}: units until safety is shown", now) <= factor * shown("before", before)


def test_errors_that_never_happen_are_shown_to_be_few_enough():
    """An absolute bound of two points, no event in either arm, at the last of two weights: at most
    a sixth more units than half of alpha needed, and nothing of the first weight helps."""

    def needed(alpha):
        state, units = BoundedState(), 0
        while bounded.upper_bound(state, alpha) >= 0.02:
            state = bounded.fold(state, MeanBlock(moments(np.zeros(5)), moments(np.zeros(5)), 0.5))
            units += 10
        return units

    spending = safety(2)
    now = needed(ALPHA * spending.exact * spending.of_epoch(2))

    assert shown("units now", now) <= 7 / 6 * shown("before", needed(ALPHA / 2))
