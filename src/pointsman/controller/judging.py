"""Evidence of a rollout as far as it was read: every decision exactly once, whenever it comes in.

Decisions are known at once, so their events are read in increments: what the cells hold now less
what was read of them before, every tick. An epoch has one share and exact tests of its own, so it
makes no difference where an increment ends. Labels are read once, block by block,
when their horizon is past; what changes later is in reports and in no test.

Cells of the last `LATE_MS` stay open, so that records that come in late are read too. What is no
first exposure any more, since an earlier one came in after it, waits in its bucket until another
one takes its place.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from msgspec.structs import replace

from pointsman.controller.criteria import Tested
from pointsman.domain import evidence
from pointsman.domain.evidence import BLOCK_MS, Confusion, Moments, Payload, block_of
from pointsman.judge import labels, progress
from pointsman.judge.labels import ActionCoverage
from pointsman.judge.progress import Block, Key, Progress, Test
from pointsman.judge.verdict import Evidence, Health

LATE_MS: Final = 600_000
"""How late a record may come in and still be read."""

SKEW_MS: Final = 5_000
"""How far gateways' clocks may be apart."""

Row = tuple[int, str, str, str, Payload]
"""Block, variant, slice, metric and payload of one cell."""


class Stretch(msgspec.Struct, frozen=True):
    """One epoch of the rule.

    share: chance of the challenger among the two
    until_ms: when the next one was published; None while there is none
    """

    epoch: int
    share: float
    until_ms: int | None = None


class Judging(msgspec.Struct, frozen=True):
    """Of one attempt, after one epoch.

    revision: up to which stretches are known
    window_ms: start of the oldest block that is still open; through_ms: blocks before are matured
        and folded
    read: what was read of open blocks, by epoch, then `variant|slice|metric`
    at_once, matured: what was folded, of decisions and of labels
    decisions, outcomes: of the challenger, by epoch; newest_ms: about when its last one was made
    slices: in the order they appeared
    actions: matured decisions and labels by action, by variant, of all epochs
    """

    attempt: int
    after_epoch: int
    revision: int = 0
    window_ms: int = 0
    through_ms: int = 0
    stretches: tuple[Stretch, ...] = ()
    read: dict[int, dict[str, Moments]] = {}
    at_once: Progress = Progress()
    matured: Progress = Progress()
    decisions: dict[int, int] = {}
    outcomes: dict[int, int] = {}
    newest_ms: int = 0
    slices: tuple[str, ...] = ()
    actions: dict[str, ActionCoverage] = {}


class Arms(msgspec.Struct, frozen=True):
    """Names of the two variants that are compared."""

    challenger: str
    champion: str


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Judging)


def encode(judging: Judging) -> bytes:
    return _encoder.encode(judging)


def decode(stored: bytes) -> Judging:
    """Raises msgspec.ValidationError on anything else."""
    return _decoder.decode(stored)


def recalled(stored: bytes) -> Judging | None:
    """What was stored; None where nothing was, or by a release that kept it otherwise: judging
    then begins again with what the cells still say of the present weight."""
    try:
        return decode(stored) if stored else None
    except msgspec.ValidationError:
        return None


def increment_metrics(wanted: Tested) -> tuple[str, ...]:
    """Metrics of the cells that increments are read from."""
    own = {cell for name, cell in wanted.cells.items() if name not in wanted.labelled}
    return tuple(sorted({*own, evidence.COST}))


def matured_metrics(wanted: Tested) -> tuple[str, ...]:
    """Metrics of the cells that are read when labels are matured."""
    own = {cell for name, cell in wanted.cells.items() if name in wanted.labelled}
    own |= {evidence.CONFUSION, evidence.FIRST_CONFUSION, evidence.REWARD}
    if wanted.labelled:
        own.add(evidence.DENIED)  # says of how many decisions of an action a label could come
    return tuple(sorted(own))


def with_slices(judging: Judging, rows: Iterable[Row]) -> Judging:
    """Slices that appear for the first time, behind those that are known."""
    names = dict.fromkeys(judging.slices)
    names |= dict.fromkeys(name for _, _, name, _, _ in rows if name)
    return replace(judging, slices=tuple(names))


def read_increment(  # noqa: PLR0913, PLR0917 - each is a part of what is read
    judging: Judging,
    stretch: Stretch,
    rows: Iterable[Row],
    arms: Arms,
    wanted: Tested,
    now_ms: int,
) -> Judging:
    """With everything of an epoch's open blocks that was not read before.

    rows: all cells of `increment_metrics` in blocks from `window_ms` on
    """
    rows = list(rows)
    now: dict[str, Moments] = {}
    for _, variant, name, metric, payload in rows:
        key = f"{variant}|{name}|{metric}"
        assert isinstance(payload, Moments)
        known = now.get(key)
        whole = payload if known is None else evidence.merge(known, payload)
        assert isinstance(whole, Moments)
        now[key] = whole
    before = judging.read.get(stretch.epoch, {})
    more = {key: _increment(whole, before.get(key, Moments())) for key, whole in now.items()}
    read = {key: _sum(before.get(key, Moments()), more[key]) for key in more}
    judging = replace(judging, read={**judging.read, stretch.epoch: {**before, **read}})
    if not any(sum(moments.n) for moments in more.values()):
        return judging
    order = (judging.at_once.through or (0, 0))[0] + 1
    block = Block(
        block_ms=order,
        epoch=stretch.epoch,
        share=stretch.share,
        challenger=_cells(more, arms.challenger, wanted),
        champion=_cells(more, arms.champion, wanted),
    )
    judging = replace(
        judging, at_once=progress.fold(judging.at_once, block, _tests(wanted, labelled=False))
    )
    blocks = [row[0] + BLOCK_MS for row in rows if row[1] == arms.challenger]
    newest = min(now_ms, max(blocks, default=0))
    return _counted(judging, stretch, _new(more, arms), newest)


def close_blocks(
    judging: Judging, now_ms: int, rows: Mapping[int, Iterable[Row]], live: int
) -> Judging:
    """Without what was read of blocks that nothing comes into any more.

    rows: by epoch, those of this tick
    live: the rule's present epoch; others are forgotten once they are over
    """
    window_ms = max(judging.window_ms, block_of(now_ms - LATE_MS))
    if window_ms == judging.window_ms:
        return judging
    read = {epoch: dict(known) for epoch, known in judging.read.items()}
    for epoch, cells in rows.items():
        for block_ms, variant, name, metric, payload in cells:
            if block_ms < window_ms and isinstance(payload, Moments):
                key = f"{variant}|{name}|{metric}"
                known = read.get(epoch, {}).get(key)
                if known is not None:
                    read[epoch][key] = _difference(known, payload)
    over = {
        stretch.epoch
        for stretch in judging.stretches
        if stretch.until_ms is not None and stretch.until_ms + BLOCK_MS < window_ms
    }
    read = {epoch: known for epoch, known in read.items() if epoch == live or epoch not in over}
    return replace(judging, window_ms=window_ms, read=read)


def is_open(judging: Judging, stretch: Stretch) -> bool:
    """Whether anything of an epoch may still come in."""
    return stretch.until_ms is None or stretch.until_ms + BLOCK_MS >= judging.window_ms


def matured_until(now_ms: int, horizon_ms: int) -> int:
    """Blocks that begin before this have all their labels."""
    return block_of(now_ms - horizon_ms - SKEW_MS)


def matures_ms(judging: Judging, horizon_ms: int) -> int:
    """When the first block that is not folded yet has all its labels."""
    return judging.through_ms + BLOCK_MS + horizon_ms + SKEW_MS


def read_matured(  # noqa: PLR0913, PLR0917 - each is a part of what is read
    judging: Judging,
    cells: Mapping[int, Iterable[Row]],
    until_ms: int,
    arms: Arms,
    wanted: Tested,
    denied: Mapping[str, frozenset[int]] = MappingProxyType({}),
) -> Judging:
    """With all blocks that have matured since the last time, each once and in order.

    cells: by epoch, of `matured_metrics` in blocks from `through_ms` until `until_ms`
    denied: indexes of the classes that each variant denies
    """
    shares = {stretch.epoch: stretch.share for stretch in judging.stretches}
    blocks: dict[tuple[int, int], list[Row]] = {}
    for epoch, rows in cells.items():
        for row in rows:
            blocks.setdefault((row[0], epoch), []).append(row)
    tests = _tests(wanted, labelled=True)
    for (block_ms, epoch), rows in sorted(blocks.items()):
        of = {name: _labelled(rows, name, wanted) for name in (arms.challenger, arms.champion)}
        block = Block(block_ms, epoch, shares[epoch], of[arms.challenger], of[arms.champion])
        judging = replace(judging, matured=progress.fold(judging.matured, block, tests))
        counted = judging.outcomes.get(epoch, 0) + _outcomes(rows, arms.challenger)
        judging = replace(judging, outcomes={**judging.outcomes, epoch: counted})
        judging = _with_actions(judging, rows, denied)
    return replace(judging, through_ms=max(judging.through_ms, until_ms))


def _with_actions(
    judging: Judging, rows: Iterable[Row], denied: Mapping[str, frozenset[int]]
) -> Judging:
    """A label is told the action it came for by the class that was predicted."""
    actions = dict(judging.actions)
    for _, variant, name, metric, payload in rows:
        if name or variant not in denied:
            continue
        more = None
        if metric == evidence.DENIED and isinstance(payload, Moments):
            out = round(sum(payload.total))
            more = ActionCoverage(allowed=sum(payload.n) - out, denied=out)
        elif metric == evidence.CONFUSION and isinstance(payload, Confusion):
            of = [sum(payload.counts[at :: payload.classes]) for at in range(payload.classes)]
            out = sum(n for at, n in enumerate(of) if at in denied[variant])
            more = ActionCoverage(allowed_labelled=sum(of) - out, denied_labelled=out)
        if more is not None:
            actions[variant] = labels.merge(actions.get(variant, ActionCoverage()), more)
    return replace(judging, actions=actions)


def evidence_of(judging: Judging, wanted: Tested, health: Health) -> Evidence:
    """What `judge` reads. health: of the same epochs"""
    drawn = [stretch.epoch for stretch in judging.stretches if 0.0 < stretch.share < 1.0]
    now = progress.evidence(judging.at_once, _tests(wanted, labelled=False), health, drawn)
    then = progress.evidence(judging.matured, _tests(wanted, labelled=True), health, drawn)
    return Evidence({**now.metrics, **then.metrics}, health)


def _tests(wanted: Tested, *, labelled: bool) -> dict[Key, Test]:
    return {
        key: test for key, test in wanted.tests.items() if (key[0] in wanted.labelled) is labelled
    }


def _increment(now: Moments, before: Moments) -> Moments:
    """What is new in each bucket; nothing of a bucket in which more was taken back than added."""
    more = _difference(now, before)
    for at, (n, total) in enumerate(zip(more.n, more.total, strict=True)):
        if n < 0 or total < 0 or (n == 0 and total != 0):
            more.n[at], more.total[at], more.squares[at] = 0, 0.0, 0.0
    return more


def _sum(a: Moments, b: Moments) -> Moments:
    whole = evidence.merge(a, b)
    assert isinstance(whole, Moments)
    return whole


def _difference(a: Moments, b: Moments) -> Moments:
    negative = Moments([-x for x in b.n], [-x for x in b.total], [-x for x in b.squares])
    return _sum(a, negative)


def _cells(more: Mapping[str, Moments], variant: str, wanted: Tested) -> dict[Key, Payload]:
    """Increments of one variant by the tests' keys."""
    found: dict[Key, Payload] = {}
    for metric, name in _tests(wanted, labelled=False):
        moments = more.get(f"{variant}|{name}|{wanted.cells[metric]}")
        if moments is not None and any(moments.n):
            found[metric, name] = moments
    return found


def _labelled(rows: Iterable[Row], variant: str, wanted: Tested) -> dict[Key, Payload]:
    """Matured cells of one variant by the tests' keys, and first exposures' by their own."""
    cells = {(name, metric): payload for _, of, name, metric, payload in rows if of == variant}
    keys = _tests(wanted, labelled=True)
    found = {
        (metric, name): cells[name, wanted.cells[metric]]
        for metric, name in keys
        if (name, wanted.cells[metric]) in cells
    }
    first = evidence.FIRST_CONFUSION
    found |= {(first, name): cells[name, first] for _, name in keys if (name, first) in cells}
    return found


def _new(more: Mapping[str, Moments], arms: Arms) -> int:
    """New decisions of the challenger: every one has a cost."""
    return sum(more.get(f"{arms.challenger}||{evidence.COST}", Moments()).n)


def _counted(judging: Judging, stretch: Stretch, new: int, newest_ms: int) -> Judging:
    if not new:
        return judging
    known = judging.decisions.get(stretch.epoch, 0)
    return replace(
        judging,
        decisions={**judging.decisions, stretch.epoch: known + new},
        newest_ms=max(judging.newest_ms, newest_ms),
    )


def _outcomes(rows: Iterable[Row], variant: str) -> int:
    """Labelled decisions of a variant; those with a reward where there is no label."""
    labelled = rewards = 0
    for _, of, name, metric, payload in rows:
        if of == variant and not name:
            if isinstance(payload, Confusion) and metric == evidence.CONFUSION:
                labelled += sum(payload.counts)
            elif isinstance(payload, Moments) and metric == evidence.REWARD:
                rewards += sum(payload.n)
    return labelled or rewards
