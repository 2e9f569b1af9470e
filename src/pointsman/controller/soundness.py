"""Whether a rule's evidence can be believed: units at every stage against the chances they were
drawn with, from running counts. No decision and no exposure is read again."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from sqlalchemy import Connection

from pointsman.domain.evidence import block_of
from pointsman.domain.names import CHAMPION
from pointsman.judge.sample_ratio import Coverage, Draws, RatioState, Stage
from pointsman.judge.verdict import EpochHealth, Health
from pointsman.store import headcounts
from pointsman.store.headcounts import Chances, Heads, Line

_Count = Callable[[Line], int]

_STAGES: Final[dict[Stage, _Count]] = {
    Stage.ASSIGNED: lambda line: line.heads.assigned,
    Stage.SERVED: lambda line: line.heads.served,
    Stage.LOGGED: lambda line: line.heads.logged,
    Stage.LABELLED: lambda line: line.matured.labelled,
}


def health(  # noqa: PLR0913 - each names a part of what is asked for
    connection: Connection,
    project: str,
    rule: str,
    epochs: Sequence[int],
    matured_until: int,
    *,
    challenger: str = "",
    champion: str = CHAMPION,
) -> Health:
    """What the units of these epochs of a rule say, each epoch by itself, in order.

    Each unit counts once in an epoch, by its first decision that the rule's split drew with all
    its variants to choose from; every stage counts them by the variant *assigned*:

    - assigned: all of them, whatever became of the request
    - served: those who got an answer, whoever gave it (a fallback's counts, since evidence is by
      intention); not those whose request failed as a whole, nor `:decide`, which asks for none
    - logged: those of them whose record has a class of the project and all its probabilities, so
      that it can be held against a label
    - labelled: those with a label, of blocks that ended by `matured_until`

    coverage: labelled ones beside all, of matured blocks, of `challenger` and `champion`; none
        where no challenger is named
    logged (propensities): the same first decisions and those of units held out, by the vector of
        propensities in their own record, against the variant they were assigned

    project: `tenant/project`; matured_until: Unix milliseconds
    Reads running sums: of the epochs, of the days that are not matured and of the blocks of one
    day, however many decisions there were.
    """
    lines = headcounts.lines(connection, project, rule, epochs, block_of(matured_until))
    by_epoch = groupby(lines, key=lambda line: line.epoch)
    arms = (challenger, champion)
    return Health(tuple(_of_epoch(epoch, list(found), arms) for epoch, found in by_epoch))


def _of_epoch(epoch: int, lines: Sequence[Line], arms: tuple[str, str]) -> EpochHealth:
    split = [line for line in lines if line.of == "split"]
    logged = [line for line in lines if line.of == "logged"]
    return EpochHealth(
        epoch=epoch,
        stages={stage: RatioState(tuple(_draws(split, count))) for stage, count in _STAGES.items()},
        coverage=tuple(_coverage(split, arms)),
        logged=tuple(_draws(logged, _STAGES[Stage.ASSIGNED])),
    )


def _draws(lines: Iterable[Line], count: _Count) -> Iterator[Draws]:
    """Units by the chances they were drawn with; nothing of those who had no choice.

    Chances that are no distribution are made one: if they are not true, that will show.
    """
    for chances, found in _by_chances(lines):
        possible = [(name, chance) for name, chance in chances if chance > 0.0]
        whole = math.fsum(chance for _, chance in possible)
        counts = tuple(max(count(found[name]), 0) if name in found else 0 for name, _ in possible)
        if len(possible) > 1 and any(counts):
            yield Draws(tuple(chance / whole for _, chance in possible), counts)


def _coverage(lines: Iterable[Line], arms: tuple[str, str]) -> Iterator[Coverage]:
    for chances, found in _by_chances(lines):
        chance = dict(chances)
        if not chance.keys() >= set(arms):
            continue
        one, two = (_matured(found.get(name)) for name in arms)
        share = chance[arms[0]] / (chance[arms[0]] + chance[arms[1]])
        if one[0] + two[0]:
            yield Coverage(share, one[0], two[0], one[1], two[1])


def _matured(line: Line | None) -> tuple[int, int]:
    """Units, and those with a label. Where retention deleted the units, a late label is no more
    than a label."""
    heads = Heads() if line is None else line.matured
    return max(heads.assigned, 0), min(max(heads.labelled, 0), max(heads.assigned, 0))


def _by_chances(lines: Iterable[Line]) -> Iterator[tuple[Chances, dict[str, Line]]]:
    for chances, found in groupby(lines, key=lambda line: line.chances):
        yield chances, {line.variant: line for line in found}
