"""Which inputs and answers drifted, when, and whether people were told.

Everything is computed from stored counts each time it is asked for: the same counts give the same
alarms, and nothing about alarms has to be remembered but that somebody was told.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
import numpy as np

from pointsman.controller import baseline
from pointsman.controller.baseline import Part
from pointsman.controller.ledger import Ledger
from pointsman.controller.projects import Projects
from pointsman.controller.reuse import Reused
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.names import CHAMPION
from pointsman.domain.table import ProjectTable
from pointsman.judge import drift, units
from pointsman.judge.drift import Distance, Look
from pointsman.judge.profile import Counts, Profile, parted
from pointsman.spec import canonical
from pointsman.spec.models import Drift
from pointsman.store import references, revisions, sketches
from pointsman.store.audit import Entry
from pointsman.store.references import Alarm, Reference
from pointsman.store.revisions import Revision
from pointsman.store.sketches import DAY_S, HOUR_S, KEPT_MS, Sketch

Shown = dict[str, Any]
Step = Literal["hour", "day"]

FEWEST: Final = 50
"""Rows of a stretch of time, below which nothing is compared."""

_STEP_S: Final[dict[Step, int]] = {"hour": HOUR_S, "day": DAY_S}
_DEFAULT_MS: Final[dict[int, int]] = {HOUR_S: 2 * DAY_S * 1000, DAY_S: 30 * DAY_S * 1000}
_TOLD_AT_ONCE: Final = 5
"""Sentences of one look; what else drifted is told in one more."""


class Asked(msgspec.Struct, frozen=True):
    """A range of time. step: empty = as the project compares; 0 = from the beginning, until now"""

    step: Step | Literal[""] = ""
    from_ms: int = 0
    until_ms: int = 0


class Drifts:
    """Answers what drifted. Blocking."""

    def __init__(self, ledger: Ledger, projects: Projects) -> None:
        self._ledger = ledger
        self._projects = projects
        self._known: Reused[tuple[str, str, Asked], Shown] = Reused()

    def of(self, name: str, asked: Asked) -> Shown:
        """Distances of every feature and answer from the reference, by stretches of time.

        `starts` of the stretches, Unix milliseconds; each column has as many `psi`, `limit`,
        `p_value`, `n` (null where nothing was compared) and `drifted`. The stretch that is not
        over is compared, and raises no alarm. Without a reference, `waits_for` says what is missing
        Errors: NOT_FOUND for a project that is not there.
        """
        revision = self._projects.current(name)
        return self._known.get(
            (name, revision.digest, asked), lambda: self._read(name, revision, asked)
        )

    def column(self, name: str, asked: Asked, column: str) -> Shown:
        """One feature or answer, in the stretch that begins at `asked.from_ms`, beside the
        reference: shares by bin.

        Errors: NOT_FOUND without a reference, for another column, or without rows then.
        """
        revision = self._projects.current(name)
        step_s = _step_s(asked, _drift(revision))
        start = asked.from_ms - asked.from_ms % (step_s * 1000)
        found = self._sketches(name, (step_s, start, start + 1))
        if found is None or not found[1]:
            raise PointsmanError(
                Kind.NOT_FOUND,
                f"{name} has no decisions beside a reference at {_utc(start)}",
                hint="`pointsman drift` shows which times and features there are",
            )
        (stored, made), (sketch,) = (found[0], found[2]), found[1]
        for part in baseline.parts(made, sketch.counts):
            counts = parted(part.columns, part.counts)
            for one in part.columns:
                if one.name == column:
                    return {
                        "project": name,
                        "reference": _reference(stored, made),
                        "column": column,
                        "kind": one.kind,
                        "at_ms": start,
                        "step_s": step_s,
                        "labels": list(one.labels),
                        "before": _shares(np.asarray(one.counts)),
                        "now": _shares(counts[column]),
                        "n": int(counts[column].sum()),
                    }
        raise PointsmanError(
            Kind.NOT_FOUND,
            f"the reference of {name} has no column {column!r}",
            hint="`pointsman drift` shows which there are",
        )

    def looks(self, name: str) -> tuple[Reference | None, list[Look]]:
        """Every stretch that is over, as the project compares, with whether it drifted."""
        wanted = _drift(self._projects.current(name))
        now = self._ledger.now_ms()
        until = now - now % (wanted.window_s * 1000)
        found = self._sketches(name, (wanted.window_s, now - KEPT_MS[wanted.window_s], until))
        if found is None:
            return None, []
        return found[0], _judged(found[2], found[1], wanted)

    def _read(self, name: str, revision: Revision, asked: Asked) -> Shown:
        wanted = _drift(revision)
        step_s = _step_s(asked, wanted)
        now = self._ledger.now_ms()
        until = asked.until_ms or now + 1
        from_ms = max(asked.from_ms or until - _DEFAULT_MS[step_s], now - KEPT_MS[step_s])
        # Alarms depend on all that was looked at before, so all of it is judged and a part shown.
        found = self._sketches(name, (step_s, now - KEPT_MS[step_s], until))
        if found is None:
            return self._waiting(name, revision, step_s)
        stored, every, made = found
        open_ms = now - now % (step_s * 1000)
        judged = {
            (look.at_ms, look.name): look
            for look in _judged(made, [s for s in every if s.at_ms < open_ms], wanted)
        }
        late = {s.at_ms: _distances(made, s, wanted.psi) for s in every if s.at_ms >= open_ms}
        starts = [s.at_ms for s in every if s.at_ms >= from_ms]
        columns = [(column, "input") for column in made.features]
        columns += [(column, "answer") for column in made.answers]
        return {
            "project": name,
            "reference": _reference(stored, made),
            "waits_for": "",
            "step_s": step_s,
            "starts": starts,
            "matters": wanted.psi,
            "columns": [
                {"name": column.name, "kind": column.kind, "role": role}
                | _column(column.name, starts, judged, late)
                for column, role in columns
            ],
        }

    def _waiting(self, name: str, revision: Revision, step_s: int) -> Shown:
        table = self._projects.table(revision)
        wanted = _drift(revision)
        version = _champion(table)
        with self._ledger.reading() as connection:
            have = references.gathered(connection, name, version)
        what = (
            f"a reference is made of the first {wanted.reference:,} decisions of {CHAMPION} "
            f"version {version}; {have:,} so far"
            if table.features
            else "the project has no features to compare"
        )
        return {
            "project": name,
            "reference": None,
            "waits_for": what,
            "step_s": step_s,
            "starts": [],
            "matters": wanted.psi,
            "columns": [],
        }

    def _sketches(
        self, name: str, span: tuple[int, int, int]
    ) -> tuple[Reference, list[Sketch], Profile] | None:
        with self._ledger.reading() as connection:
            stored = references.current(connection, name)
            if stored is None:
                return None
            found = sketches.read(connection, name, "features", span, [stored.id])
        return stored, found, baseline.decoded(stored.body)


class Teller:
    """Tells people, once, of each column that drifted in a stretch of time."""

    def __init__(self, ledger: Ledger, drifts: Drifts) -> None:
        self._ledger = ledger
        self._drifts = drifts
        self._looked: dict[str, int] = {}

    def turn(self) -> bool:
        """Looks at every project whose stretch of time is over. False: nothing is left."""
        with self._ledger.reading() as connection:
            active = revisions.active(connection)
        for revision in active:
            window_ms = _drift(revision).window_s * 1000
            window = self._ledger.now_ms() // window_ms
            if self._looked.get(revision.project) != window:
                self._tell(revision.project)
                self._looked[revision.project] = window
        return False

    def _tell(self, name: str) -> None:
        stored, found = self._drifts.looks(name)
        drifted = [look for look in found if look.drifted]
        if stored is None or not drifted:
            return
        # What drifted long ago is no news to anybody who starts this now.
        last = max(look.at_ms for look in found)
        with self._ledger.reading() as connection:
            told = references.told(connection, name, stored.id)
        news = [
            look for look in drifted if look.at_ms == last and (look.at_ms, look.name) not in told
        ]
        news.sort(key=lambda look: -look.distance.psi)
        for look in news[:_TOLD_AT_ONCE]:
            self._write(name, stored.id, [look], sentence(name, look))
        if rest := news[_TOLD_AT_ONCE:]:
            names = ", ".join(look.name for look in rest)
            text = f"{name}: {len(rest)} more drifted at {_utc(last)}: {names}"
            self._write(name, stored.id, rest, text)

    def _write(self, name: str, reference: str, looks: list[Look], text: str) -> None:
        entry = Entry(
            actor="pointsman",
            tenant=name.partition("/")[0],
            target=name,
            action="drift",
            sentence=text,
            payload={
                "columns": [look.name for look in looks],
                "at_ms": looks[0].at_ms,
                "psi": [round(look.distance.psi, 4) for look in looks],
            },
        )
        alarms = [
            Alarm(name, reference, look.at_ms, look.name, found.psi, found.limit, found.n, text)
            for look in looks
            for found in [look.distance]
        ]
        self._ledger.note(entry, lambda connection: references.tell(connection, alarms))


def sentence(name: str, look: Look) -> str:
    """What happened, for people: what, value, bound, when, n, and what was done."""
    found = look.distance
    return (
        f"{name}: {look.name} drifted at {_utc(look.at_ms)}: population stability index "
        f"{found.psi:.3f}, limit {found.limit:.3f}, n={found.n:,}; nothing was changed"
    )


def _judged(made: Profile, every: list[Sketch], wanted: Drift) -> list[Look]:
    return drift.judged(
        (
            (sketch.at_ms, name, found)
            for sketch in every
            for name, found in _distances(made, sketch, wanted.psi).items()
        ),
        wanted.false_alarms,
    )


def _distances(made: Profile, sketch: Sketch, matters: float) -> dict[str, Distance]:
    """By column, of those with enough rows."""
    found: dict[str, Distance] = {}
    for part in baseline.parts(made, sketch.counts):
        found |= _of_part(part, made.effective, matters)
    return found


def _of_part(part: Part, effective: float, matters: float) -> dict[str, Distance]:
    counts = parted(part.columns, part.counts)
    found: dict[str, Distance] = {}
    for column in part.columns:
        n = int(counts[column.name].sum())
        if n < FEWEST:
            continue
        worth = (effective, units.effective(n, part.units))
        one = drift.distance(column, counts[column.name], effective=worth, matters=matters)
        if one is not None:
            found[column.name] = one
    return found


def _column(
    name: str,
    starts: list[int],
    judged: Mapping[tuple[int, str], Look],
    late: Mapping[int, Mapping[str, Distance]],
) -> Shown:
    looks = [judged.get((start, name)) for start in starts]
    found = [
        look.distance if look is not None else late.get(start, {}).get(name)
        for start, look in zip(starts, looks, strict=True)
    ]
    shown: Shown = {
        field: [None if one is None else getattr(one, field) for one in found]
        for field in (
            "psi",
            "limit",
            "p_value",
            "kolmogorov",
            "wasserstein",
            "jensen_shannon",
            "n",
            "effective",
        )
    }
    return shown | {"drifted": [look is not None and look.drifted for look in looks]}


def _reference(stored: Reference, made: Profile) -> Shown:
    return {
        "id": stored.id,
        "made_ms": stored.made_ms,
        "actor": stored.actor,
        "source": made.source,
        "n": made.n,
        "variant": made.variant,
        "version": made.version,
    }


def _shares(counts: Counts) -> list[float]:
    total = int(counts.sum())
    return [count / total if total else 0.0 for count in counts.tolist()]


def _drift(revision: Revision) -> Drift:
    return canonical.parse(revision.spec).spec.drift


def _step_s(asked: Asked, wanted: Drift) -> int:
    return _STEP_S[asked.step] if asked.step else wanted.window_s


def _champion(table: ProjectTable) -> str:
    return next(variant.version for variant in table.variants if variant.name == CHAMPION)


def _utc(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
