"""Classifier metrics compared between arms: point values, variance, units, ramps and mirrors."""

import numpy as np
import pytest
from draws import at_most
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.domain.evidence import BUCKETS, Confusion, ScoreHistogram, merge
from pointsman.judge import ratio
from pointsman.judge.classifier import Labelled, classifier_metric
from pointsman.judge.mean import Tuning, two_sided_radius
from pointsman.judge.ratio import RatioBlock, contrast

TUNING = Tuning(n_star=20_000)
RATES = {
    "accuracy": ratio.accuracy(2),
    "recall": ratio.recall(2, 1),
    "precision": ratio.precision(2, 1),
    "specificity": ratio.specificity(2, 1),
    "f1": ratio.f1(2, 1),
    "balanced_accuracy": ratio.balanced_accuracy(2),
}


def confusion(rng, n, positive=0.3, hit=0.8, false=0.1):
    """The cell of n labelled decisions of n units."""
    labels = rng.random(n) < positive
    predicted = rng.random(n) < np.where(labels, hit, false)
    cell = Confusion.empty(2)
    codes = labels * 2 + predicted
    cell.counts = np.bincount(codes, minlength=4).tolist()
    by = np.bincount(rng.integers(0, BUCKETS, n) * 4 + codes, minlength=4 * BUCKETS)
    cell.by_bucket = {i: int(c) for i, c in enumerate(by) if c}
    return cell


def scores(rng, n, positive=0.3, lift=1.0):
    """The cell of n labelled scores; a larger lift separates the labels better."""
    cell = ScoreHistogram()
    labels = rng.random(n) < positive
    logits = rng.normal(np.where(labels, lift, 0.0), 1.0)
    for unit, (label, score) in enumerate(zip(labels, 1 / (1 + np.exp(-logits)), strict=True)):
        cell.observe(float(score), positive=bool(label), unit_hash=unit)
    return cell


def block(rng, n=4_000, share=0.5, **better):
    one, two = round(n * share), round(n * (1 - share))
    return RatioBlock(confusion(rng, one, **better), confusion(rng, two), share)


@pytest.mark.parametrize("name", list(RATES))
def test_each_arms_value_is_the_metric_that_status_shows(name):
    """One metric, one number, wherever it is looked at."""
    rng = np.random.default_rng(1)
    cells = block(rng, hit=0.7)
    found = contrast([cells], RATES[name])

    for value, cell in ((found.challenger, cells.challenger), (found.champion, cells.champion)):
        shown = classifier_metric(name, Labelled(confusion=cell, positive=1))
        assert value == pytest.approx(shown.value, rel=1e-12)
    assert found.difference == pytest.approx(found.challenger - found.champion)


def test_auc_is_the_one_that_status_shows():
    """From the same histogram, ties within a bin counting half."""
    rng = np.random.default_rng(2)
    cells = RatioBlock(scores(rng, 3_000, lift=1.5), scores(rng, 3_000), 0.5)
    found = contrast([cells], ratio.auc())

    shown = classifier_metric("auc", Labelled(scores=cells.challenger))
    assert found.challenger == pytest.approx(shown.value, rel=1e-12)
    assert found.difference > 0.1


def test_expected_cost_is_the_mean_of_the_matrix():
    """A miss costs 10, a false alarm 1."""
    rng = np.random.default_rng(3)
    cells = block(rng)
    found = contrast([cells], ratio.expected_cost([[0, 1], [10, 0]]))
    tn, fp, fn, tp = cells.champion.counts

    assert found.champion == pytest.approx((fp + 10 * fn) / (tn + fp + fn + tp))


@pytest.mark.parametrize("name", list(RATES))
def test_the_jackknife_error_is_the_spread_over_repetitions(name):
    """The slow twin: draw 300 experiments and look at how far their differences lie apart."""
    rng = np.random.default_rng(4)
    found = [contrast([block(rng, n=4_000, share=0.3)], RATES[name]) for _ in range(300)]

    spread = np.std([f.difference for f in found])
    typical = np.sqrt(np.mean([f.error**2 for f in found]))
    assert typical == pytest.approx(spread, rel=0.15)


def test_calibration_error_is_nought_for_calibrated_scores_and_not_for_others():
    """Labels drawn from the scores themselves, and from their squares."""
    rng = np.random.default_rng(5)
    values = rng.random((2, 20_000))
    good, bad = ScoreHistogram(), ScoreHistogram()
    for unit, (score, chance) in enumerate(values.T):
        good.observe(score, positive=bool(chance < score), unit_hash=unit)
        bad.observe(score, positive=bool(chance < score**2), unit_hash=unit)
    found = contrast([RatioBlock(bad, good, 0.5)], ratio.calibration_error())

    assert found.champion == pytest.approx(0.0, abs=5e-4)
    assert found.challenger == pytest.approx(1 / 30, abs=3e-3)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.1, 0.5]))
def test_merging_and_mirroring(seed, share):
    """Cells add up to one block, and swapped arms swap the sign."""
    rng = np.random.default_rng(seed)
    first, second = block(rng, share=share), block(rng, share=share)
    both = RatioBlock(
        merge(first.challenger, second.challenger), merge(first.champion, second.champion), share
    )
    turned = RatioBlock(both.champion, both.challenger, 1 - share)
    found, apart, other = (
        contrast(blocks, RATES["f1"]) for blocks in ([both], [first, second], [turned])
    )

    assert apart.difference == pytest.approx(found.difference, abs=1e-12)
    assert apart.error == pytest.approx(found.error)
    assert other.difference == pytest.approx(-found.difference, abs=1e-12)
    assert other.error == pytest.approx(found.error)


def test_a_ramp_over_changing_days_is_not_a_difference():
    """Hard days get a small share, easy days a large one: pooled counts see a better model."""
    rng = np.random.default_rng(6)
    days = [(0.05, 0.55), (0.5, 0.95)]
    blocks = []
    for share, hit in days:
        one, two = round(8_000 * share), round(8_000 * (1 - share))
        blocks.append(RatioBlock(confusion(rng, one, hit=hit), confusion(rng, two, hit=hit), share))
    found = contrast(blocks, RATES["recall"])
    pooled = [
        classifier_metric("recall", Labelled(confusion=merge(*cells), positive=1)).value
        for cells in zip(*((b.challenger, b.champion) for b in blocks), strict=True)
    ]

    assert pooled[0] - pooled[1] > 0.1
    assert abs(found.difference) < two_sided_radius(found, 0.05, TUNING)
    assert abs(found.difference) < 0.04


@pytest.mark.parametrize(
    ("name", "runs", "looks", "n"),
    [("recall", 120, 30, 200), ("precision", 120, 30, 200), ("auc", 60, 8, 500)],
)
def test_looking_after_every_block_keeps_the_error(name, runs, looks, n):
    """Two equal models: a z-test at each look alarms several times as often as it claims."""
    rng, ours, naive = np.random.default_rng(7), 0, 0
    statistic = ratio.auc() if name == "auc" else RATES[name]
    for _ in range(runs):
        total, alarmed, alarmed_naive = None, False, False
        for _ in range(looks):
            if name == "auc":
                fresh = RatioBlock(fast_scores(rng, n), fast_scores(rng, n), 0.5)
            else:
                fresh = RatioBlock(confusion(rng, n), confusion(rng, n), 0.5)
            total = (
                fresh
                if total is None
                else RatioBlock(
                    merge(total.challenger, fresh.challenger),
                    merge(total.champion, fresh.champion),
                    0.5,
                )
            )
            found = contrast([total], statistic)
            if found is None:
                continue
            alarmed |= abs(found.difference) > two_sided_radius(found, 0.05, TUNING)
            alarmed_naive |= abs(found.difference / found.error) > 1.96
        ours, naive = ours + alarmed, naive + alarmed_naive

    assert at_most(ours / runs, 0.05, runs)
    assert naive / runs > 0.1


def fast_scores(rng, n):
    """As `scores` without an effect, but drawn into the bins at once."""
    labels = (rng.random(n) < 0.3).astype(int)
    bins = np.clip((rng.normal(np.where(labels, 140, 120), 20)).astype(int), 0, 255)
    codes = labels * 256 + bins
    by = np.bincount(rng.integers(0, BUCKETS, n) * 512 + codes, minlength=512 * BUCKETS)
    used = np.flatnonzero(by)
    return ScoreHistogram(
        np.bincount(codes, minlength=512).tolist(),
        by_bucket=dict(zip(used.tolist(), by[used].tolist(), strict=True)),
    )


def test_too_little_is_no_answer():
    """Few labels, labels of one kind, counts without units: nothing to judge by."""
    rng = np.random.default_rng(8)
    few = block(rng, n=60)
    perfect = block(rng, hit=1.0, false=0.0)
    unnamed = RatioBlock(
        Confusion(2, perfect.champion.counts), Confusion(2, perfect.champion.counts), 0.5
    )

    assert contrast([], RATES["recall"]) is None
    assert contrast([few], RATES["recall"]) is None
    assert contrast([perfect], RATES["recall"]) is None
    assert contrast([unnamed], RATES["accuracy"]) is None
