"""The Monte-Carlo targets of judging, each beside the naive method that fails on the same data.

Every rate is held to its nominal value plus two standard errors of the simulation. Seeds are
fixed; the runs are drawn as cells are filled, by counts.
"""

import math

import numpy as np
import pytest
from draws import at_most, binary_moments, moments, shown
from scipy import stats

from pointsman.judge import bounded, mean
from pointsman.judge.bounded import BoundedState
from pointsman.judge.event import log_e_above_many
from pointsman.judge.mean import MeanBlock, MeanState, Tuning, contrast, two_sided_radius
from pointsman.judge.sample_ratio import Draws, RatioState, audit_propensities, log_e
from pointsman.judge.spending import HARM

ALPHA = 0.05
SRM_ALPHA = 0.001


def pooled_z(x, n, y, m):
    """The naive test: two proportions, everything added up."""
    rate = (x + y) / (n + m)
    error = np.sqrt(rate * (1 - rate) * (1 / n + 1 / m))
    return np.divide(x / n - y / m, error, out=np.zeros_like(error), where=error > 0)


def event_alarms(x, y, shares, risk=1.0):
    """First look at which harm is shown by the event e-process, by run; looks where never.

    x, y: events of each block, shape (runs, looks); shares: of each look
    """
    runs, looks = x.shape
    levels = sorted(set(shares))
    column = np.array([levels.index(s) for s in shares])
    cumulative = [np.zeros((runs, looks, len(levels))) for _ in range(2)]
    for total, events in zip(cumulative, (x, y), strict=True):
        for level in range(len(levels)):
            total[:, :, level] = np.where(column == level, events, 0).cumsum(axis=1)
    e = log_e_above_many(*(c.reshape(runs * looks, -1) for c in cumulative), levels, risk).reshape(
        runs, looks
    )
    crossed = e >= math.log(1 / ALPHA)
    return np.where(crossed.any(axis=1), crossed.argmax(axis=1), looks)


def test_1_looking_a_hundred_times_at_rare_events():
    """A/A at 2 %, 100 looks of 500 an arm: at most 5 % alarms, where a z-test makes over 30 %."""
    rng, runs, looks = np.random.default_rng(101), 600, 100
    x, y = rng.binomial(500, 0.02, (2, runs, looks))
    n = 500.0 * np.arange(1, looks + 1)
    z = pooled_z(x.cumsum(axis=1), n, y.cumsum(axis=1), n)

    both = (event_alarms(x, y, [0.5] * looks) < looks) | (event_alarms(y, x, [0.5] * looks) < looks)
    assert at_most(both.mean(), 2 * ALPHA, runs)
    assert at_most((event_alarms(x, y, [0.5] * looks) < looks).mean(), ALPHA, runs)
    assert shown("naive z", (np.abs(z) > stats.norm.isf(0.025)).any(axis=1).mean()) > 0.3


def test_1_looking_a_hundred_times_at_a_difference_of_means():
    """The same for the confidence sequences of a difference, normal and exact, on cells."""
    rng, runs, looks = np.random.default_rng(102), 120, 100
    tuning, normal, exact, naive = Tuning(n_star=50_000), 0, 0, 0
    for _ in range(runs):
        state, small = MeanState(), BoundedState()
        hits = [False, False, False]
        for _ in range(looks):
            block = MeanBlock(binary_moments(rng, 500, 0.02), binary_moments(rng, 500, 0.02), 0.5)
            state, small = mean.fold(state, block), bounded.fold(small, block)
            found = contrast(state)
            if found is None:
                continue
            hits[0] |= min(state.totals) >= 50 and (
                abs(found.difference) > two_sided_radius(found, ALPHA, tuning)
            )
            hits[1] |= bounded.log_e_above(small, 0.0) >= math.log(1 / ALPHA)
            hits[2] |= abs(found.difference / found.error) > stats.norm.isf(0.025)
        normal, exact, naive = normal + hits[0], exact + hits[1], naive + hits[2]

    assert at_most(normal / runs, ALPHA, runs)
    assert at_most(exact / runs, ALPHA, runs)
    assert shown("naive z", naive / runs) > 0.3


RAMP = [share for share in (0.01, 0.05, 0.10, 0.25, 0.50) for _ in range(20)]
DRIFT = np.linspace(0.01, 0.03, len(RAMP))


def ramp(rng, runs, n=1_000):
    """Events and decisions of both arms, shape (runs, looks), while shares and base rate rise."""
    one = rng.binomial(n, RAMP, (runs, len(RAMP)))
    return rng.binomial(one, DRIFT), one, rng.binomial(n - one, DRIFT), n - one


def test_2_a_ramp_while_the_base_rate_rises():
    """A/A, 1 to 50 %, 20,000 requests a step, base rate 1 to 3 %: pooled, every run alarms."""
    runs = 300
    x, n, y, m = ramp(np.random.default_rng(201), runs)
    z = pooled_z(*(v.cumsum(axis=1) for v in (x, n, y, m)))
    harm = event_alarms(x, y, RAMP) < len(RAMP)
    relief = event_alarms(y, x, [1 - s for s in RAMP]) < len(RAMP)

    assert at_most(harm.mean(), ALPHA, runs)
    assert at_most(relief.mean(), ALPHA, runs)
    assert shown("naive pooled z", (z[:, -1] > stats.norm.isf(0.025)).mean()) > 0.99


def test_2_a_ramp_seen_as_a_difference_of_means():
    """Another draw of the same ramp, by the stratified sequence and the exact bound, beside the
    pooled test on the very same runs."""
    rng, runs = np.random.default_rng(202), 100
    tuning, normal, exact = Tuning(n_star=40_000), 0, 0
    x, n, y, m = ramp(rng, runs)
    for run in range(runs):
        state, small, hit, hit_exact = MeanState(), BoundedState(), False, False
        for look, share in enumerate(RAMP):
            cells = [
                spread(rng, *v)
                for v in ((x[run, look], n[run, look]), (y[run, look], m[run, look]))
            ]
            state = mean.fold(state, MeanBlock(*cells, share))
            small = bounded.fold(small, MeanBlock(*cells, share))
            found = contrast(state)
            if found is not None and min(state.totals) >= 50:
                hit |= abs(found.difference) > two_sided_radius(found, ALPHA, tuning)
            hit_exact |= bounded.log_e_above(small, 0.0) >= math.log(1 / ALPHA)
        normal, exact = normal + hit, exact + hit_exact
    z = pooled_z(*(v.sum(axis=1) for v in (x, n, y, m)))

    assert at_most(normal / runs, ALPHA, runs)
    assert at_most(exact / runs, ALPHA, runs)
    assert shown("naive pooled z", (z > stats.norm.isf(0.025)).mean()) > 0.99


def spread(rng, ones, n):
    """The cell of n units of which `ones` have an event."""
    return moments((np.arange(n) < ones).astype(float), rng.integers(0, 64, n))


def test_2_units_that_come_back_at_every_step_with_their_events_for_good():
    """The worst there is of a ramp: the same 20,000 sticky units at each of five or ten shares, a
    twentieth of them denied whenever they come. Each epoch is tested apart, with its part of the
    error; counted at every request and added up, harm is shown in most runs. test_epochs.py has
    every kind of bound."""
    rng, runs = np.random.default_rng(203), 300
    for shares in (np.array([0.01, 0.05, 0.1, 0.25, 0.5]), np.arange(1, 11) / 20):
        steps = len(shares)
        step = np.repeat(np.arange(steps), 5)  # five looks at each
        here = step[:, None] == np.arange(steps)
        parts = np.log([HARM.of_epoch(number) for number in range(1, steps + 1)])
        alarms = by_request = 0
        for _ in range(runs):
            place = rng.random(1_000)  # of the units that are denied; the others have no event
            looks = np.concatenate([rng.permutation(place).reshape(5, 200) for _ in shares])
            ours = (looks < shares[step, None]).sum(axis=1)
            x, y = (np.where(here, n[:, None], 0).cumsum(axis=0) for n in (ours, 200 - ours))
            apart = [
                log_e_above_many(x[here[:, k], k, None], y[here[:, k], k, None], [share], 1.0).max()
                for k, share in enumerate(shares)
            ]
            alarms += (np.array(apart) + parts).max() >= math.log(1 / ALPHA)
            many = log_e_above_many(10 * x, 10 * y, shares, 1.0)
            by_request += many.max() >= math.log(1 / ALPHA)

        assert at_most(alarms / runs, ALPHA, runs)
        assert shown("by request, added up", by_request / runs) > 0.25


@pytest.mark.parametrize("effect", [0.0, 0.02])
def test_3_labels_that_arrive_late_through_a_ramp(effect):
    """2 to 50 % in 10 days, delays of 3 days on average, rate 5 %: reading "no label" as "negative"
    alarms in nearly every run without an effect. Matured cohorts do not, and are unbiased for what
    they measure: the difference in events known within the horizon, which is that in all events
    times the part that arrives by then, so nothing where there is nothing."""
    rng, runs, days, horizon, n = np.random.default_rng(301), 300, 10, 3, 4_000
    shares = np.linspace(0.02, 0.5, days)
    arrived = 1 - math.exp(-horizon / 3.0)
    tuning, alarms, naive, estimates = Tuning(n_star=10_000), 0, 0, []
    for _ in range(runs):
        one = rng.binomial(n, shares)
        arms = [(one, 0.05 + effect), (n - one, np.full(days, 0.05))]
        events = [rng.binomial(count, rate) for count, rate in arms]
        # What is known `horizon` days after each decision, which is what a matured block holds.
        matured = [rng.binomial(k, arrived) for k in events]
        state, hit = MeanState(), False
        for day in range(days):
            cells = [spread(rng, matured[a][day], arms[a][0][day]) for a in (0, 1)]
            state = mean.fold(state, MeanBlock(*cells, float(shares[day])))
            found = contrast(state)
            if found is not None and min(state.totals) >= 50:
                hit |= abs(found.difference) > two_sided_radius(found, ALPHA, tuning)
        alarms, estimates = alarms + hit, [*estimates, contrast(state).difference]
        # At the end of day 10, whatever is not labelled yet is taken for a negative.
        age = days - np.arange(days) - 0.5
        seen = [rng.binomial(k, 1 - np.exp(-age / 3.0)).sum() for k in events]
        z = pooled_z(np.array(seen[0]), one.sum(), np.array(seen[1]), (n - one).sum())
        naive += abs(z) > stats.norm.isf(0.025)

    centre, error = np.mean(estimates), np.std(estimates) / math.sqrt(runs)
    within_horizon = (0.05 + effect) * arrived - 0.05 * arrived
    assert centre == pytest.approx(within_horizon, abs=3 * error)
    if effect == 0.0:
        assert at_most(alarms / runs, ALPHA, runs)
        assert shown("naive, no label is negative", naive / runs) > 0.9
    else:
        assert shown("power", alarms / runs) > 0.9


def test_4_a_doubled_error_rate_is_found_in_time():
    """0.5 to 1 % at half and half: power at least 0.88 by 10,000 an arm, median at most 5,000. A
    z-test at every look is quicker, and worth nothing: in runs whose champion serves both arms, it
    alarms in more than a fifth, where the e-process keeps to its 5 %. Tested once, at the end, it
    is sound and finds nothing before all 10,000 were exposed."""
    rng, runs, looks = np.random.default_rng(401), 600, 100
    x, y = (rng.binomial(100, rate, (runs, looks)) for rate in (0.01, 0.005))
    first = event_alarms(x, y, [0.5] * looks)

    assert shown("power", (first < looks).mean()) >= 0.88
    assert shown("median per arm", 100 * (np.median(first) + 1)) <= 5_000

    same = rng.binomial(100, 0.005, (runs, looks))
    n = 100.0 * np.arange(1, looks + 1)
    z = pooled_z(same.cumsum(axis=1), n, y.cumsum(axis=1), n)
    assert at_most((event_alarms(same, y, [0.5] * looks) < looks).mean(), ALPHA, runs)
    assert shown("naive z", (z > stats.norm.isf(0.05)).any(axis=1).mean()) > 0.2


def srm_alarms(rng, share, runs, looks, n):
    """First look at which 50/50 is refuted, and whether repeated chi-square tests would alarm."""
    x = rng.binomial(n, share, (runs, looks)).cumsum(axis=1)
    total = n * np.arange(1, looks + 1)
    chi2 = (2 * x - total) ** 2 / total
    first = np.full(runs, looks)
    # exp(chi2/2) is about the most any bet can win: below 10 none is near 1,000, and none is asked.
    for run, look in np.argwhere(chi2 >= 10):
        k, of = int(x[run, look]), int(total[look])
        e = log_e(RatioState((Draws((0.5, 0.5), (k, of - k)),))) if look < first[run] else 0.0
        first[run] = look if e >= math.log(1 / SRM_ALPHA) else first[run]
    return first, (chi2 > stats.chi2.isf(SRM_ALPHA, 1)).any(axis=1)


def test_5_sample_ratios_at_two_hundred_looks():
    """50/50, a look every 100 units: at most 0.1 %, where a repeated chi-square makes over 1 %."""
    first, naive = srm_alarms(np.random.default_rng(501), 0.5, runs=3_000, looks=200, n=100)

    assert at_most((first < 200).mean(), SRM_ALPHA, 3_000)
    assert shown("naive chi-square", naive.mean()) > 0.01


def test_5_a_lost_twentieth_is_found():
    """52/48 where 50/50 was promised: half of the runs know by 11,000 units."""
    first, _ = srm_alarms(np.random.default_rng(502), 0.52, runs=200, looks=100, n=250)

    assert shown("median units", 250 * (np.median(first) + 1)) <= 11_000
    assert (first < 100).mean() > 0.9


def test_5_counting_requests_of_sticky_units_alarms_falsely():
    """5 requests a unit: units keep to 1 %, requests alarm in over 5 % of healthy runs."""
    rng, runs, threshold = np.random.default_rng(503), 300, math.log(100)
    by_unit = by_request = 0
    for _ in range(runs):
        units = rng.binomial(1, 0.5, 6_000)
        requests = np.repeat(units, 5)
        counts = [(int(v.sum()), len(v) - int(v.sum())) for v in (units, requests)]
        e = [log_e(RatioState((Draws((0.5, 0.5), c),))) for c in counts]
        by_unit, by_request = by_unit + (e[0] >= threshold), by_request + (e[1] >= threshold)

    assert at_most(by_unit / runs, 0.01, runs)
    assert shown("by request", by_request / runs) > 0.05


def test_6_the_audit_knows_true_propensities_from_perturbed_ones():
    """Three arms with changing weights; one arm's logged propensity is 10 % too high. A chi-square
    of all counts against the last logged weights, as of a split that never changed, calls true
    propensities lies on the same data."""
    rng, runs = np.random.default_rng(601), 150
    schedule = [(0.5, 0.3, 0.2), (0.4, 0.4, 0.2), (0.2, 0.5, 0.3)]
    false, found, naive = 0, 0, 0
    for _ in range(runs):
        counts = [tuple(rng.multinomial(8_000, p).tolist()) for p in schedule]
        truth = audit_propensities(Draws(p, c) for p, c in zip(schedule, counts, strict=True))
        lie = audit_propensities(
            Draws(perturbed(p), c) for p, c in zip(schedule, counts, strict=True)
        )
        false += truth >= math.log(1 / SRM_ALPHA)
        found += lie >= math.log(1 / SRM_ALPHA)
        whole = np.sum(counts, axis=0)
        expected = whole.sum() * np.array(schedule[-1])
        naive += stats.chisquare(whole, expected).pvalue < SRM_ALPHA

    assert at_most(false / runs, SRM_ALPHA, runs)
    assert shown("power", found / runs) > 0.95
    assert shown("naive chi-square of the last weights", naive / runs) > 0.95


def perturbed(p):
    """The first arm's propensity 10 % too high, at the cost of the others."""
    first = 1.1 * p[0]
    return (first, *(q * (1 - first) / (1 - p[0]) for q in p[1:]))


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_a_challenger_just_at_its_margin_is_neither_promoted_nor_rolled_back(share):
    """Non-inferiority and harm are tests of the same margin: each errs in at most 5 %."""
    rng, runs, looks, margin = np.random.default_rng(701), 300, 60, 0.10
    n = 2_000
    one = rng.binomial(n, share, (runs, looks))
    x, y = rng.binomial(one, 0.05 * (1 + margin)), rng.binomial(n - one, 0.05)
    harm = event_alarms(x, y, [share] * looks, 1 + margin) < looks
    safe = event_alarms(y, x, [1 - share] * looks, 1 / (1 + margin)) < looks

    assert at_most(harm.mean(), ALPHA, runs)
    assert at_most(safe.mean(), ALPHA, runs)


def test_an_absolute_margin_errs_as_rarely():
    """5 % against 4 % denials at a margin of one point, ramped from 5 to 50 %, by sequences."""
    rng, runs, tuning = np.random.default_rng(702), 120, Tuning.expecting(60_000, 0.3)
    shares = [0.05] * 8 + [0.2] * 8 + [0.5] * 8
    promoted = rolled_back = 0
    for _ in range(runs):
        state, hits = MeanState(), [False, False]
        for share in shares:
            n = int(rng.binomial(2_500, share))
            cells = binary_moments(rng, n, 0.05), binary_moments(rng, 2_500 - n, 0.04)
            state = mean.fold(state, MeanBlock(*cells, share))
            found = contrast(state)
            if found is None or min(state.totals) < 50:
                continue
            radius = mean.one_sided_radius(found, ALPHA, tuning)
            hits[0] |= found.difference + radius < 0.01
            hits[1] |= found.difference - radius > 0.01
        promoted, rolled_back = promoted + hits[0], rolled_back + hits[1]

    assert at_most(promoted / runs, ALPHA, runs)
    assert at_most(rolled_back / runs, ALPHA, runs)
