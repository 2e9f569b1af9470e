"""Classifier metrics from cells, against their textbook definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.domain.evidence import Confusion, Moments, ScoreHistogram
from pointsman.judge.classifier import (
    Labelled,
    accuracy,
    auc,
    balanced_accuracy,
    brier,
    classifier_metric,
    f1,
    log_loss,
    precision,
    recall,
    specificity,
)
from pointsman.judge.figure import Figure, Interval, NoData
from pointsman.judge.sequential import proportion

# rows: label; columns: predicted. 50 legit of which 10 called fraud, 20 fraud of which 15 found.
TWO = Confusion(2, [40, 10, 5, 15])
THREE = Confusion(3, [5, 1, 0, 2, 6, 2, 0, 0, 4])
OF = (
    "accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "specificity",
    "f1",
    "auc",
    "log_loss",
    "brier",
)


def histogram(pairs):
    """Scores and labels, observed."""
    made = ScoreHistogram()
    for score, positive in pairs:
        made.observe(score, positive=positive)
    return made


@pytest.mark.parametrize(
    ("found", "events", "n"),
    [
        (accuracy(TWO), 55, 70),
        (recall(TWO, 1), 15, 20),
        (precision(TWO, 1), 15, 25),
        (specificity(TWO, 1), 40, 50),
        (accuracy(THREE), 15, 20),
        (recall(THREE, 1), 6, 10),
        (precision(THREE, 2), 4, 6),
        (specificity(THREE, 0), 12, 14),
    ],
)
def test_rates_are_proportions(found, events, n):
    """Each rate is a share of some labelled decisions, with that share's exact interval."""
    assert found == proportion(events, n)


def test_f1_is_the_harmonic_mean():
    """F1 from J is 2PR / (P + R), and its bounds enclose it."""
    p, r = precision(TWO, 1).value, recall(TWO, 1).value
    found = f1(TWO, 1)

    assert found.value == pytest.approx(2 * p * r / (p + r))
    assert 0 < found.interval.low < found.value < found.interval.high < 1


def test_balanced_accuracy_is_the_mean_recall():
    """Each class counts the same, however rare it is."""
    found = balanced_accuracy(THREE)

    assert found.value == pytest.approx(sum(recall(THREE, label).value for label in range(3)) / 3)
    assert found.interval.low < found.value < found.interval.high
    assert found.interval.alpha == 0.05


def test_f1_holds_at_every_look():
    """Of many runs, each looked at often, at most alpha ever miss the true F1."""
    runs, random = 150, np.random.default_rng(23)
    shares = np.array([0.6, 0.1, 0.1, 0.2])
    truth = 2 * 0.2 / (2 * 0.2 + 0.1 + 0.1)
    missed = 0
    for _ in range(runs):
        cells = random.choice(4, 3000, p=shares)
        looks = [
            Confusion(2, np.bincount(cells[:n], minlength=4).tolist())
            for n in (30, 100, 300, 1000, 3000)
        ]
        intervals = [f1(look, 1).interval for look in looks if sum(look.counts[1:])]
        missed += any(not i.low <= truth <= i.high for i in intervals)

    assert missed / runs <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)


scored = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@given(scored)
def test_brier_and_log_loss_are_exact(pairs):
    """The sums beside the counts make both exact, whatever the width of bins."""
    made = histogram(pairs)
    squares = [(score - positive) ** 2 for score, positive in pairs]
    losses = [
        -math.log(max(score if positive else 1 - score, 2.0**-53)) for score, positive in pairs
    ]

    assert brier(made).value == pytest.approx(sum(squares) / len(pairs), abs=1e-12)
    assert log_loss(made).value == pytest.approx(sum(losses) / len(pairs), abs=1e-12)
    assert isinstance(brier(made).interval, NoData)


def slow_auc(pairs):
    """The twin: every pair of a positive and a negative."""
    positives = [score for score, positive in pairs if positive]
    negatives = [score for score, positive in pairs if not positive]
    wins = sum((p > n) + (p == n) / 2 for p in positives for n in negatives)
    return wins / (len(positives) * len(negatives))


@given(scored.filter(lambda pairs: len({positive for _, positive in pairs}) == 2))
def test_auc_is_the_share_of_pairs_in_order(pairs):
    """Up to pairs that share a bin, the area is that of all pairs."""
    made = histogram(pairs)
    positives, negatives = made.counts[256:], made.counts[:256]
    tied = sum(p * q for p, q in zip(positives, negatives, strict=True))

    error = tied / 2 / (sum(positives) * sum(negatives))
    assert abs(auc(made).value - slow_auc(pairs)) <= error + 1e-12


def test_auc_turns_around_with_the_labels():
    """Negating the data mirrors the area: no rank is off by one."""
    random = np.random.default_rng(24)
    pairs = [(s, bool(random.random() < s)) for s in random.random(500).tolist()]
    turned = [(1 - s, not positive) for s, positive in pairs]
    flipped = [(s, not positive) for s, positive in pairs]

    assert auc(histogram(turned)).value == pytest.approx(auc(histogram(pairs)).value, abs=5e-3)
    assert auc(histogram(flipped)).value == pytest.approx(1 - auc(histogram(pairs)).value)


def test_auc_holds_at_every_look():
    """Scores of a known separation: at most alpha of the runs ever miss the true area."""
    runs, random = 100, np.random.default_rng(25)
    truth = 0.5 * (1 + math.erf(1.0 / 2))  # normal scores one deviation apart
    missed = 0
    for _ in range(runs):
        labels = random.random(3000) < 0.3
        scores = 1 / (1 + np.exp(-(random.normal(size=3000) + labels)))
        made, start, wrong = ScoreHistogram(), 0, False
        for look in (250, 500, 1000, 2000, 3000):
            for score, positive in zip(
                scores[start:look].tolist(), labels[start:look].tolist(), strict=True
            ):
                made.observe(score, positive=positive)
            start = look
            interval = auc(made).interval
            wrong = wrong or not interval.low <= truth <= interval.high
        missed += wrong

    assert missed / runs <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)


def test_auc_says_why_it_has_no_interval():
    """One kind of label gives nothing; few labels, or perfect separation, give a value only."""
    few = histogram([(0.2, False), (0.4, True), (0.3, True)])
    perfect = histogram([(0.1, False), (0.9, True)] * 60)

    assert auc(histogram([(0.2, True)])) == NoData("it takes labels of both kinds", 1)
    assert (auc(few).value, type(auc(few).interval)) == (1.0, NoData)
    assert auc(perfect).interval == NoData("the scores separate the labels without a miss", 120)


def everything():
    """Evidence for every metric."""
    random = np.random.default_rng(26)
    moments = Moments()
    for unit in range(500):
        moments.observe(unit, float(random.random()))
    pairs = [(s, bool(random.random() < s)) for s in random.random(500).tolist()]
    return Labelled(TWO, histogram(pairs), moments, moments, positive=1)


@pytest.mark.parametrize("of", OF)
def test_every_metric_of_the_spec_has_an_answer(of):
    """By name: a figure with an interval where there is evidence, a reason where there is none."""
    found = classifier_metric(of, everything())

    assert isinstance(found, Figure)
    assert isinstance(found.interval, Interval)
    assert classifier_metric(of, Labelled(positive=1)) == NoData(
        "there are no labelled decisions yet"
    )


def test_the_brier_score_of_two_classes_is_that_of_the_positive_one():
    """Cells hold the sum over all classes, which for two is twice the usual score."""
    rich, few = Moments(), Moments()
    for unit in range(500):
        rich.observe(unit, unit % 7 / 4)
    few.observe(1, 0.5)
    two = classifier_metric("brier", Labelled(TWO, brier=rich))
    three = classifier_metric("brier", Labelled(THREE, brier=rich))

    assert two.value == three.value / 2
    assert (two.interval.low, two.interval.high) == (
        three.interval.low / 2,
        three.interval.high / 2,
    )
    assert classifier_metric("brier", Labelled(TWO, brier=few)).value == 0.25
    assert isinstance(classifier_metric("brier", Labelled(TWO, brier=Moments())), NoData)


@pytest.mark.parametrize("of", ["precision", "recall", "specificity", "f1"])
def test_without_a_positive_class_there_is_no_such_rate(of):
    """A metric of the positive class says that the project declares none."""
    found = classifier_metric(of, Labelled(THREE))

    assert found == NoData("the project declares no positive class", 20)


@pytest.mark.parametrize(
    "found",
    [
        accuracy(Confusion.empty(2)),
        recall(Confusion(2, [3, 0, 0, 0]), 1),
        precision(Confusion(2, [3, 0, 2, 0]), 1),
        specificity(Confusion(2, [0, 0, 1, 2]), 1),
        f1(Confusion(2, [3, 0, 0, 0]), 1),
        balanced_accuracy(Confusion(2, [3, 0, 0, 0])),
        brier(ScoreHistogram()),
        log_loss(ScoreHistogram()),
    ],
)
def test_nothing_to_divide_by_is_no_data(found):
    """What has no observations is NoData with a reason, never 0 or 1."""
    assert isinstance(found, NoData)
    assert found.reason


def test_an_unknown_metric_is_an_error():
    """The spec's names are the only ones."""
    with pytest.raises(ValueError, match="no classifier metric"):
        classifier_metric("precison", everything())
