"""What inputs and answers of a project are compared with, and how decisions are counted beside it.

A reference is declared by somebody, or came with the champion's version from its registry
(`registered`), or is made of the first decisions that a champion answers. It is never made anew
while that champion serves: what it is compared with must not move along.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
import numpy as np
from sqlalchemy import Connection

from pointsman.controller.join import IngestProject
from pointsman.domain.names import CHAMPION
from pointsman.domain.records import DecisionRecord
from pointsman.judge import profile, units
from pointsman.judge.profile import Column, Counts, Profile
from pointsman.store import references
from pointsman.store.references import Reference

PREDICTED: Final = "predicted class"
SCORE: Final = "score"
"""Columns of what a version answered."""

_Kinds = dict[str, Literal["number", "category"]]

ProjectOf = Callable[[DecisionRecord], IngestProject | None]
Scored = tuple[DecisionRecord, float | None]
"""A decision with its score, as `score_of` has it."""


class Baseline(msgspec.Struct, frozen=True):
    """The reference of a project. id: digest"""

    id: str
    profile: Profile


class _Row(msgspec.Struct, frozen=True, array_like=True):
    """One of the first decisions of a champion, until there are enough."""

    features: bytes
    unit_hash: int
    at_ms: int
    predicted: str
    score: float | None


class Baselines:
    """Finds references, and makes those that nobody declared. Remembers them by id."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._profiles: dict[str, Profile] = {}
        self._tables: dict[str, int] = {}

    def of(
        self,
        connection: Connection,
        name: str,
        records: Sequence[Scored],
        project_of: ProjectOf,
    ) -> Baseline | None:
        """What these decisions of one project are compared with; None while there is nothing yet.

        The one before is compared with until a new champion has answered often enough.
        """
        current = references.current(connection, name)
        newest, _ = max(records, key=lambda one: one[0].table)
        project = project_of(newest)
        # Decisions of an older table come late and tell nothing of who is the champion now.
        late = newest.table < self._tables.get(name, 0)
        self._tables[name] = max(newest.table, self._tables.get(name, 0))
        if project is not None and not late and (current is None or _outdated(current, project)):
            current = self._made(connection, name, records, project) or current
        if current is None:
            return None
        if current.id not in self._profiles:
            self._profiles[current.id] = decoded(current.body)
        return Baseline(current.id, self._profiles[current.id])

    def _made(
        self,
        connection: Connection,
        name: str,
        records: Sequence[Scored],
        project: IngestProject,
    ) -> Reference | None:
        """The reference of the champion that serves now, once it has answered often enough."""
        version = project.champion
        again = references.of_version(connection, name, version)
        if again is not None:
            again = msgspec.structs.replace(again, made_ms=self._now_ms())
            references.put(connection, again)
            return again
        rows = [
            _encoder.encode(_row(record, score))
            for record, score in records
            if (record.served, record.version) == (CHAMPION, version)
        ]
        if not rows or references.gather(connection, name, version, rows) < project.reference:
            return None
        gathered = references.take_gathered(connection, name, version)
        made = _profile([_decoder.decode(body) for body in gathered], project, version)
        new = reference(name, made, self._now_ms())
        references.put(connection, new)
        return new


def _outdated(current: Reference, project: IngestProject) -> bool:
    return not current.declared and current.version != project.champion


def reference(name: str, made: Profile, now_ms: int, actor: str = "") -> Reference:
    """A profile as it is stored. actor: who declares it; empty where it was made by itself"""
    body = msgspec.json.encode(made)
    digest = hashlib.sha256(body).hexdigest()[:16]
    return Reference(name, digest, now_ms, actor, made.version, body)


def decoded(body: bytes) -> Profile:
    """The profile of a stored reference. Raises msgspec.ValidationError for anything else."""
    return msgspec.json.decode(body, type=Profile)


def counted(found: Profile, records: Sequence[Scored]) -> Counts:
    """Units of all rows, then bins of features, then units and bins of what the reference's own
    version answered; `parts` takes it apart."""
    features = profile.counted(found.features, [features_of(r.features) for r, _ in records])
    own = [
        (record, score)
        for record, score in records
        if record.served == found.variant and record.version == found.version
    ]
    told = [{PREDICTED: record.predicted or None, SCORE: score} for record, score in own]
    answers = profile.counted(found.answers, told)
    everyone = units.sketched(record.unit_hash for record, _ in records)
    theirs = units.sketched(record.unit_hash for record, _ in own)
    return np.concatenate([everyone, features, theirs, answers])


class Part(msgspec.Struct, frozen=True):
    """Columns, their counts one after the other, and the sketch of the units of their rows."""

    columns: tuple[Column, ...]
    units: Counts
    counts: Counts


def parts(found: Profile, counts: Counts) -> tuple[Part, Part]:
    """Of features, and of answers."""
    wide = sum(len(column.counts) for column in found.features)
    cuts = np.cumsum([units.PLACES, wide, units.PLACES])
    everyone, features, theirs, answers = np.split(counts, cuts)
    return Part(found.features, everyone, features), Part(found.answers, theirs, answers)


def features_of(body: bytes) -> dict[str, Any]:
    """A row of a record by name; empty for what is no object."""
    try:
        return _features.decode(body)
    except msgspec.MsgspecError:
        return {}


def score_of(record: DecisionRecord, project: IngestProject) -> float | None:
    """Score of the positive class, 0 to 1; None where there is none, or nobody answered."""
    if not record.served or not record.predicted or project.positive not in project.classes:
        return None
    if len(record.probabilities) != len(project.classes):
        return None
    score = record.probabilities[project.classes.index(project.positive)]
    return min(max(score, 0.0), 1.0)


def _row(record: DecisionRecord, score: float | None) -> _Row:
    return _Row(record.features, record.unit_hash, record.at_ms, record.predicted, score)


def _profile(rows: Sequence[_Row], project: IngestProject, version: str) -> Profile:
    ends = [datetime.fromtimestamp(row.at_ms / 1000, UTC) for row in (rows[0], rows[-1])]
    answers: _Kinds = {PREDICTED: "category"}
    if project.positive:
        answers[SCORE] = "number"
    told = [{PREDICTED: row.predicted or None, SCORE: row.score} for row in rows]
    return Profile(
        features=profile.profiled([features_of(row.features) for row in rows], project.watched),
        n=len(rows),
        effective=units.effective(len(rows), units.sketched(row.unit_hash for row in rows)),
        source=f"the first {len(rows):,} decisions of {CHAMPION} version {version}, "
        f"{ends[0]:%Y-%m-%d %H:%M} to {ends[1]:%Y-%m-%d %H:%M} UTC",
        answers=profile.profiled(told, answers),
        variant=CHAMPION,
        version=version,
    )


_features: Final = msgspec.json.Decoder(dict[str, Any])
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Row)
