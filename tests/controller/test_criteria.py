"""From the file's metrics and bounds to what is tested, by which test, on which cells."""

import numpy as np
import pytest
import yaml
from tests.controller.rollout_world import FILE
from tests.judge.draws import moments

from pointsman.controller.criteria import tested as as_tested
from pointsman.controller.findings import judgement
from pointsman.judge import progress
from pointsman.judge.assess import judge
from pointsman.judge.progress import EventTest, MeanTest, RatioTest
from pointsman.judge.verdict import Evidence, Fail, Health, Role, Worse
from pointsman.spec.models import Project

METRICS = """
    errors: {kind: operational, event: error}
    slow: {kind: operational, event: "latency > 100ms"}
    denied: {kind: decision, event: denied}
    recall: {kind: classifier, of: recall}
    auc: {kind: classifier, of: auc}
    loss: {kind: classifier, of: log_loss}
"""


def criteria(*bounds, slices=(), signals=()):
    """As declared with these guardrails."""
    document = yaml.safe_load(FILE)
    document["spec"]["outcomes"] = {"label": {"horizon": "1h"}}
    document["spec"]["metrics"] = yaml.safe_load(METRICS)
    document["spec"]["rollout"] |= {"guardrails": list(bounds), "signals": list(signals)}
    spec = Project.model_validate(document).spec
    return as_tested(spec, spec.rollout, slices)


@pytest.mark.parametrize(
    ("bound", "test", "cell"),
    [
        ({"metric": "errors", "relative": 0.1}, EventTest, "first/error"),
        ({"metric": "errors", "absolute": 0.1}, MeanTest, "first/error"),
        ({"metric": "slow", "relative": 0.1}, EventTest, "first/slow/100000"),
        ({"metric": "denied", "atMost": 0.1}, MeanTest, "first/denied"),
        ({"metric": "recall", "atLeast": -0.1}, RatioTest, "confusion"),
        ({"metric": "auc", "absolute": 0.1}, RatioTest, "score"),
        ({"metric": "loss", "relative": 0.1}, MeanTest, "log_loss"),
    ],
)
def test_each_metric_has_its_test_and_its_cells(bound, test, cell):
    """As the table in `criteria` says."""
    found = criteria(bound)

    assert isinstance(found.tests[bound["metric"], ""], test)
    assert found.cells == {bound["metric"]: cell}


def test_one_metric_with_both_kinds_of_bounds_is_tested_both_ways():
    """Events know no rates, and a mean has no exact relative bound: each bound has its own test."""
    found = criteria(
        {"metric": "errors", "relative": 0.1}, signals=[{"metric": "errors", "absolute": 0.1}]
    )

    assert found.tests == {("errors", ""): MeanTest(binary=True, first_exposures=True, events=True)}
    assert [item.role for item in found.criteria.items] == [Role.GUARDRAIL, Role.SIGNAL]


def denials(challenger, champion):
    """What (denied, all) of each arm say at a share of a tenth, as the verdict on it."""

    def of(bounds, signals=()):
        wanted = criteria(*bounds, signals=signals)
        arms = [
            {("denied", ""): moments((np.arange(n) < denied).astype(float))}
            for denied, n in (challenger, champion)
        ]
        known = progress.fold(progress.Progress(), progress.Block(1, 1, 0.1, *arms), wanted.tests)
        found = progress.evidence(known, wanted.tests, Health(), [1])
        return wanted, judge(found, wanted.criteria)

    return of


RELATIVE, ABSOLUTE = {"metric": "denied", "relative": 0.5}, {"metric": "denied", "absolute": 0.05}


@pytest.mark.parametrize("challenger", [(20_000, 20_000), (500, 500), (20, 60), (0, 20_000)])
def test_a_signal_on_the_same_metric_takes_nothing_from_a_guardrail(challenger):
    """With it, the guardrail's bounds are to the last bit what they are without."""
    n = 9 * challenger[1]
    seen = denials(challenger, (0.04 * n, n))
    (_, alone), (_, both) = seen([RELATIVE]), seen([RELATIVE], [ABSOLUTE])
    (_, signal) = seen([ABSOLUTE])

    assert alone.measures[0] == both.measures[0]
    assert isinstance(both, Fail) is isinstance(alone, Fail) is (challenger[0] > 0)
    assert (both.measures[1].lower, both.measures[1].harm_lower) == (
        signal.measures[0].lower,
        signal.measures[0].harm_lower,
    )


def test_a_reason_is_told_of_the_bound_it_is_about():
    """A metric with a guardrail and a signal: the broken signal does not stand as the guardrail."""
    wanted, found = denials((60, 600), (240, 6_000))(
        [{"metric": "denied", "relative": 9.0}], [{"metric": "denied", "absolute": 0.01}]
    )
    told = judgement(found, wanted.cells.keys())

    assert told.holds
    assert [(one.role.value, one.bound) for one in told.findings] == [("signal", 0.01)]


@pytest.mark.parametrize(
    ("bound", "worse", "margin"),
    [
        ({"metric": "denied", "absolute": 0.1}, Worse.HIGHER, 0.1),
        ({"metric": "loss", "absolute": 0.1}, Worse.HIGHER, 0.1),
        ({"metric": "recall", "absolute": 0.1}, Worse.LOWER, 0.1),
        ({"metric": "denied", "atLeast": -0.2}, Worse.LOWER, 0.2),
        ({"metric": "recall", "atMost": 0.3}, Worse.HIGHER, 0.3),
    ],
)
def test_the_side_is_the_metrics_own_unless_the_bound_names_it(bound, worse, margin):
    """Margins are never negative: they say how much harm is tolerated."""
    (item,) = criteria(bound).criteria.items

    assert (item.worse, item.margin) == (worse, margin)


def test_slices_that_come_later_take_nothing_from_those_before():
    """Each has its part of alpha by its place, and all parts add up to at most alpha."""
    bound = {"metric": "denied", "absolute": 0.1, "slices": ["country"]}
    names = [f"country={number}" for number in range(30)]

    def alphas(known):
        found = criteria(bound, {"metric": "errors", "absolute": 0.1}, slices=known)
        measures = judge(Evidence({}), found.criteria).measures
        return {m.criterion.key: m.harm_alpha for m in measures}

    few, many = alphas(names[:2]), alphas(names)

    assert many.items() >= few.items()
    assert few["errors", ""] == pytest.approx(0.025)
    assert few["denied", ""] == pytest.approx(0.0125)
    assert sum(many.values()) <= 0.05


def test_slices_of_other_attributes_are_not_judged():
    """Only those a bound asks for."""
    bound = {"metric": "denied", "absolute": 0.1, "slices": ["country"]}
    found = criteria(bound, slices=["country=DE", "account=u-1"])

    assert set(found.tests) == {("denied", ""), ("denied", "country=DE")}
