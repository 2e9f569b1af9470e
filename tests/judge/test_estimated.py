"""Performance before labels come, beside what it turns out to be."""

import numpy as np
import pytest
from draws import at_most, shown

from pointsman.domain.evidence import SCORE_BINS, ScoreHistogram, score_bin
from pointsman.judge.estimated import estimate, meaning, realised


def drawn(rng, n, meant=lambda score: score):
    """Scores of n decisions, and labels that each is positive by what its score means."""
    scores = rng.beta(1.2, 2.5, n)
    return scores, rng.random(n) < meant(scores)


def labelled(scores, labels):
    found = ScoreHistogram()
    for score, label in zip(scores.tolist(), labels.tolist(), strict=True):
        found.observe(score, positive=label)
    return found


def counts(scores, threshold):
    found = np.zeros((2, SCORE_BINS), np.int64)
    for score in scores.tolist():
        found[int(score >= threshold), score_bin(score)] += 1
    return found


def confusion(scores, labels, threshold):
    said = scores >= threshold
    return tuple(
        int(((labels == truth) & (said == claim)).sum())
        for truth, claim in ((False, False), (False, True), (True, False), (True, True))
    )


@pytest.mark.parametrize("meant", [lambda s: s, lambda s: s**2], ids=["honest", "too sure"])
def test_the_estimate_is_what_labels_say_later(meant):
    """Accuracy, precision, recall and AUC of another sample, by what scores meant in an earlier
    one; the model need not be calibrated."""
    rng = np.random.default_rng(1)
    chances = meaning(labelled(*drawn(rng, 20_000, meant)))
    scores, labels = drawn(rng, 20_000, meant)

    before = estimate(counts(scores, 0.4), chances)
    after = realised(confusion(scores, labels, 0.4), labelled(scores, labels))

    for what in ("accuracy", "precision", "recall", "f1", "auc"):
        assert getattr(before, what) == pytest.approx(getattr(after, what), abs=0.02), what
    assert before.n == after.n == 20_000


def test_the_error_is_that_of_the_labels_of_these_decisions():
    """Known meaning, 300 decisions: two errors either way miss about one in twenty."""
    rng, runs = np.random.default_rng(2), 400
    chances = np.array([np.sin((i + 0.5) / SCORE_BINS * np.pi / 2) ** 2 for i in range(SCORE_BINS)])
    missed = dict.fromkeys(("accuracy", "precision", "recall"), 0)
    for _ in range(runs):
        scores, labels = drawn(rng, 300)
        told = estimate(counts(scores, 0.4), chances)
        truth = realised(confusion(scores, labels, 0.4), None)
        for what in missed:
            error = getattr(told, f"{what}_error")
            missed[what] += abs(getattr(told, what) - getattr(truth, what)) > 2 * error

    for what, count in missed.items():
        assert at_most(count / runs, 0.05, runs), what
        assert shown(what, count / runs) > 0.015


def test_labels_that_change_their_relation_to_scores_are_not_estimated():
    """Concept drift: the estimate stays, what is realised does not, and both are there to see."""
    rng = np.random.default_rng(3)
    chances = meaning(labelled(*drawn(rng, 5_000)))
    scores, labels = drawn(rng, 5_000, lambda score: 1 - score)

    before = estimate(counts(scores, 0.4), chances)
    after = realised(confusion(scores, labels, 0.4), None)

    assert before.accuracy > 0.6
    assert after.accuracy < 0.45


def test_too_few_labels_mean_nothing():
    rng = np.random.default_rng(4)

    assert meaning(labelled(*drawn(rng, 199))) is None
    assert meaning(labelled(rng.random(500), np.zeros(500, bool))) is None


def test_what_scores_mean_never_falls():
    rng = np.random.default_rng(5)
    chances = meaning(labelled(*drawn(rng, 400)))

    assert len(chances) == SCORE_BINS
    assert (np.diff(chances) >= -1e-12).all()
    assert 0.0 <= chances[0] <= chances[-1] <= 1.0


def test_nothing_decided_is_no_estimate():
    chances = np.full(SCORE_BINS, 0.5)

    assert estimate(np.zeros((2, SCORE_BINS), np.int64), chances) is None
    assert realised((0, 0, 0, 0), None) is None
    none_positive = estimate(counts(np.array([0.1, 0.2]), 0.5), chances)
    assert (none_positive.precision, none_positive.recall) == (None, 0.0)
