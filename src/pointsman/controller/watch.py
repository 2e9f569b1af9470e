"""What a tick sees of one project: read once, at one time, from the store and from the gateways."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection

from pointsman.controller import findings, judging, pinned, state
from pointsman.controller.criteria import Tested, attributes, tested
from pointsman.controller.judging import Arms, Judging, Row, Stretch
from pointsman.controller.ledger import Ledger
from pointsman.controller.pinned import Pinned, version_of
from pointsman.controller.projects import Projects
from pointsman.controller.rollcall import RollCall, WorkerReport
from pointsman.controller.soundness import health
from pointsman.decide.allocation import widths_of
from pointsman.domain.evidence import BLOCK_MS, block_of
from pointsman.domain.table import ProjectTable, Rule, Variant
from pointsman.judge import labels
from pointsman.judge.verdict import Health as Soundness
from pointsman.judge.verdict import Verdict as JudgeVerdict
from pointsman.judge.withheld import judge_by_labels
from pointsman.rollout import declared
from pointsman.rollout.machine import Phase
from pointsman.rollout.observation import (
    Counts,
    Health,
    Judgement,
    Observation,
    Refusal,
)
from pointsman.rollout.state import State
from pointsman.rollout.terms import Terms
from pointsman.spec import canonical
from pointsman.spec.later import Rollout
from pointsman.spec.models import ClassifierMetric, Project, ProjectSpec
from pointsman.store import journal_state, payloads, published, references, revisions, rollouts
from pointsman.store.payloads import Wanted
from pointsman.store.revisions import Revision

JUDGED: Final = frozenset({Phase.RUNNING, Phase.PAUSED, Phase.PROMOTING})
"""Phases with evidence that is read and judged."""
_BEFORE_MS: Final = 60_000
"""A gateway's own act counts for a weight from so long before it was published. What stands for
longer is a switch that is still set, and seen as such."""

_RATIOS: Final = frozenset({"log_loss", "brier"})
"""Classifier metrics that are no shares."""


class Read(msgspec.Struct, frozen=True):
    """What judging knows. number: of what was stored; changed: whether there is more to store"""

    number: int
    judging: Judging
    changed: bool
    verdict: JudgeVerdict | None
    wanted: Tested
    sound: Soundness


class Place(msgspec.Struct, frozen=True):
    """A project as it now stands, with the terms of its rollout."""

    revision: Revision
    project: Project
    table: ProjectTable
    terms: Terms

    @property
    def rollout(self) -> Rollout:
        assert self.project.spec.rollout is not None
        return self.project.spec.rollout

    def variant(self, name: str) -> Variant | None:
        return next((one for one in self.table.variants if one.name == name), None)


class Seen(msgspec.Struct, frozen=True):
    """One tick's view. state: as stored; read: None where nothing is judged"""

    at: Place
    state: State | None
    observation: Observation
    read: Read | None


class Watch:
    """Looks at projects that declare a rollout. Blocking.

    caught_up_ms: up to when everything gateways wrote has been taken in
    """

    def __init__(
        self,
        ledger: Ledger,
        projects: Projects,
        workers: RollCall,
        caught_up_ms: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._projects = projects
        self._workers = workers
        self._caught_up_ms = caught_up_ms
        self._last: dict[str, tuple[float, Read]] = {}

    def names(self) -> list[str]:
        """Every project that declares a rollout."""
        with self._ledger.reading() as connection:
            active = revisions.active(connection)
        # Most projects have none, and are not worth parsing every second.
        maybe = [revision for revision in active if b'"rollout"' in revision.spec]
        return [r.project for r in maybe if canonical.parse(r.spec).spec.rollout is not None]

    def see(self, name: str, now_ms: int, *, reuse_s: float = 0.0) -> Seen | None:
        """None where the project is gone or declares no rollout.

        reuse_s: evidence of this attempt that was read no longer ago is not read anew
        """
        # Asked before the store is read, so that nothing is called complete that came in after.
        caught_up_ms = min(self._caught_up_ms(), now_ms)
        workers = self._workers.workers()
        local = self._workers.local_switches(name)
        with self._ledger.reading() as connection:
            revision = revisions.current(connection, name)
            if revision is None:
                return None
            project = canonical.parse(revision.spec)
            terms = declared.terms(project)
            if terms is None:
                return None
            at = Place(revision, project, self._projects.table(revision), terms)
            before = rollouts.state(connection, name)
            read = None
            if before is not None and before.phase in JUDGED:
                read = self.last_read(name, before, reuse_s)
                if read is None:
                    reader = Reader(connection, self._projects.revision, self._projects.table, at)
                    _, last = self._last.get(name, (0.0, None))
                    read = reader.read(before, now_ms, caught_up_ms, last)
                    self._last[name] = (time.monotonic(), read)
            observation = _observed(connection, at, read, now_ms)
            since_ms = before.published_ms - _BEFORE_MS if before is not None else now_ms
            stopped = [*_local(local, at), *_stopped(connection, at, since_ms)]
            publication, carried_by = rollouts.newest_published(connection, name)
        return Seen(
            at,
            before,
            replace(
                observation,
                acknowledged=publication if _all_serve(workers, name, carried_by) else 0,
                acknowledged_ms=now_ms,
                champion_health=_health(workers, at),
                refusals=_refusals(workers, at),
                stopped="; ".join(dict.fromkeys(stopped)),
            ),
            read,
        )

    def last_verdict(self, name: str, rollout: State) -> str:
        """The verdict on this attempt as it was last read; empty where there is none."""
        last = self.last_read(name, rollout, math.inf)
        if last is None or last.verdict is None:
            return ""
        return findings.verdict_of(last.verdict).value

    def last_codes(self, name: str, rollout: State) -> list[str]:
        """The words for machines of that verdict's reasons."""
        last = self.last_read(name, rollout, math.inf)
        if last is None or last.verdict is None:
            return []
        return sorted({reason.code.value for reason in last.verdict.reasons})

    def last_read(self, name: str, rollout: State, reuse_s: float) -> Read | None:
        """What was read of this attempt within so many seconds."""
        read_at, last = self._last.get(name, (0.0, None))
        if last is None or time.monotonic() - read_at > reuse_s:
            return None
        known = last.judging
        return last if (known.attempt, known.after_epoch) == _attempt(rollout) else None


class Reader:
    """Reads evidence of one attempt on from where it was read to."""

    def __init__(
        self,
        connection: Connection,
        revision: Callable[[str, int], Revision],
        table: Callable[[Revision], ProjectTable],
        at: Place,
    ) -> None:
        self._connection = connection
        self._revision = revision
        self._table = table
        self._at = at
        self._arms = Arms(at.terms.variant, at.terms.against)

    def read(
        self, rollout: State, now_ms: int, caught_up_ms: int, last: Read | None = None
    ) -> Read:
        """With everything that has come in since.

        caught_up_ms: how far that is complete
        last: an earlier answer, whose verdict still stands where nothing has come in
        """
        number, stored = rollouts.judging(self._connection, self._at.revision.project)
        before = judging.recalled(stored)
        known = before
        if known is None or (known.attempt, known.after_epoch) != _attempt(rollout):
            start = block_of(rollout.published_ms) - BLOCK_MS
            known = Judging(*_attempt(rollout), window_ms=start, through_ms=start)
        known = self._with_stretches(known)
        known, wanted = self._increments(known, now_ms, caught_up_ms)
        known = self._matured(known, wanted, caught_up_ms)
        verdict = None
        sound = self._soundness(known)
        same = last is not None and (last.judging, last.sound) == (known, sound)
        if last is not None and same and last.wanted.criteria == wanted.criteria:
            verdict = last.verdict
        elif known.stretches:
            found = labels.selection_of_arms(known.actions, may_deny=any(self._denied().values()))
            evidence = judging.evidence_of(known, wanted, sound)
            verdict = judge_by_labels(evidence, wanted.criteria, found)
        return Read(number, known, known != before, verdict, wanted, sound)

    def _soundness(self, known: Judging) -> Soundness:
        """Whether the evidence can be believed, as of now."""
        return health(
            self._connection,
            self._at.revision.project,
            self._at.terms.rule,
            [stretch.epoch for stretch in known.stretches],
            known.through_ms,
            challenger=self._arms.challenger,
            champion=self._arms.champion,
        )

    def _with_stretches(self, known: Judging) -> Judging:
        """With the epochs published since the last look, and their shares."""
        newest = self._at.revision
        found: list[tuple[int, float, int]] = []
        for number in range(newest.number, known.revision, -1):
            one = newest if number == newest.number else self._revision(newest.project, number)
            rule = _rule(self._table(one), self._at.terms.rule)
            if rule is None or rule.epoch <= known.after_epoch:
                break
            found.append((rule.epoch, share(rule, self._arms), one.at_ms))
        stretches = list(known.stretches)
        for epoch, chance, at_ms in reversed(found):
            if stretches and stretches[-1].epoch == epoch:
                continue
            if stretches:
                stretches[-1] = replace(stretches[-1], until_ms=at_ms)
            stretches.append(Stretch(epoch, chance))
        return replace(known, revision=newest.number, stretches=tuple(stretches))

    def _increments(self, known: Judging, now_ms: int, caught_up_ms: int) -> tuple[Judging, Tested]:
        wanted = self._tested(known)
        rows: dict[int, list[Row]] = {}
        metrics = judging.increment_metrics(wanted)
        for stretch in known.stretches:
            if judging.is_open(known, stretch):
                rows[stretch.epoch] = self._cells(
                    stretch, metrics, known.window_ms, now_ms + BLOCK_MS
                )
        for found in rows.values():
            known = judging.with_slices(known, found)
        wanted = self._tested(known)
        for stretch in known.stretches:
            if stretch.epoch in rows:
                known = judging.read_increment(
                    known, stretch, rows[stretch.epoch], self._arms, wanted, now_ms
                )
        live = known.stretches[-1].epoch if known.stretches else 0
        return judging.close_blocks(known, caught_up_ms, rows, live), wanted

    def _matured(self, known: Judging, wanted: Tested, caught_up_ms: int) -> Judging:
        outcomes = self._at.project.spec.outcomes
        horizon = outcomes.label or outcomes.reward
        if horizon is None:
            return known
        until_ms = judging.matured_until(caught_up_ms, horizon.horizon)
        if until_ms <= known.through_ms:
            return known
        metrics = judging.matured_metrics(wanted)
        rows = {
            stretch.epoch: self._cells(stretch, metrics, known.through_ms, until_ms)
            for stretch in known.stretches
            if stretch.until_ms is None or stretch.until_ms + BLOCK_MS >= known.through_ms
        }
        return judging.read_matured(known, rows, until_ms, self._arms, wanted, self._denied())

    def _denied(self) -> dict[str, frozenset[int]]:
        """Indexes of the classes that each of the two denies."""
        classes = self._at.table.classes
        found = (self._at.variant(name) for name in (self._arms.challenger, self._arms.champion))
        return {
            variant.name: frozenset(classes.index(one) for one in variant.deny if one in classes)
            for variant in found
            if variant is not None
        }

    def _tested(self, known: Judging) -> Tested:
        return tested(self._at.project.spec, self._at.rollout, known.slices)

    def _cells(
        self, stretch: Stretch, metrics: tuple[str, ...], from_ms: int, until_ms: int
    ) -> list[Row]:
        arms = self._arms
        wanted = Wanted(
            project=self._at.revision.project,
            rule=self._at.terms.rule,
            epoch=stretch.epoch,
            variants=(arms.challenger, arms.champion),
            metrics=metrics,
            from_ms=from_ms,
            until_ms=until_ms,
            attributes=attributes(self._at.rollout),
        )
        return payloads.read_cells(self._connection, wanted)


def share(rule: Rule, arms: Arms) -> float:
    """Chance of the challenger among the two, by the rule's own cut points."""
    points = widths_of(rule.allocation) if rule.allocation is not None else {}
    both = points.get(arms.challenger, 0) + points.get(arms.champion, 0)
    return points.get(arms.challenger, 0) / both if both else 0.0


def shares_of(spec: ProjectSpec) -> frozenset[str]:
    """Metrics that are shares of decisions, whose differences are points."""
    return frozenset(
        name
        for name, metric in spec.metrics.items()
        if not isinstance(metric, ClassifierMetric) or metric.of not in _RATIOS
    )


def candidate(connection: Connection, at: Place) -> Pinned | None:
    """The version the variant is meant to have: what its alias moved to, once that is prepared,
    else what the table has."""
    variant = at.terms.variant
    pins = state.decode(at.revision.state).pins
    stored = rollouts.candidate(connection, at.revision.project, variant)
    if stored:
        found = pinned.decode(stored)
        pin = pins.get(variant)
        same = found.pin is not None and pin is not None and found.pin.asked == pin.asked
        if same and found.schema == pinned.schema_of(at.table):
            return pinned.decided(found, at.project, variant)
    one = at.variant(variant)
    return None if one is None else Pinned(one, pins.get(variant), pinned.schema_of(at.table))


def _attempt(rollout: State) -> tuple[int, int]:
    return rollout.attempt, rollout.after_epoch


def _observed(connection: Connection, at: Place, read: Read | None, now_ms: int) -> Observation:
    """What the store knows."""
    champion = at.variant(at.terms.against)
    assert champion is not None
    wanted = candidate(connection, at)
    rule = _rule(at.table, at.terms.rule)
    epoch = rule.epoch if rule is not None else 0
    moved = wanted is not None and wanted.variant.source != _source(at, at.terms.variant)
    applied = at.revision.cause == "apply" and not moved
    counts, judged = Counts(), None
    if read is not None:
        known = read.judging
        counts = Counts(
            decisions=known.decisions.get(epoch, 0),
            outcomes=known.outcomes.get(epoch, 0),
            last_decision_ms=min(known.newest_ms, now_ms) or None,
        )
        judged = _judgement(read, at)
    return Observation(
        champion=version_of(champion),
        candidate=None if wanted is None else version_of(wanted.variant),
        epoch=epoch,
        counts=counts,
        judgement=judged,
        commands=rollouts.unanswered(connection, at.revision.project),
        author=at.revision.actor if applied else "",
        drifting=_drifting(connection, at, now_ms),
    )


def _drifting(connection: Connection, at: Place, now_ms: int) -> str:
    """What drifted in the last stretch of time that is over, where a rollout is to wait for it."""
    wanted = at.project.spec.drift
    if wanted.on_drift != "hold":
        return ""
    since = wanted.newest_over_ms(now_ms)
    found = references.alarms(connection, at.revision.project, since)
    return ", ".join(dict.fromkeys(alarm.name for alarm in found))


def _judgement(read: Read, at: Place) -> Judgement | None:
    if read.verdict is None:
        return None
    return findings.judgement(read.verdict, shares_of(at.project.spec))


def _source(at: Place, variant: str) -> str:
    found = at.variant(variant)
    return "" if found is None else found.source


def _stopped(connection: Connection, at: Place, since_ms: int) -> list[str]:
    """Why gateways send the variant nothing: switches of the controller, and their own acts."""
    targets = (at.revision.project, f"{at.revision.project}/{at.terms.variant}")
    found = [
        _by("kill switch", switch.actor, switch.reason)
        for switch in published.kill_switches(connection, at.revision.project)
        if switch.target in targets
    ]
    return found + [
        _by("gateway", act.actor, act.reason)
        for act in journal_state.overrides_in_force(connection, targets, since_ms)
    ]


def _local(switches: Sequence[Mapping[str, Any]], at: Place) -> list[str]:
    targets = (at.revision.project, f"{at.revision.project}/{at.terms.variant}")
    return [
        _by("gateway", str(switch.get("actor", "")), str(switch.get("reason", "")))
        for switch in switches
        if switch.get("target") in targets
    ]


def _by(what: str, actor: str, reason: str) -> str:
    told = f"{what}, by {actor}" if actor else what
    return f"{told}: {reason}" if reason else told


def _all_serve(workers: Sequence[WorkerReport], name: str, revision: int) -> bool:
    """Whether every gateway worker there is serves this revision, or a later one."""
    return bool(workers) and all(
        name in worker.projects and worker.projects[name].number >= revision for worker in workers
    )


def _refused(workers: Sequence[WorkerReport], at: Place, variant: str) -> str:
    """Why a gateway that has the newest table does not serve a variant; empty where all do."""
    for worker in workers:
        project = worker.projects.get(at.revision.project)
        if project is None or project.number != at.revision.number:
            continue
        report = project.variants.get(variant)
        if report is not None and report.state == "refused":
            return report.reason or f"worker {worker.slot} refused it"
    return ""


def _refusals(workers: Sequence[WorkerReport], at: Place) -> tuple[Refusal, ...]:
    why = _refused(workers, at, at.terms.variant)
    variant = at.variant(at.terms.variant)
    return (Refusal(version_of(variant), why),) if why and variant is not None else ()


def _health(workers: Sequence[WorkerReport], at: Place) -> Health:
    if not workers:
        return Health.UNKNOWN
    return Health.UNHEALTHY if _refused(workers, at, at.terms.against) else Health.HEALTHY


def _rule(table: ProjectTable, name: str) -> Rule | None:
    return next((rule for rule in table.rules if rule.name == name), None)
