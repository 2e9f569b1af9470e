"""Power and duration: equal to simulation, and on the long side."""

import math

import numpy as np
import pytest

from pointsman.judge.event import log_e_above_many
from pointsman.judge.mean import Tuning
from pointsman.judge.mixture import critical_one_sided
from pointsman.judge.power import (
    EventPlan,
    MeanPlan,
    decisions_needed,
    event_power,
    forecast,
    mean_power,
)

DOUBLED = EventPlan(rate=0.005, risk=2.0, bound=1.0, share=0.5)
COST = MeanPlan(distance=0.05, deviation=1.0, share=0.2, tuning=Tuning(n_star=10_000))


@pytest.mark.parametrize(
    "plan",
    [
        DOUBLED,
        EventPlan(rate=0.02, risk=3.0, bound=1.1, share=0.02),
        EventPlan(rate=0.05, risk=0.9, bound=1.4, share=0.3),
    ],
)
def test_the_power_of_an_event_test_is_that_of_simulated_counts(plan):
    """The slow twin: 4,000 draws of both counts at one look."""
    rng, n = np.random.default_rng(1), 8_000
    x = rng.poisson(n * plan.share * plan.rate * plan.risk, 4_000)
    y = rng.poisson(n * (1 - plan.share) * plan.rate, 4_000)
    if plan.risk > plan.bound:
        e = log_e_above_many(x[:, None], y[:, None], [plan.share], plan.bound)
    else:
        e = log_e_above_many(y[:, None], x[:, None], [1 - plan.share], 1 / plan.bound)

    simulated = (e >= math.log(1 / plan.alpha)).mean()
    assert event_power(plan, n) == pytest.approx(simulated, abs=0.025)


def test_the_plan_is_on_the_long_side_of_what_a_sequential_run_takes():
    """Target 4's runs: half have decided before the forecast median, and not long before."""
    rng = np.random.default_rng(2)
    x, y = (rng.binomial(100, p, (400, 100)).cumsum(axis=1) for p in (0.01, 0.005))
    e = log_e_above_many(x.reshape(-1, 1), y.reshape(-1, 1), [0.5], 1.0).reshape(400, 100)
    crossed = e >= math.log(20)
    first = 200 * (np.where(crossed.any(axis=1), crossed.argmax(axis=1), 99) + 1)

    planned = decisions_needed(lambda n: event_power(DOUBLED, n), 0.5)
    assert np.median(first) <= planned <= 1.5 * np.median(first)


def test_the_power_of_a_mean_test_is_that_of_simulated_differences():
    """The slow twin: the bound and the standard error at n, and 100,000 normal draws."""
    rng, n = np.random.default_rng(3), 30_000
    error = COST.deviation / math.sqrt(n * 0.2 * 0.8)
    z = rng.normal(COST.distance, error, 100_000) / error

    simulated = (z > critical_one_sided(COST.tuning.k(4 * n * 0.16), COST.alpha)).mean()
    assert mean_power(COST, n) == pytest.approx(simulated, abs=0.005)


def test_decisions_needed_is_the_turning_point():
    """One decision less than needed would not do."""
    n = decisions_needed(lambda n: mean_power(COST, n), 0.8)

    assert mean_power(COST, n) >= 0.8 > mean_power(COST, 0.998 * n)


def test_a_forecast_tells_days():
    """At 5,000 decisions a day."""
    found = forecast(lambda n: mean_power(COST, n), 5_000)

    assert found.median < found.likely
    assert found.likely_days == pytest.approx(found.likely / 5_000)


def test_nothing_to_find_is_never_found():
    """No distance, no forecast."""
    still = MeanPlan(0.0, 1.0, 0.5, Tuning(n_star=1_000))

    assert decisions_needed(lambda n: mean_power(still, n), 0.8) is None
    assert forecast(lambda n: mean_power(still, n), 100) is None
    with pytest.raises(ValueError, match="equal to the bound"):
        event_power(EventPlan(rate=0.1, risk=1.0, bound=1.0, share=0.5), 100)
