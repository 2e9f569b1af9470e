"""Paired answers: exact against enumeration, safe to peek at, silent on selective labels."""

import itertools
import math

import numpy as np
import pytest
from draws import at_most, shown
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.domain.evidence import FLIPS, PAIRED, Moments, Pair, Paired, member
from pointsman.judge import labels, pair_view, paired, progress
from pointsman.judge.assess import judge
from pointsman.judge.labels import ActionCoverage, Labels
from pointsman.judge.mean import Tuning
from pointsman.judge.paired import Gains
from pointsman.judge.progress import Block, PairTest
from pointsman.judge.verdict import (
    Code,
    Criteria,
    Criterion,
    Fail,
    Health,
    Inconclusive,
    NoData,
    Pass,
    Role,
    Worse,
)

RUNS, LOOKS = 2_000, 100


def gains(wins, losses, ties=0, low=-1.0, high=1.0):
    counts = {-1.0: losses, 0.0: ties, 1.0: wins}
    return Gains(tuple(counts), tuple(counts.values()), low, high, 0.8 * (wins + losses + ties))


def cell(counts, deny=(), labelled=lambda served: True):
    """A cell of (label, served, shadow) -> how many; `deny`: classes that are denied."""
    found = Paired(2)
    for (label, served, shadow), count in counts.items():
        move = 0.5 * (shadow - served)
        pair = Pair(2, served, shadow, served in deny, shadow in deny, move, abs(move))
        found.observe(pair, count)
        if labelled(served):
            found.label(pair, label, count)
    return found


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 50))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_at_no_margin_the_bet_is_mcnemars_beta_mixture(wins, losses, ties):
    """Quadrature and closed form agree, and pairs both answer alike teach nothing."""
    closed = float(paired.mcnemar_log_e(wins, losses))

    found = paired.log_e_above(gains(wins, losses, ties), 0.0)

    if wins + losses + ties and closed > -600:
        assert found == pytest.approx(closed, abs=1e-9)


@pytest.mark.parametrize(
    ("values", "chances", "low", "high"),
    [
        ((-1.0, 0.0, 1.0), (0.1, 0.8, 0.1), -1.0, 1.0),
        ((-1.0, 0.0, 1.0), (0.05, 0.8, 0.15), -1.0, 1.0),
        ((-10.0, -1.0, 0.0, 1.0), (0.02, 0.1, 0.6, 0.28), -10.0, 10.0),
    ],
)
def test_the_bet_is_fair_at_any_margin(values, chances, low, high):
    """Enumerated: where the mean gain is the margin, the expected e-value is 1, and where it is
    less, below 1."""
    n = 7
    mean = sum(v * c for v, c in zip(values, chances, strict=True))

    def expected(margin):
        total = 0.0
        for counts in itertools.product(range(n + 1), repeat=len(values)):
            if sum(counts) != n:
                continue
            ways = math.factorial(n) / math.prod(math.factorial(c) for c in counts)
            chance = ways * math.prod(p**c for p, c in zip(chances, counts, strict=True))
            found = paired.log_e_above(Gains(values, counts, low, high, 0.0), margin)
            total += chance * math.exp(found)
        return total

    assert expected(mean) == pytest.approx(1.0, abs=1e-9)
    assert expected(mean + 0.05) < 1.0


@given(st.integers(0, 80), st.integers(0, 80), st.integers(0, 2000))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_a_bound_is_where_the_e_value_reaches_its_threshold(wins, losses, ties):
    """Bounds and e-values never disagree, and the estimate lies between the bounds."""
    found = gains(wins, losses, ties)
    if not found.n:
        return
    low, high = paired.interval(found, 0.1)

    assert low <= found.mean <= high
    if low > -1.0 and low < found.mean - 1e-9:
        assert paired.log_e_above(found, low) == pytest.approx(math.log(20), abs=1e-3)
    if high < 1.0 and high > found.mean + 1e-9:
        assert paired.log_e_below(found, high) == pytest.approx(math.log(20), abs=1e-3)


def test_peeking_a_hundred_times_at_equal_models_is_safe_where_mcnemar_is_not():
    """A/A, 6 % disagreements, 100 looks: both sides at 5 % together; McNemar each time alarms."""
    rng = np.random.default_rng(31)
    disagreements = rng.binomial(250, 0.06, (RUNS, LOOKS))
    wins = rng.binomial(disagreements, 0.5).cumsum(axis=1)
    losses = disagreements.cumsum(axis=1) - wins

    log_e = np.maximum(paired.mcnemar_log_e(wins, losses), paired.mcnemar_log_e(losses, wins))
    alarmed = (log_e >= math.log(2 / 0.05)).any(axis=1).mean()
    naive = (np.abs(wins - losses) >= 1.96 * np.sqrt(wins + losses)).any(axis=1).mean()

    assert at_most(alarmed, 0.05, RUNS)
    assert shown("McNemar repeated", naive) > 0.25


def test_small_counts_are_exact_where_they_are_looked_at_one_by_one():
    """A disagreement at a time, one side: no burn-in is needed for the promise to hold."""
    rng = np.random.default_rng(32)
    wins = rng.integers(0, 2, (RUNS, 200)).cumsum(axis=1)
    losses = np.arange(1, 201) - wins

    alarmed = (paired.mcnemar_log_e(losses, wins) >= math.log(1 / 0.05)).any(axis=1).mean()

    assert at_most(alarmed, 0.05, RUNS)


def test_it_finds_a_worse_model_with_few_labels():
    """Error 8 % -> 10 %, 6 % disagreements: harm is shown by a median of 1,000 labels that risked
    nobody, where a split with as many labels in each arm could not show it even at one look."""
    rng = np.random.default_rng(33)
    disagreements = rng.binomial(60, 0.06, (RUNS, LOOKS))
    losses = rng.binomial(disagreements, 4 / 6).cumsum(axis=1)
    wins = disagreements.cumsum(axis=1) - losses

    crossed = paired.mcnemar_log_e(losses, wins) >= math.log(1 / 0.05)

    assert shown("power by 6,000 pairs", crossed.any(axis=1).mean()) >= 0.95
    at = np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, LOOKS + 1)
    median = shown("median pairs", 60 * float(np.median(at)))
    assert median <= 1_200
    split_error = math.sqrt(sum(p * (1 - p) / median for p in (0.10, 0.08)))
    assert shown("z of a split by then", 0.02 / split_error) < 1.96


def test_an_interval_covers_through_drift_and_looks():
    """Disagreements become three times as many on the way; the difference of accuracies stays."""
    rng, difference, runs = np.random.default_rng(34), -0.01, 150
    missed = 0
    for _ in range(runs):
        wins = losses = n = 0
        bad = False
        for look in range(10):
            rate = 0.03 * (1 + 2 * look / 9)
            chances = ((rate + difference) / 2, (rate - difference) / 2, 1 - rate)
            won, lost, _ = rng.multinomial(300, chances)
            wins, losses, n = wins + won, losses + lost, n + 300
            found = gains(int(wins), int(losses), int(n - wins - losses))
            # Each side at 10 %, through its e-value: that is what the bounds are made of.
            sides = paired.log_e_above(found, difference), paired.log_e_below(found, difference)
            bad = bad or max(sides) >= math.log(2 / 0.2)
        missed += bad
    assert at_most(missed / runs, 0.2, runs)


def test_costs_that_cancel_are_no_harm_though_errors_differ():
    """Few costly misses against many cheap alarms: accuracy falls, expected cost does not."""
    matrix = ((0.0, 1.0), (10.0, 0.0))
    counts = {(0, 0, 1): 200, (1, 0, 1): 20, (0, 0, 0): 9_000, (1, 1, 1): 780}
    pairs = cell(counts)

    costs = paired.gains(pairs, paired.cost(matrix))
    right = paired.gains(pairs, paired.accuracy(2))

    assert costs.mean == pytest.approx((200 * 1.0 - 20 * 10.0) / 10_000)
    assert right.mean == pytest.approx((20 - 200) / 10_000)
    assert paired.upper_bound(right, 0.05) < 0.0
    low, high = paired.interval(costs, 0.05)
    assert low < 0.0 < high


def test_recall_reads_the_pairs_of_its_label_alone():
    """And specificity those of the other."""
    pairs = cell({(1, 0, 1): 8, (1, 1, 1): 92, (0, 0, 1): 30, (0, 0, 0): 870})

    found = paired.gains(pairs, paired.recall(2, 1))

    assert (found.n, found.mean, found.level) == (100, pytest.approx(0.08), pytest.approx(0.92))
    assert paired.gains(pairs, paired.recall(2, 0)).mean == pytest.approx(-30 / 900)


@pytest.mark.parametrize("matrix", [((0.0, 1.0),), ((0.0, math.nan), (1.0, 0.0))])
def test_a_cost_matrix_that_is_none_is_refused(matrix):
    with pytest.raises(ValueError, match=r"row and a column|finite"):
        paired.cost(matrix)


def test_transposing_swaps_who_served():
    """Twice is nothing; the gain changes its sign."""
    pairs = cell({(1, 0, 1): 8, (0, 0, 1): 3, (1, 1, 0): 2, (0, 0, 0): 90}, deny=(1,))
    other = paired.transposed(pairs)

    assert paired.transposed(other) == pairs
    assert paired.gains(other, paired.accuracy(2)).mean == pytest.approx(
        -paired.gains(pairs, paired.accuracy(2)).mean
    )
    assert other.actions == [90, 2, 11, 0]


TEST = PairTest("challenger", "champion", paired.accuracy(2), may_deny=False)


def verdict(champion=None, challenger=None, *, may_deny=False, margin=0.01, relative=False):
    """What a rollout would hear of these pairs, by the variant that served."""
    key = ("accuracy", "")
    tests = {key: PairTest("challenger", "champion", paired.accuracy(2), may_deny=may_deny)}
    block = Block(
        0,
        1,
        0.5,
        {} if challenger is None else {(member(PAIRED, "champion"), ""): challenger},
        {} if champion is None else {(member(PAIRED, "challenger"), ""): champion},
    )
    folded = progress.fold(progress.Progress(), block, tests)
    folded = progress.decode(progress.encode(folded))
    item = Criterion(
        "accuracy", Role.GUARDRAIL, Worse.LOWER, margin, relative=relative, needs_labels=True
    )
    return judge(progress.evidence(folded, tests, Health()), Criteria((item,), Tuning(10_000.0)))


WORSE = {(0, 0, 1): 120, (1, 0, 1): 10, (0, 0, 0): 1_500, (1, 1, 1): 370}
ALIKE = {(0, 0, 1): 20, (1, 0, 1): 22, (0, 0, 0): 6_000, (1, 1, 1): 1_500}


@pytest.mark.parametrize("relative", [False, True])
def test_pairs_are_judged_as_any_evidence_is(relative):
    """Harm fails, what is within its margin passes, and too few disagreements are neither."""
    assert isinstance(verdict(cell(WORSE), relative=relative), Fail)
    assert isinstance(verdict(cell(ALIKE), relative=relative), Pass)
    few = verdict(cell({(0, 0, 1): 2, (0, 0, 0): 60}), relative=relative)
    assert isinstance(few, Inconclusive)
    assert few.reasons[0].code is Code.NOT_YET
    assert isinstance(verdict(), NoData)


def test_pairs_count_whichever_of_the_two_served():
    """Champion's scores on the challenger's units are the same evidence, seen from behind."""
    behind = paired.transposed(cell(WORSE))

    both = verdict(cell(WORSE), behind)

    assert isinstance(verdict(challenger=behind), Fail)
    assert isinstance(both, Fail)
    assert both.measures[0].n == (4_000, 4_000)


def test_claims_on_selective_labels_are_refused_in_words():
    """Denied loans are never labelled. However clear the numbers look, there are none."""
    seen = cell(WORSE, deny=(1,), labelled=lambda served: served == 0)

    found = verdict(seen, may_deny=True)

    assert isinstance(found, Inconclusive)
    assert found.reasons[0].code is Code.SELECTIVE_LABELS
    assert "SELECTIVE LABELS: outcomes are seen mostly for one action" in found.reasons[0].text
    measure = found.measures[0]
    assert (measure.estimate, measure.lower, measure.upper) == (None, None, None)
    assert (measure.harm_lower, measure.harm_upper, measure.champion) == (None, None, None)


def test_selective_labels_would_have_flattered_the_wrong_model():
    """Why they are refused: by what is seen the better model is shown to be worse."""
    truth = {(1, 1, 0): 5, (0, 1, 0): 300, (0, 0, 1): 60, (0, 0, 0): 3_000, (1, 1, 1): 600}
    seen = cell(truth, deny=(1,), labelled=lambda served: served == 0)

    assert paired.gains(cell(truth), paired.accuracy(2)).mean > 0.05
    assert paired.upper_bound(paired.gains(seen, paired.accuracy(2)), 0.05) < 0.0
    assert isinstance(verdict(seen, may_deny=True), Inconclusive)


@pytest.mark.parametrize(
    ("coverage", "may_deny", "expected"),
    [
        (ActionCoverage(5_000, 4_900, 0, 0), False, Labels.OPEN),
        (ActionCoverage(5_000, 4_900, 0, 0), True, Labels.UNPROVEN),
        (ActionCoverage(5_000, 4_900, 20, 20), True, Labels.UNPROVEN),
        (ActionCoverage(5_000, 4_900, 400, 390), True, Labels.OPEN),
        (ActionCoverage(5_000, 4_900, 400, 0), True, Labels.SELECTIVE),
        (ActionCoverage(5_000, 4_900, 400, 100), True, Labels.SELECTIVE),
        (ActionCoverage(5_000, 100, 400, 390), True, Labels.SELECTIVE),
        (ActionCoverage(5_000, 4_900, 400, 0), False, Labels.SELECTIVE),
    ],
)
def test_selection_goes_by_what_is_declared_and_by_what_is_seen(coverage, may_deny, expected):
    """Declared denial is suspected until labels are shown to arrive for both actions."""
    assert labels.selection(coverage, may_deny=may_deny).labels is expected


def test_labels_that_depend_on_nothing_are_rarely_called_selective():
    """Coverage of 60 % whatever the action, 50 looks: hardly ever refused for good."""
    rng, alarms, runs = np.random.default_rng(35), 0, 100
    for _ in range(runs):
        counts = np.array([
            np.full(50, 200), rng.binomial(200, 0.6, 50), np.full(50, 20), rng.binomial(20, 0.6, 50)
        ]).cumsum(axis=1)  # fmt: skip
        alarms += any(
            labels.selection(ActionCoverage(*map(int, row)), may_deny=True).labels
            is Labels.SELECTIVE
            for row in counts.T[::5]
        )
    assert at_most(alarms / runs, 0.05, runs)


def test_a_view_shows_who_flips_what_and_at_what_price():
    """The first thing a reviewer asks."""
    whole = cell({(0, 0, 1): 6, (1, 0, 1): 2, (1, 1, 0): 1, (0, 0, 0): 91}, deny=(1,))
    whole.failed = 3
    part = cell({(1, 0, 1): 2, (0, 0, 0): 2}, deny=(1,))
    costs = paired.cost(((0.0, 1.0), (10.0, 0.0)))

    found = pair_view.view({"": whole, "country=DE": part}, costs)

    assert found.matrix == ((91, 8), (1, 0))
    first, second = found.flips
    assert (first.served, first.shadow, first.count, first.labelled) == (0, 1, 8, 8)
    assert (first.served_right, first.shadow_right) == (6, 2)
    assert first.price == pytest.approx((6 * 1.0 - 2 * 10.0) / 8)
    assert second.price == pytest.approx(10.0)
    assert (found.newly_denied, found.newly_allowed, found.failed) == (8, 1, 3)
    assert found.agreement == pair_view.Agreement(100, 0.91, 0.91)
    assert found.slices == {"country=DE": pair_view.Agreement(4, 0.5, 0.5)}
    assert found.shift.mean == pytest.approx((8 * 0.5 - 0.5) / 100)
    assert found.distance == pytest.approx(0.045)


def test_a_view_of_nothing_has_no_numbers():
    """Never 0 % and never 100 %."""
    found = pair_view.view({"": Paired(2)})

    assert found.agreement == pair_view.Agreement(0, None, None)
    assert (found.shift, found.distance, found.flips) == (None, None, ())


def test_pairs_must_be_pairs():
    """A test that reads what is something else says so."""
    wrong = Block(0, 1, 0.5, {}, {(member(PAIRED, "challenger"), ""): Moments()})
    with pytest.raises(TypeError, match="the test reads Paired"):
        progress.fold(progress.Progress(), wrong, {("accuracy", ""): TEST})
    with pytest.raises(ValueError, match="of 3 classes, the pairs are of 2"):
        paired.gains(Paired(2), paired.accuracy(3))
    assert member(FLIPS, "night") == "flips/night"
