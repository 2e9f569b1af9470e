"""The Monte-Carlo targets of learning, each beside the naive method that fails on the same data."""

import math

import numpy as np
import pytest

from pointsman.judge.sample_ratio import Draws, audit_propensities
from pointsman.learn.bandit import best_chances, top_two, with_floor
from pointsman.learn.experts import (
    ETA_BRIER,
    ETA_LOG_LOSS,
    Losses,
    ada_hedge,
    add,
    brier,
    exponential,
    hedge_eta,
    log_loss,
)

FLOOR = 0.05
RATES = (0.05, 0.06, 0.08, 0.12)
ALPHA = 0.01


def bandit(rng, weigh, batches=40, batch=500):
    """Batches of units drawn by published weights: (weights, counts, successes) of each."""
    won, lost, log = np.zeros(len(RATES)), np.zeros(len(RATES)), []
    for _ in range(batches):
        p = with_floor(weigh(best_chances(won, lost)), FLOOR)
        counts = rng.multinomial(batch, p)
        successes = rng.binomial(counts, RATES)
        won, lost = won + successes, lost + counts - successes
        log.append((p, counts, successes))
    return log


@pytest.mark.parametrize("weigh", [lambda p: p, top_two], ids=["thompson", "top-two"])
def test_7_a_bandit_draws_what_it_logs(weigh):
    """The least logged propensity is the floor itself, and frequencies pass the audit at the logged
    weights; held against the last weights alone, or clipped to the floor, they do not."""
    rng, runs = np.random.default_rng(7_001), 40
    audits = stale = 0
    least, clipped = [], []
    for _ in range(runs):
        log = bandit(rng, weigh)
        least.append(min(min(p) for p, _, _ in log))
        for p, _, _ in log:
            raw = np.maximum((np.array(p) - FLOOR) / (1 - len(RATES) * FLOOR), FLOOR)
            clipped.append(raw.min() / raw.sum())
        draws = [Draws(p, tuple(counts.tolist())) for p, counts, _ in log]
        audits += audit_propensities(draws) >= -math.log(ALPHA)
        whole = Draws(log[-1][0], tuple(sum(counts for _, counts, _ in log).tolist()))
        stale += audit_propensities([whole]) >= -math.log(ALPHA)

    assert min(least) >= FLOOR
    assert min(least) == pytest.approx(FLOOR, abs=0.0 if weigh is not top_two else 1e-6)
    assert min(clipped) < FLOOR
    assert audits / runs <= ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / runs)
    assert stale / runs > 0.9


def test_7_a_plain_mean_of_what_a_bandit_earned_is_biased():
    """By logged propensities an arm's rate is unbiased; plain means of arms it left are too low."""
    rng, runs, batches = np.random.default_rng(7_002), 250, 12
    weighted, plain = [], []
    for _ in range(runs):
        log = bandit(rng, lambda p: p, batches, 100)
        weighted.append(sum(s / np.array(p) for p, _, s in log) / (batches * 100))
        n, won = (sum(column) for column in list(zip(*log, strict=True))[1:])
        plain.append(won / np.maximum(n, 1))
    error = np.std(weighted, axis=0) / math.sqrt(runs)
    naive = np.std(plain, axis=0) / math.sqrt(runs)

    assert (np.abs(np.mean(weighted, axis=0) - RATES) <= 3.5 * error).all()
    assert ((np.mean(plain, axis=0) - RATES) / naive).min() < -4


def forecasts(rng, members, rounds):
    """What members say of 0/1 outcomes that follow another member in each third, and at times
    none: (probabilities of 1, outcome) by round."""
    skill = rng.uniform(0, 1, (3, members))
    for t in range(rounds):
        y = int(rng.random() < 0.3)
        noise = rng.uniform(0.02, 0.98, members)
        sure = rng.random(members) < skill[3 * t // rounds]
        yield np.where(sure, 0.02 + 0.96 * y, noise), y


def adversary(p, members):
    """Names the outcome the mixture thinks less likely, with one member on each side."""
    y = int(p < 0.5)
    return np.linspace(0.02, 0.98, members), y


@pytest.mark.parametrize(("loss", "eta", "bound"), [
    (log_loss, ETA_LOG_LOSS, 1.0),
    (lambda p: brier((p, 1 - p), 0), ETA_BRIER, 2.0),
], ids=["log-loss", "brier"])  # fmt: skip
@pytest.mark.parametrize("hostile", [False, True])
def test_8_a_mixture_is_never_much_worse_than_its_best_member(loss, eta, bound, hostile):
    """Regret of the mean forecast is at most ln K, or 2 ln K, at every round and whatever happens;
    following the leader has no such bound."""
    members, rounds, worst, follower = 6, 300, 0.0, 0.0
    for seed in range(4):
        rng = np.random.default_rng(8_000 + seed)
        told, total = Losses(members), np.zeros(members)
        mixture = leader = 0.0
        source = forecasts(rng, members, rounds)
        for t in range(rounds):
            weights = np.array(exponential(told, eta))
            if hostile:
                said = np.linspace(0.02, 0.98, members)
                y = adversary(float(weights @ said), members)[1]
            else:
                said, y = next(source)
            given = said if y else 1 - said
            values = [loss(float(p)) for p in given]
            mixture += loss(float(weights @ given))
            leader += values[int(total.argmin())]
            total += values
            told = add(told, t, values)
            worst = max(worst, mixture - total.min())
        follower = max(follower, leader - total.min())

    assert worst <= bound * math.log(members) + 1e-6
    if hostile:
        assert follower > bound * math.log(members)


def sequences():
    """Losses from 0 to 1 that are made to hurt: by name."""
    rng = np.random.default_rng(8_100)
    turn = 1 - np.arange(240) % 2
    yield "alternating", np.stack([np.r_[0.5, turn[1:]], np.r_[0.0, 1 - turn[1:]]], axis=1)
    yield "random", rng.integers(0, 2, (240, 5)).astype(float)
    yield "one is good", np.c_[np.full(240, 0.05), rng.random((240, 7))]
    blocks = np.repeat(np.eye(4), 60, axis=0)
    yield "the best one changes", 1.0 - blocks
    yield "easy", np.c_[np.zeros(240), np.ones((240, 2))]


@pytest.mark.parametrize(("name", "rows"), list(sequences()))
def test_8_hedge_keeps_its_regret_bounds(name, rows):
    """sqrt(T ln K / 2) at a rate known beforehand, de Rooij's bound at none; following the leader
    loses half of all rounds where they alternate."""
    rounds, k = rows.shape
    told, total, eta = Losses(k), np.zeros(k), hedge_eta(k, rounds)
    hedged = adapted = leader = 0.0
    for t, row in enumerate(rows):
        hedged += float(np.array(exponential(told, eta)) @ row)
        adapted += float(np.array(ada_hedge(told)) @ row)
        leader += row[int(total.argmin())]
        total += row
        told = add(told, t, row.tolist())
    best = total.min()
    bound = 2 * math.sqrt(best * (rounds - best) / rounds * math.log(k)) + 16 / 3 * math.log(k) + 2

    assert hedged - best <= math.sqrt(rounds * math.log(k) / 2)
    assert adapted - best <= bound
    if name == "alternating":
        assert leader - best > 100
