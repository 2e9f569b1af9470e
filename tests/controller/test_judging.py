"""Evidence is read once: in whatever pieces it comes, however late, and whatever is taken back."""

from random import Random

import msgspec
import pytest
from tests.controller.test_criteria import criteria

from pointsman.controller import judging
from pointsman.controller.judging import Arms, Judging, Stretch
from pointsman.domain import evidence
from pointsman.domain.evidence import BLOCK_MS, Confusion, Moments

START = 1_750_075_200_000 - 1_750_075_200_000 % BLOCK_MS
ARMS = Arms("challenger", "champion")
ONE = Stretch(epoch=2, share=0.5)
WANTED = criteria({"metric": "denied", "absolute": 0.1})
LABELLED = criteria({"metric": "denied", "absolute": 0.1}, {"metric": "recall", "absolute": 0.1})
DENIED = WANTED.cells["denied"]


class Cells:
    """What the store holds, growing."""

    def __init__(self):
        self.found = {}

    def decide(self, unit, variant, *, denied, block=0, times=1):
        """A first exposure, or one that no longer is."""
        values = {DENIED: float(denied), evidence.COST: 0.0}
        for metric, value in values.items():
            key = (START + block * BLOCK_MS, variant, "", metric)
            self.found.setdefault(key, Moments()).observe(unit, value, times)

    def rows(self, since_ms=START):
        copies = evidence.encode, evidence.decode
        return [
            (*key, copies[1](copies[0](payload)))
            for key, payload in sorted(self.found.items())
            if key[0] >= since_ms
        ]


def fresh():
    return Judging(1, 1, window_ms=START, through_ms=START, stretches=(ONE,))


def read(known, cells, now_ms=START):
    rows = cells.rows(known.window_ms)
    known = judging.read_increment(known, ONE, rows, ARMS, WANTED, now_ms)
    return judging.close_blocks(known, now_ms, {ONE.epoch: rows}, ONE.epoch)


def counts(known):
    """Units of challenger and champion, and how many were denied."""
    state = known.at_once.means["denied", ""]
    return state.counts, state.totals


@pytest.mark.parametrize("seed", range(5))
def test_pieces_add_up_to_the_whole(seed):
    """Whenever somebody looks, and however many blocks have been closed meanwhile."""
    draw, cells, known = Random(seed), Cells(), fresh()
    now_ms = START
    for _ in range(40):
        for _ in range(draw.randrange(30)):
            variant = draw.choice(("challenger", "champion"))
            back = draw.randrange(2) if now_ms > START + BLOCK_MS else 0
            block = (now_ms - START) // BLOCK_MS - back
            cells.decide(draw.getrandbits(64), variant, denied=draw.random() < 0.3, block=block)
        known = read(known, cells, now_ms)
        now_ms += draw.randrange(BLOCK_MS)

    every = Cells()
    every.found = cells.found
    rows = every.rows()
    whole = {
        variant: [
            payload for _, of, _, metric, payload in rows if (of, metric) == (variant, DENIED)
        ]
        for variant in ("challenger", "champion")
    }
    (n, total) = counts(known)
    assert n == tuple(sum(sum(m.n) for m in whole[v]) for v in ("challenger", "champion"))
    assert total == tuple(sum(sum(m.total) for m in whole[v]) for v in ("challenger", "champion"))
    assert known.decisions == {2: n[0]}
    assert known.window_ms > START


def test_reading_again_finds_nothing_new():
    """A tick without news changes nothing."""
    cells = Cells()
    for unit in range(50):
        cells.decide(unit, "challenger", denied=unit % 2)
    once = read(fresh(), cells)

    assert read(once, cells) == once


def test_it_survives_being_stored():
    """Encoded and back between any two ticks."""
    cells = Cells()
    for unit in range(50):
        cells.decide(unit, "champion", denied=unit % 2)
    once = read(fresh(), cells)

    assert judging.decode(judging.encode(once)) == once


def test_what_another_release_stored_is_begun_anew():
    """Nothing crashes, and nothing is read as what it is not."""
    state = {"by_share": [[0.5, 3, 4]]}
    before = {"attempt": 1, "after_epoch": 1, "at_once": {"events": [[["denied", ""], state]]}}

    assert judging.recalled(msgspec.msgpack.encode(before)) is None
    assert judging.recalled(b"\x00") is None
    assert judging.recalled(b"") is None
    assert judging.recalled(judging.encode(fresh())) == fresh()


def test_a_unit_whose_first_exposure_moves_counts_once():
    """An earlier one came in late: the later one is taken back, in another block."""
    cells = Cells()
    cells.decide(7, "challenger", denied=True, block=1)
    cells.decide(8, "champion", denied=False, block=1)
    known = read(fresh(), cells, START + BLOCK_MS)

    cells.decide(7, "challenger", denied=True, block=1, times=-1)
    cells.decide(7, "challenger", denied=True, block=0)
    known = read(known, cells, START + BLOCK_MS)

    assert counts(known) == ((1, 1), (1.0, 0.0))


def test_what_was_read_and_is_taken_back_waits_for_its_place_to_be_filled():
    """No test sees a negative count; the next unit of that bucket makes it up."""
    cells = Cells()
    cells.decide(7, "challenger", denied=True)
    cells.decide(8, "champion", denied=False)
    known = read(fresh(), cells)
    cells.decide(7, "challenger", denied=True, times=-1)

    known = read(known, cells)
    assert counts(known) == ((1, 1), (1.0, 0.0))
    cells.decide(7 + evidence.BUCKETS, "challenger", denied=True)
    known = read(known, cells)

    assert counts(known) == ((1, 1), (1.0, 0.0))


def test_an_epoch_that_is_over_is_let_go_of():
    """Once nothing can come in any more, only what was folded is kept."""
    over = Stretch(epoch=2, share=0.5, until_ms=START + BLOCK_MS)
    cells = Cells()
    cells.decide(7, "challenger", denied=True)
    known = read(fresh(), cells)
    known = Judging(
        **{f: getattr(known, f) for f in known.__struct_fields__}
        | {"stretches": (over, Stretch(3, 0.5))}
    )
    late_ms = START + 2 * BLOCK_MS + judging.LATE_MS + BLOCK_MS

    known = judging.close_blocks(known, late_ms, {}, live=3)

    assert known.read == {}
    assert not judging.is_open(known, over)


def labelled(block, hits, misses, variant):
    """The matured cell of one block that recall needs."""
    confusion = Confusion.empty(2)
    for unit in range(hits + misses):
        confusion.observe(1, int(unit < hits), unit_hash=unit)
    return [(START + block * BLOCK_MS, variant, "", evidence.CONFUSION, confusion)]


def test_labels_are_read_once_when_their_horizon_is_past():
    """Block by block, and never again whatever is corrected later."""
    rows = labelled(0, 30, 10, "challenger") + labelled(0, 35, 5, "champion")
    later = labelled(1, 10, 0, "challenger")
    until_ms = judging.matured_until(START + BLOCK_MS + 3_600_000 + judging.SKEW_MS, 3_600_000)
    assert until_ms == START + BLOCK_MS

    due = [row for row in rows + later if row[0] < until_ms]
    known = judging.read_matured(fresh(), {2: due}, until_ms, ARMS, LABELLED)

    assert known.outcomes == {2: 40}
    assert known.through_ms == until_ms
    (block,) = known.matured.ratios["recall", ""]
    assert sum(block.challenger.counts) == 40

    known = judging.read_matured(known, {2: later}, until_ms + BLOCK_MS, ARMS, LABELLED)
    assert known.outcomes == {2: 50}
