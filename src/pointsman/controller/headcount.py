"""Counts units by the chances they were drawn with and by how far they came: what sample ratios are
tested on, without reading a single decision again.

Each unit counts once in an epoch of a rule, where it first met it.
"""

import msgspec

from pointsman.controller.beside import Outcomes
from pointsman.controller.join import IngestProject
from pointsman.domain import evidence
from pointsman.domain.records import DecisionRecord
from pointsman.store.headcounts import Chances, Heads, Of
from pointsman.store.payloads import Key


class Headcount:
    """What one transaction adds, by the key of its line."""

    def __init__(self) -> None:
        self.counts: dict[Key, Heads] = {}

    def exposed(
        self, record: DecisionRecord, project: IngestProject, held: Outcomes, times: int
    ) -> None:
        """A split's decision that is its unit's first; `times=-1` where it no longer is."""
        heads = self._drawn(record, project)
        if heads is None:
            return
        self._logged(record, times)
        heads.assigned += times
        answered = bool(record.action) and not record.withheld
        heads.served += times * answered
        heads.logged += times * (answered and _usable(record, project))
        heads.labelled += times * (held.get("label") in project.classes)

    def held_out(self, record: DecisionRecord, project: IngestProject, times: int) -> None:
        """The same of a unit that the rule kept apart from its split."""
        if record.rule in project.shares:
            self._logged(record, times)

    def told(
        self, record: DecisionRecord, project: IngestProject, told: Outcomes, times: int
    ) -> None:
        """What became known of a first exposure; `times=-1` takes it back."""
        heads = self._drawn(record, project)
        if heads is not None:
            heads.labelled += times * (told.get("label") in project.classes)

    def _drawn(self, record: DecisionRecord, project: IngestProject) -> Heads | None:
        chances = project.shares.get(record.rule, ())
        return self._heads(record, "split", chances) if chances else None

    def _logged(self, record: DecisionRecord, times: int) -> None:
        self._heads(record, "logged", tuple(sorted(record.propensities))).assigned += times

    def _heads(self, record: DecisionRecord, of: Of, chances: Chances) -> Heads:
        key = (
            record.project,
            record.rule,
            record.epoch,
            evidence.block_of(record.at_ms),
            of,
            msgspec.json.encode(chances).decode(),
            record.assigned,
        )
        heads = self.counts.get(key)
        if heads is None:
            heads = self.counts[key] = Heads()
        return heads


def _usable(record: DecisionRecord, project: IngestProject) -> bool:
    """Whether the record holds an answer that a label can be held against."""
    complete = len(record.probabilities) == len(project.classes)
    return complete and record.predicted in project.classes
