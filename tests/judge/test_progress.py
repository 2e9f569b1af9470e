"""Blocks fold once and in order, survive storage, and feed the verdict."""

import msgspec
import numpy as np
import pytest
from draws import binary_moments, cross_moments

from pointsman.domain.evidence import Confusion, Moments
from pointsman.judge import ratio
from pointsman.judge.assess import judge
from pointsman.judge.event import EventState
from pointsman.judge.kinds import Means, Ratios
from pointsman.judge.mean import Tuning
from pointsman.judge.progress import (
    Block,
    EventTest,
    MeanTest,
    Progress,
    RatioTest,
    decode,
    encode,
    evidence,
    fold,
)
from pointsman.judge.verdict import Criteria, Criterion, Fail, Health, NoData, Role, Worse

ERROR, DENIED, COST, RECALL = ((name, "") for name in ("error", "denied", "cost", "recall"))
TESTS = {
    ERROR: EventTest(),
    DENIED: MeanTest(binary=True, first_exposures=True),
    COST: MeanTest(),
    RECALL: RatioTest(ratio.recall(2, 1)),
}
STEP_MS = 300_000


def confusion(rng, n):
    cell = Confusion.empty(2)
    for unit, found in enumerate(rng.random(n) < 0.8):
        cell.observe(1, int(found), unit_hash=unit)
    return cell


def blocks(seed, count=6, error=0.01):
    rng = np.random.default_rng(seed)
    for index in range(count):
        share = 0.1 if index < count // 2 else 0.5
        arms = []
        for n, rate in ((round(2_000 * share), error), (round(2_000 * (1 - share)), 0.01)):
            x = rng.normal(0, 1, n)
            arms.append(
                {
                    ERROR: binary_moments(rng, n, rate),
                    DENIED: binary_moments(rng, n, 0.05),
                    COST: cross_moments(x + rng.normal(0, 0.3, n), x),
                    RECALL: confusion(rng, n // 4),
                }
            )
        yield Block(index * STEP_MS, 1 + (share > 0.3), share, *arms)


def folded(all_blocks, tests=TESTS):
    progress = Progress()
    for block in all_blocks:
        progress = fold(progress, block, tests)
    return progress


def test_a_block_is_folded_once():
    """A tick that comes twice, or late, does not bet twice."""
    first, second, *_ = blocks(1)
    progress = folded([first, second])

    for block in (first, second):
        with pytest.raises(ValueError, match="not after"):
            fold(progress, block, TESTS)


def test_progress_survives_storage_to_the_last_bit():
    """Stopped and restarted after any block, the end is the same."""
    progress = Progress()
    for block in blocks(2):
        progress = decode(encode(fold(progress, block, TESTS)))

    assert encode(progress) == encode(folded(blocks(2)))
    with pytest.raises(msgspec.ValidationError):
        decode(msgspec.msgpack.encode({"through": "x"}))


def test_its_size_does_not_grow_with_the_number_of_blocks():
    """What a tick reads and writes is bounded by the tests and the shares there were."""
    tests = {key: TESTS[key] for key in (ERROR, DENIED, COST)}
    short, long = (len(encode(folded(blocks(3, count), tests))) for count in (6, 60))

    assert long < 1.05 * short


def test_every_kind_of_test_becomes_evidence():
    """Events, means with and without a covariate, and a classifier metric."""
    found = evidence(folded(blocks(4)), TESTS, Health()).metrics

    assert found.keys() == TESTS.keys()
    assert found[ERROR].units == (3_600, 8_400)
    assert isinstance(found[DENIED], Means)
    assert found[DENIED].exact is not None
    assert found[COST].exact is None
    assert isinstance(found[RECALL], Ratios)
    assert [block.share for block in found[RECALL].blocks] == [0.1, 0.5]


def test_from_cells_to_a_verdict():
    """Five times the errors of the champion end in a rollback, silence in no verdict."""
    item = Criterion("error", Role.GUARDRAIL, Worse.HIGHER, 0.1, relative=True)
    criteria = Criteria((item,), Tuning(n_star=10_000))

    bad = evidence(folded(blocks(5, error=0.05)), TESTS, Health())
    assert isinstance(judge(bad, criteria), Fail)
    assert isinstance(judge(evidence(Progress(), TESTS, Health()), criteria), NoData)


def test_an_arm_without_a_cell_in_a_block_counts_as_empty():
    """At 1 % a challenger often has no decision in five minutes; the champion's still count."""
    alone = Block(0, 1, 0.01, {}, {ERROR: Moments([100] + [0] * 63, [3.0] + [0.0] * 63)})
    progress = fold(Progress(), alone, TESTS)

    assert progress.events[ERROR] == ((1, EventState(((0.01, 0, 3),))),)
    assert progress.event_units[ERROR] == (0, 100)


def test_cells_of_the_wrong_kind_are_refused():
    """A confusion is no mean; better no tick than a wrong one."""
    rng = np.random.default_rng(6)
    block = Block(0, 1, 0.5, {DENIED: confusion(rng, 10)}, {})

    with pytest.raises(TypeError, match="'denied'"):
        fold(Progress(), block, TESTS)
