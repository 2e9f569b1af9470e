"""What a batch of decisions adds to the counts that drift and estimates are read from."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from sqlalchemy import Connection

from pointsman.controller import baseline
from pointsman.controller.baseline import Baselines, Scored
from pointsman.controller.join import IngestProject
from pointsman.domain.evidence import SCORE_BINS, score_bin
from pointsman.domain.records import DecisionRecord
from pointsman.judge.profile import Counts
from pointsman.store import sketches
from pointsman.store.sketches import HOUR_S, Key

_HOUR_MS: Final = HOUR_S * 1000

ProjectOf = Callable[[DecisionRecord], IngestProject | None]


class Sketching:
    """Counts decisions in the bins of their project's reference; where there is none yet, the first
    decisions of its champion become one."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._baselines = Baselines(now_ms)

    def decided(
        self, connection: Connection, records: Sequence[DecisionRecord], project_of: ProjectOf
    ) -> None:
        """Adds decisions that were not known before."""
        scored: defaultdict[tuple[str, str, str, int], list[int]] = defaultdict(list)
        by_project: defaultdict[str, list[Scored]] = defaultdict(list)
        for record in records:
            project = project_of(record)
            if project is None:
                continue
            score = baseline.score_of(record, project)
            if record.features and project.watched:
                by_project[record.project].append((record, score))
            if score is not None:
                place = score_bin(score) + SCORE_BINS * (record.predicted == project.positive)
                scored[record.project, record.served, record.version, _hour(record)].append(place)
        changes: dict[Key, tuple[int, Counts]] = {}
        for (name, served, version, hour), places in scored.items():
            counts = np.bincount(places, minlength=2 * SCORE_BINS).astype(np.int64)
            key = Key(name, "scores", f"{served}:{version}", hour)
            changes[key] = (len(places), counts)
        for name, group in by_project.items():
            found = self._baselines.of(connection, name, group, project_of)
            if found is None:
                continue
            hours: defaultdict[int, list[Scored]] = defaultdict(list)
            for one in group:
                hours[_hour(one[0])].append(one)
            for hour, part in hours.items():
                key = Key(name, "features", found.id, hour)
                changes[key] = (len(part), baseline.counted(found.profile, part))
        sketches.add(connection, changes)


def _hour(record: DecisionRecord) -> int:
    return record.at_ms - record.at_ms % _HOUR_MS
