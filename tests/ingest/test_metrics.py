"""Every metric, from a journal through the ingester's cells to bounds of the arms' difference."""

import random

import pytest
from msgspec.structs import replace
from tests.ingest import reading

from pointsman.domain import evidence
from pointsman.judge import measured, progress
from pointsman.judge.assess import judge
from pointsman.judge.effect import effect
from pointsman.judge.kinds import Effect
from pointsman.judge.mean import Tuning
from pointsman.judge.progress import Block, EventTest, MeanTest, Progress
from pointsman.judge.verdict import Criteria, Criterion, Fail, Health, Role, Worse

LIMIT_US = 2_000
COSTS = ((0.0, 1.0), (5.0, 0.0))
CLASSIFIER = (
    "accuracy", "balanced_accuracy", "precision", "recall", "specificity", "f1", "auc", "log_loss",
    "brier", "calibration_error", "expected_cost",
)  # fmt: skip
TESTS = {
    **{(of, ""): measured.of_classifier(of, 2, 1, COSTS) for of in CLASSIFIER},
    ("slow", ""): measured.slower(LIMIT_US),
    ("p90", ""): measured.latency(0.9),
    ("errors", ""): EventTest("first/error"),
    ("errors_de", "country=DE"): EventTest("first/error"),
    ("denied", ""): MeanTest(binary=True, first_exposures=True, cell="first/denied"),
    ("reward", ""): MeanTest(cell=evidence.REWARD),
}


@pytest.fixture(scope="module")
def filled(new_world, make):
    """6,000 units in two blocks, half and half; the challenger guesses more often, is slower and
    fails in 6 % instead of 1 %. The cells, and what was written down."""
    world, dice, told, outcomes = new_world(), random.Random(3), [], []
    shares = {"default": (("challenger", 0.5), ("champion", 0.5))}
    world.catalog.projects["default/loan"] = replace(
        make.project, shares=shares, slow_us=(LIMIT_US,)
    )
    for i in range(6_000):
        name = dice.choice(["challenger", "champion"])
        worse, label = name == "challenger", dice.random() < 0.4
        guess = dice.random() < (0.5 if worse else 0.2)
        high = dice.random() < 0.5 if guess else label
        score = dice.betavariate(7, 2) if high else dice.betavariate(2, 7)
        failed = dice.random() < (0.06 if worse else 0.01)
        record = make.decision(
            f"d{i}", unit=f"u{i}", unit_hash=dice.getrandbits(64), assigned=name,
            served="third" if failed else name, at_ms=make.noon + (i % 2) * evidence.BLOCK_MS,
            probabilities=(1 - score, score), predicted="yes" if score >= 0.5 else "no",
            action="deny" if score >= 0.5 else "allow",
            latency_us=int(dice.gammavariate(4, 400 if worse else 300)),
            context={"country": dice.choice(["DE", "FR"])},
            propensities=shares["default"], propensity=0.5,
        )  # fmt: skip
        told.append((record, label))
        outcomes.append(make.label(f"f{i}", record.id, "yes" if label else "no"))
        if i % 3 == 0:
            outcomes.append(make.reward(f"r{i}", record.id, float(label) + worse))
    for at in range(0, 6_000, 500):
        world.write(*(record for record, _ in told[at : at + 500]))
    for at in range(0, len(outcomes), 500):
        world.write(*outcomes[at : at + 500], stream="w1")
    world.drain()
    yield folded(world.read(reading.cells, "default/loan", "default")), told
    world.close()


def folded(cells):
    """As a tick folds them: block by block."""
    found = Progress()
    for at in sorted({(key.block_ms, key.epoch) for key in cells}):
        arms = {
            name: {
                (key.metric, key.slice): payload
                for key, payload in cells.items()
                if (key.block_ms, key.epoch) == at and key.variant == name
            }
            for name in ("challenger", "champion")
        }
        found = progress.fold(found, Block(*at, 0.5, **arms), TESTS)
    return progress.decode(progress.encode(found))


def by_hand(metric, told):
    """The slow twins, straight from what was written down."""
    pairs = [(r.probabilities[1], label) for r, label in told]
    n = len(pairs)
    tp = sum(s >= 0.5 and y for s, y in pairs)
    fp = sum(s >= 0.5 and not y for s, y in pairs)
    fn = sum(s < 0.5 and y for s, y in pairs)
    tn = n - tp - fp - fn
    latencies = sorted(r.latency_us for r, _ in told)
    up = [s for s, y in pairs if y]
    down = [s for s, y in pairs if not y]
    twins = {
        "accuracy": lambda: (tp + tn) / n,
        "balanced_accuracy": lambda: (tp / (tp + fn) + tn / (tn + fp)) / 2,
        "precision": lambda: tp / (tp + fp),
        "recall": lambda: tp / (tp + fn),
        "specificity": lambda: tn / (tn + fp),
        "f1": lambda: 2 * tp / (2 * tp + fp + fn),
        "auc": lambda: sum(a > b for a in up for b in down) / (len(up) * len(down)),
        "brier": lambda: sum((s - y) ** 2 for s, y in pairs) / n,
        "expected_cost": lambda: (fp + 5 * fn) / n,
        "slow": lambda: sum(x > LIMIT_US for x in latencies) / n,
        "p90": lambda: latencies[int(0.9 * n)],
        "denied": lambda: (tp + fp) / n,
    }
    return twins[metric]()


@pytest.mark.parametrize("metric", [m for m, _ in TESTS])
def test_every_metric_has_bounds_from_cells(filled, metric):
    """The estimate is what a sum over all records says; the bounds hold it, and hold it tightly."""
    progressed, told = filled
    key = next(key for key in TESTS if key[0] == metric)
    found = progress.evidence(progressed, TESTS, Health()).metrics[key]
    relative = metric.startswith("errors")

    shown = effect(found, Tuning(6_000.0), 0.05, relative=relative)

    assert isinstance(shown, Effect)
    assert shown.lower < shown.estimate < shown.upper
    if metric == "calibration_error":
        assert shown.upper - shown.lower < 0.03  # its twin is in tests/judge/test_ratio.py
        return
    if metric in {"log_loss", "reward"} or relative:
        assert shown.lower > 0  # higher by construction
        return
    arms = [[(r, y) for r, y in told if r.assigned == a] for a in ("challenger", "champion")]
    expected = by_hand(metric, arms[0]) - by_hand(metric, arms[1])
    within = 0.02 if metric != "p90" else 80
    assert shown.estimate == pytest.approx(expected, abs=within)
    assert shown.lower < expected < shown.upper


def test_a_tick_over_them_shows_the_harm(filled):
    """Errors of the challenger in one slice roll back; every other metric is one criterion more."""
    progressed, _ = filled
    items = (
        Criterion("errors_de", Role.GUARDRAIL, Worse.HIGHER, 0.5, relative=True,
                  slice="country=DE"),
        Criterion("p90", Role.SIGNAL, Worse.HIGHER, 50.0),
    )  # fmt: skip
    found = judge(progress.evidence(progressed, TESTS, Health()), Criteria(items, Tuning(6_000.0)))

    assert isinstance(found, Fail)
    assert [r.metric for r in found.reasons] == ["errors_de"]
    assert found.measures[1].harm_lower > 50.0


def test_names_of_no_metric_are_refused():
    """As are those that lack what they are about."""
    for args in (("gini", 2, 1), ("recall", 3, None), ("expected_cost", 2, 1)):
        with pytest.raises(ValueError, match="no test for"):
            measured.of_classifier(*args)
