"""The test of all features together: what each feature alone cannot show, and no more than chance
where nothing moved."""

import numpy as np
import pytest

from pointsman.cli.together import told_apart


def people(rng, n, *, together=0.0, moved=0.0):
    """Two numbers that go together so much, and a country."""
    covariance = [[1.0, together], [together, 1.0]]
    pairs = rng.multivariate_normal([moved, 0.0], covariance, n)
    countries = rng.choice(["DE", "FR", "PL"], n)
    return [
        {"income": float(a), "debt": float(b), "country": str(c) if c != "PL" else None}
        for (a, b), c in zip(pairs, countries, strict=True)
    ]


def units(n, start=0):
    return [f"u-{at}" for at in range(start, start + n)]


def test_features_that_no_longer_go_together_are_told_apart():
    """Each has the same distribution as before: by itself none has drifted."""
    rng = np.random.default_rng(1)
    before, now = people(rng, 2_000), people(rng, 2_000, together=0.8)

    found = told_apart(before, now, units(4_000))

    assert found.auc > 0.6
    assert found.p_value < 0.001
    assert {name for name, _ in found.features[:2]} == {"income", "debt"}
    assert abs(found.features[2][1]) < 0.02


def test_nothing_that_moved_is_told_apart_no_more_often_than_declared():
    rng, runs = np.random.default_rng(2), 20
    p_values = [
        told_apart(people(rng, 150), people(rng, 150), units(300)).p_value for _ in range(runs)
    ]

    assert sum(p <= 0.1 for p in p_values) <= 0.1 * runs + 2 * np.sqrt(0.09 * runs)
    assert sum(p <= 0.5 for p in p_values) >= 0.3 * runs


def test_few_units_that_come_often_are_no_evidence():
    """60 people, half of whom happened to come in each stretch, with 20 requests each: by rows they
    could be told apart with certainty, for each looks like itself."""
    rng, runs = np.random.default_rng(3), 8
    p_values = []
    for _ in range(runs):
        crowd = [row for row in people(rng, 60) for _ in range(20)]
        who = [name for name in units(60) for _ in range(20)]
        p_values.append(told_apart(crowd[:600], crowd[600:], who).p_value)

    assert sum(p <= 0.1 for p in p_values) <= 3


def test_too_few_units_are_said():
    rng = np.random.default_rng(4)

    with pytest.raises(ValueError, match="at least 20 units"):
        told_apart(people(rng, 5), people(rng, 500), units(505))
