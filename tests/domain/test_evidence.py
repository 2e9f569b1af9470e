"""Evidence cells: additive payloads that ingest fills and judging reads."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.domain.evidence import (
    BLOCK_MS,
    BUCKETS,
    SCORE_BINS,
    CellKey,
    Confusion,
    LatencyHistogram,
    Moments,
    Pair,
    Paired,
    ScoreHistogram,
    block_of,
    decode,
    encode,
    latency_bin,
    latency_edge,
    merge,
    score_bin,
    score_edge,
)

hashes = st.integers(0, 2**64 - 1)
whole = st.integers(-1000, 1000).map(float)  # whole sums are exact, so equality is fair
OBSERVATIONS = {
    "moments": (Moments, st.tuples(hashes, whole)),
    "confusion": (lambda: Confusion.empty(3), st.tuples(st.integers(0, 2), st.integers(0, 2))),
    "latency": (LatencyHistogram, st.tuples(st.integers(-5, 10**9))),
    "paired": (
        lambda: Paired(3),
        st.tuples(
            st.builds(
                Pair,
                classes=st.just(3),
                served=st.integers(0, 2),
                shadow=st.integers(0, 2),
                served_denied=st.booleans(),
                shadow_denied=st.booleans(),
                shift=st.none() | whole,
                distance=whole,
            ),
        ),
    ),
}


@pytest.mark.parametrize("kind", OBSERVATIONS)
@given(data=st.data())
def test_cells_add_up(kind, data):
    """Observing in two places and merging is observing in one; merging has no order."""
    empty, observation = OBSERVATIONS[kind]
    parts = [data.draw(st.lists(observation, max_size=8)) for _ in range(3)]
    payloads, together = [empty() for _ in parts], empty()
    for part, payload in zip(parts, payloads, strict=True):
        for observed in part:
            payload.observe(*observed)
            together.observe(*observed)
    a, b, c = payloads

    assert merge(merge(a, b), c) == merge(a, merge(b, c)) == merge(merge(c, a), b) == together


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=8), st.integers(0, 8))
def test_score_histograms_add_up(observed, cut):
    """The same for scores, whose sums are exact up to rounding."""
    whole_one, first, second = ScoreHistogram(), ScoreHistogram(), ScoreHistogram()
    for index, (score, positive) in enumerate(observed):
        whole_one.observe(score, positive=positive)
        (first if index < cut else second).observe(score, positive=positive)
    merged = merge(first, second)

    assert merged.counts == whole_one.counts
    assert merged.total == pytest.approx(whole_one.total)
    assert merged.squares == pytest.approx(whole_one.squares)
    assert merged.log_loss == pytest.approx(whole_one.log_loss)


@pytest.mark.parametrize("kind", OBSERVATIONS)
@given(data=st.data())
def test_a_correction_takes_back_exactly(kind, data):
    """What is observed with times=-1 is gone, so that a corrected outcome counts once."""
    empty, observation = OBSERVATIONS[kind]
    kept, gone = data.draw(st.lists(observation, max_size=5)), data.draw(observation)
    corrected, expected = empty(), empty()
    corrected.observe(*gone)
    for observed in kept:
        corrected.observe(*observed)
        expected.observe(*observed)
    corrected.observe(*gone, times=-1)

    assert corrected == expected


def test_an_emptied_bucket_is_empty():
    """Floats that do not cancel leave no dust in a bucket without observations."""
    moments = Moments()
    for value in (0.1, 0.2, 0.3):
        moments.observe(7, value)
    for value in (0.3, 0.1, 0.2):
        moments.observe(7, value, times=-1)

    assert moments == Moments()


def test_requests_of_one_unit_share_a_bucket():
    """The bucket is the unit hash's lowest six bits."""
    moments = Moments()
    for _ in range(3):
        moments.observe(2**63 + 5, 1.0)

    assert (moments.n[5], moments.total[5], sum(moments.n), len(moments.n)) == (3, 3.0, 3, BUCKETS)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (Moments(), LatencyHistogram()),
        (Confusion.empty(2), Confusion.empty(3)),
        (ScoreHistogram(), Confusion.empty(2)),
    ],
)
def test_different_kinds_do_not_add(a, b):
    """Payloads of two kinds, or of two numbers of classes, are never added."""
    with pytest.raises(ValueError, match="cannot be added"):
        merge(a, b)


@pytest.mark.parametrize(
    "payload",
    [
        Moments(),
        Confusion(2, [1, 2, 3, 4]),
        ScoreHistogram(),
        LatencyHistogram({3: 4, 700: 1}),
    ],
)
def test_payloads_survive_storage(payload):
    """Bytes and back, with the kind in the bytes."""
    assert decode(encode(payload)) == payload
    with pytest.raises(msgspec.DecodeError):
        decode(b"nonsense")


@given(st.integers(0, 2**40))
def test_latency_bins_are_narrow(latency_us):
    """A latency lies within its bin, which is at most 1/32 wide relative to its start."""
    index = latency_bin(latency_us)
    low, high = latency_edge(index), latency_edge(index + 1)

    assert low <= latency_us < high
    assert high - low <= max(1, low / 32)


@given(st.floats(0, 1))
def test_score_bins_hold_their_scores(score):
    """A score lies within its bin, up to rounding at the edge."""
    index = score_bin(score)

    assert 0 <= index < SCORE_BINS
    assert score_edge(index) - 1e-12 <= score <= score_edge(index + 1) + 1e-12


@given(st.floats(0, 1), st.floats(0, 1))
def test_score_bins_keep_the_order(a, b):
    """A higher score is never in a lower bin."""
    low, high = sorted((a, b))

    assert score_bin(low) <= score_bin(high)


@pytest.mark.parametrize("score", [-0.1, 1.1, math.nan, math.inf])
def test_scores_are_probabilities(score):
    """What is not in [0, 1] is refused before it spoils a cell."""
    with pytest.raises(ValueError, match="outside"):
        ScoreHistogram().observe(score, positive=True)


def test_certain_and_wrong_costs_much_but_not_infinitely():
    """A score of 0 for what happened costs 53 bits, so a mean stays a number."""
    histogram = ScoreHistogram()
    histogram.observe(0.0, positive=True)

    assert histogram.log_loss[1] == pytest.approx(53 * math.log(2))


def test_blocks_are_aligned():
    """A block is five minutes of decision time, aligned to the epoch."""
    assert block_of(BLOCK_MS * 7) == block_of(BLOCK_MS * 8 - 1) == BLOCK_MS * 7


def test_keys_sort_and_hash():
    """Cells can be keyed and listed in order."""
    a = CellKey("default/p", "r", 1, 0, "champion", "", "denied")
    b = CellKey("default/p", "r", 2, 0, "champion", "", "denied")

    assert sorted({b: 1, a: 2}) == [a, b]
