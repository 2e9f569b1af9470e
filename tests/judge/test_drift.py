"""Drift of inputs: distances in bins that stay, and alarms that are few where nothing drifts."""

import math

import numpy as np
import pytest
from draws import at_most, shown
from scipy import stats

from pointsman.judge import units
from pointsman.judge.drift import discoveries, distance, judged
from pointsman.judge.profile import Column, counted, parted, profiled

KINDS = {"age": "number", "country": "category"}
COUNTRIES = ["DE", "FR", "PL", "MT"]
SHARES = [0.6, 0.3, 0.0985, 0.0015]


def people(rng, n, *, older=0.0, missing=0.0):
    countries = rng.choice(COUNTRIES, n, p=SHARES)
    ages = rng.normal(40 + older, 12, n)
    gone = rng.random(n) < missing
    return [
        {"age": None if no else float(age), "country": str(country)}
        for age, country, no in zip(ages, countries, gone, strict=True)
    ]


@pytest.fixture(scope="module")
def columns():
    return profiled(people(np.random.default_rng(1), 5_000), KINDS)


def between(columns, rows, name="age"):
    found = parted(columns, counted(columns, rows))[name]
    (column,) = (one for one in columns if one.name == name)
    return distance(column, found, effective=(5_000.0, float(len(rows))))


def test_bins_are_cut_from_the_reference_and_each_row_falls_into_one(columns):
    age, country = columns

    assert len(age.edges) == 9
    assert max(age.counts[:-1]) - min(age.counts[:-1]) <= 1
    assert (age.counts[-1], country.values) == (0, ("DE", "FR", "PL", "MT"))
    odd = [{"age": "forty", "country": "Atlantis"}, {"country": None}, {"age": 1e300}]
    seen = parted(columns, counted(columns, odd))
    assert seen["age"].tolist() == [0] * 9 + [1, 2]
    assert seen["country"].tolist() == [0, 0, 0, 0, 1, 2]
    assert len(age.labels) == len(age.counts)
    assert country.labels[-2:] == ("other", "missing")


def test_a_number_with_few_values_has_a_bin_for_each():
    (flag,) = profiled([{"x": value} for value in [0, 0, 0, 1, True, 2]], {"x": "number"})

    assert (flag.edges, flag.counts) == ((0.0, 1.0), (3, 2, 1, 0))


def test_nothing_to_cut_bins_from_is_no_error():
    (empty,) = profiled([{"x": None}, {"x": math.nan}], {"x": "number"})

    assert (empty.edges, empty.counts) == ((), (0, 2))
    assert counted([empty], [{"x": 3.0}, {}]).tolist() == [1, 1]


def test_distances_are_those_of_the_textbooks(columns):
    """Of two normal laws half a deviation apart: Kolmogorov and Wasserstein up to the bins'
    width, the index as its sum over the bins says."""
    far = between(columns, people(np.random.default_rng(2), 50_000, older=6.0))
    edges = np.array(columns[0].edges)
    p = np.diff(stats.norm.cdf(edges, 46, 12), prepend=0, append=1)
    q = np.diff(stats.norm.cdf(edges, 40, 12), prepend=0, append=1)

    assert far.psi == pytest.approx(((p - q) * np.log(p / q)).sum(), rel=0.1)
    assert far.kolmogorov == pytest.approx(2 * stats.norm.cdf(0.25) - 1, abs=0.03)
    assert far.wasserstein == pytest.approx(0.5, abs=0.1)
    assert far.jensen_shannon == pytest.approx(_jensen_shannon(p, q), rel=0.1)
    assert far.p_value < 1e-12


def _jensen_shannon(p, q):
    middle = (p + q) / 2
    return math.sqrt(sum(stats.entropy(x, middle, base=2) for x in (p, q)) / 2)


def test_without_drift_the_index_is_chance_and_the_limit_knows(columns):
    """At 100 rows a fixed limit of 0.1 is passed by a third of the samples; ours by one in a
    thousand. p-values are uniform, with rare categories and few rows too."""
    rng, runs = np.random.default_rng(3), 1_500
    found = [
        (between(columns, rows, "age"), between(columns, rows, "country"))
        for rows in (people(rng, 100) for _ in range(runs))
    ]

    fixed = np.mean([age.psi > 0.1 for age, _ in found])
    assert shown("over 0.1 at 100 rows", fixed) > 0.3
    assert at_most(np.mean([age.psi > age.limit for age, _ in found]), 0.001, runs)
    for which in (0, 1):
        for level in (0.01, 0.1):
            share = np.mean([pair[which].p_value <= level for pair in found])
            assert at_most(share, level, runs)
    assert shown("p up to 0.1", np.mean([age.p_value <= 0.1 for age, _ in found])) > 0.06


def test_a_unit_that_comes_back_is_no_more_than_a_unit(columns):
    """20 requests of each: by rows nearly every sample drifts, by what they are worth none."""
    rng, runs = np.random.default_rng(4), 150
    naive, known = 0, 0
    for _ in range(runs):
        crowd = [row for row in people(rng, 100) for _ in range(20)]
        sketch = units.sketched(np.repeat(rng.integers(0, 1 << 64, 100, np.uint64), 20))
        worth = units.effective(len(crowd), sketch)
        assert 70 < worth < 140
        counts = parted(columns, counted(columns, crowd))["age"]
        naive += distance(columns[0], counts, effective=(5_000.0, 2_000.0)).p_value < 0.01
        known += distance(columns[0], counts, effective=(5_000.0, worth)).p_value < 0.01

    assert shown("by rows", naive / runs) > 0.5
    assert at_most(known / runs, 0.02, runs)


def test_the_sketch_of_units_adds_up():
    hashes = np.random.default_rng(5).integers(0, 1 << 64, 1_000, np.uint64)
    whole = units.sketched(hashes)

    assert (units.sketched(hashes[:300]) + units.sketched(hashes[300:]) == whole).all()
    assert units.effective(1_000, whole) == pytest.approx(1_000, rel=0.2)
    assert units.effective(0, whole) == 0.0


def test_no_more_false_alarms_are_raised_than_declared():
    """9,000 looks without any drift: any alarm at all is one too many."""
    rng, runs = np.random.default_rng(6), 200
    some = sum(any(discoveries(rng.random(9_000).tolist(), 0.05)) for _ in range(runs))

    assert at_most(some / runs, 0.05, runs)


def test_100_features_and_90_days_without_drift_raise_no_alarm():
    """Three quarters of a year of looks, 500 rows a day. A test a day would cry 450 times, and a
    fixed limit at every small sample."""
    rng, features, days, n, bins = np.random.default_rng(9), 100, 90, 500, 10
    for _ in range(2):
        reference = rng.multinomial(5_000, [1 / bins] * bins, features)
        seen = rng.multinomial(n, [1 / bins] * bins, (days, features))
        found = []
        for feature in range(features):
            column = Column("x", "category", (*reference[feature].tolist(), 0))
            for day in range(days):
                counts = np.append(seen[day, feature], 0)
                found.append((day, f"{feature}", distance(column, counts, effective=(5e3, n))))

        looks = judged(found)
        assert len(looks) == features * days
        assert not any(look.drifted for look in looks)
        assert not any(discoveries([look.distance.p_value for look in looks]))
        daily = np.mean([look.distance.p_value <= 0.05 for look in looks])
        assert shown("alarms of a test a day", daily) > 0.03


def test_a_shift_is_found_on_the_day_it_comes_and_at_no_other_feature():
    """Half a deviation from day 30 on, 500 rows a day, among 50 features: found on that very day in
    all of ten streams, and at most one alarm in twenty is another feature's."""
    rng, runs, features, days, since = np.random.default_rng(7), 10, 50, 40, 30
    reference = rng.normal(0, 1, 5_000)
    (column,) = profiled([{"x": value} for value in reference], {"x": "number"})
    usual = np.array(column.counts[:-1]) / 5_000
    moved = np.diff(stats.norm.cdf(column.edges, 0.5, 1), prepend=0, append=1)
    in_time, false, true = 0, 0, 0
    for _ in range(runs):
        found = []
        for day in range(days):
            for feature in range(features):
                law = moved if feature == 3 and day >= since else usual
                counts = np.append(rng.multinomial(500, law), 0)
                one = distance(column, counts, effective=(5_000.0, 500.0))
                found.append((day, f"{feature:02}", one))
        alarms = [look for look in judged(found) if look.drifted]
        true += sum(look.name == "03" for look in alarms)
        false += sum(look.name != "03" for look in alarms)
        in_time += min(look.at_ms for look in alarms if look.name == "03") == since

    assert shown("found on its first day", in_time / runs) == 1.0
    assert shown("false among alarms", false / (false + true)) <= 0.05


def test_discoveries_agree_with_their_definition():
    """Each level by the published sum, a discovery at a time."""
    rng = np.random.default_rng(8)
    p_values = np.where(rng.random(400) < 0.1, rng.random(400) * 1e-6, rng.random(400))
    rate, start = 0.1, 0.01

    def gamma(j):
        return 0.07720838 * math.log(max(j, 2)) / (j * math.exp(math.sqrt(math.log(j))))

    times = []
    for t, p_value in enumerate(p_values, 1):
        level = gamma(t) * start
        if times and times[0] < t:
            level += (rate - start) * gamma(t - times[0])
        level += rate * sum(gamma(t - tau) for tau in times[1:])
        if p_value <= level:
            times.append(t)

    assert [at for at, yes in enumerate(discoveries(p_values.tolist(), rate), 1) if yes] == times
    assert len(times) > 5
    with pytest.raises(ValueError, match="rate"):
        discoveries([0.5], 0.0)


def test_none_is_no_distance(columns):
    nothing = np.zeros(len(columns[0].counts), np.int64)

    assert distance(columns[0], nothing, effective=(5_000.0, 0.0)) is None
