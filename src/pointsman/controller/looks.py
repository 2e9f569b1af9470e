"""Which of a rollout's looks at its evidence are kept, so that people can see it narrow.

A tick looks every second; what is kept are looks that say something new. While evidence grows in
proportion, its intervals narrow in proportion, so a criterion is kept again once it rests on a
twentieth more: a few hundred looks however long a rollout takes.
"""

from typing import Final

from pointsman.controller import findings, watch
from pointsman.controller.watch import Seen
from pointsman.judge.verdict import Measure
from pointsman.store.looks import Look

GROWN: Final = 1.05
LONGEST_MS: Final = 600_000
"""A criterion whose evidence does not grow is kept again after so long."""

_Key = tuple[str, str, str]


class Looks:
    """Remembers what was kept last. One for each loop; lost with it, which keeps one look more."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[int, dict[_Key, Look]]] = {}

    def new(self, name: str, seen: Seen, now_ms: int) -> list[Look]:
        """Looks of this tick that are worth keeping; `keep` says that they were."""
        if seen.state is None or seen.read is None or seen.read.verdict is None:
            return []
        attempt, before = self._kept.get(name, (0, {}))
        known = before if attempt == seen.state.attempt else {}
        found = [_look(seen, measure, now_ms) for measure in seen.read.verdict.measures]
        return [look for look in found if is_news(known.get(_key(look)), look)]

    def keep(self, name: str, seen: Seen, looks: list[Look]) -> None:
        """These are in the store now."""
        if seen.state is None or not looks:
            return
        attempt, before = self._kept.get(name, (0, {}))
        known = before if attempt == seen.state.attempt else {}
        self._kept[name] = (seen.state.attempt, known | {_key(look): look for look in looks})


def _key(look: Look) -> _Key:
    return look.role, look.metric, look.slice


def is_news(before: Look | None, now: Look) -> bool:
    if before is None:
        return now.n + now.n_champion > 0
    return (
        now.verdict != before.verdict
        or now.bound != before.bound
        or now.n >= before.n * GROWN + 1
        or now.n_champion >= before.n_champion * GROWN + 1
        or now.at_ms - before.at_ms >= LONGEST_MS
    )


def _look(seen: Seen, measure: Measure, now_ms: int) -> Look:
    criterion = measure.criterion
    return Look(
        criterion.role.value,
        criterion.metric,
        criterion.slice,
        now_ms,
        measure.verdict,
        measure.estimate,
        measure.lower,
        measure.upper,
        findings.bound(criterion),
        findings.unit(criterion, watch.shares_of(seen.at.project.spec)).value,
        measure.n[0],
        measure.n[1],
    )
