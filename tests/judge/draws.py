"""Seeded draws shared by the tests of judging."""

import numpy as np

from pointsman.domain.evidence import BUCKETS, CrossMoments, Moments


def moments(values, units=None):
    """The cell of these values; by default each is of a unit of its own."""
    values = np.asarray(values, float)
    units = np.arange(len(values)) if units is None else np.asarray(units)
    bucket = units % BUCKETS
    return Moments(
        np.bincount(bucket, minlength=BUCKETS).tolist(),
        np.bincount(bucket, values, BUCKETS).tolist(),
        np.bincount(bucket, values * values, BUCKETS).tolist(),
    )


def cross_moments(values, covariates, units=None):
    """The cell of these values beside their covariates."""
    values, covariates = np.asarray(values, float), np.asarray(covariates, float)
    plain, x = moments(values, units), moments(covariates, units)
    product = moments(values * covariates, units).total
    return CrossMoments(plain.n, plain.total, plain.squares, x.total, x.squares, product)


def binary_moments(rng, n, rate):
    """The cell of n decisions of n units with an event at this rate, drawn bucket by bucket."""
    counts = rng.multinomial(n, [1 / BUCKETS] * BUCKETS)
    ones = rng.binomial(counts, rate)
    return Moments(counts.tolist(), ones.astype(float).tolist(), ones.astype(float).tolist())


def at_most(rate, nominal, runs):
    """Whether a false-positive rate fits a nominal one, but for two standard errors."""
    shown(f"at most {nominal:g} of {runs}", rate)
    return rate <= nominal + 2 * np.sqrt(nominal * (1 - nominal) / runs)


def shown(what, rate):
    """The rate; `pytest -s` prints it, for the page on calibration to quote."""
    print(f"\n  {what}: {rate:.4g}", end="")
    return rate
