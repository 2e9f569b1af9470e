"""Looks for what is wrong with projects and with the installation, from what is known already.

No evidence is read for it: what judging has read last is used again. What could not be looked at
is said to be unseen, so that its alerts stay as they are.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import msgspec
import structlog
from sqlalchemy import Connection

from pointsman.alerts import of_serving, of_traffic
from pointsman.alerts.condition import Condition
from pointsman.alerts.machine import Sight
from pointsman.alerts.of_drift import Drifted, drifted
from pointsman.alerts.of_evidence import Judged, of_evidence
from pointsman.alerts.of_rollout import Growing, of_rollout
from pointsman.alerts.of_serving import Behind, Switch, Worker
from pointsman.alerts.of_traffic import Answered
from pointsman.alerts.policy import Policy
from pointsman.controller.ledger import Ledger
from pointsman.controller.rollcall import RollCall, WorkerReport
from pointsman.controller.watch import JUDGED, Watch, shares_of
from pointsman.domain.alert import INSTALLATION, OF_PROJECTS, Kind
from pointsman.rollout.machine import Event
from pointsman.rollout.plan import SetAlias
from pointsman.spec.models import Project
from pointsman.store import audit, outbox, overview, published, pulses, references, rollouts
from pointsman.store import switches as local_switches
from pointsman.store.revisions import Revision

_log = structlog.get_logger(__name__)

_EVIDENCE: Final = frozenset({Kind.SAMPLE_RATIO, Kind.LABEL_COVERAGE, Kind.SELECTIVE_LABELS})
_MINUTE_MS: Final = 60_000
_TRIES: Final = 2
"""Once, an alias may fail to move because of a restart; that is no news."""

_Look = Callable[[Connection], Iterable[Condition]]


class Place(msgspec.Struct, frozen=True):
    """A project as it is looked at."""

    revision: Revision
    project: Project
    policy: Policy

    @property
    def name(self) -> str:
        return self.revision.project


class Machinery(msgspec.Struct, frozen=True):
    """What is known of the installation.

    behind: how ingestion stands; failing: by loop; registries: what each last failed with, by name
    """

    behind: Callable[[], Behind]
    failing: Callable[[], Mapping[str, str]]
    registries: Callable[[], Mapping[str, str]]


class Lookout:
    """Blocking; changes nothing."""

    def __init__(
        self, ledger: Ledger, watch: Watch, workers: RollCall, machinery: Machinery
    ) -> None:
        self._ledger = ledger
        self._watch = watch
        self._workers = workers
        self._machinery = machinery

    def project(self, at: Place, now_ms: int) -> Sight:
        """Everything that is wrong with one project now."""
        with self._ledger.reading() as connection:
            looks: dict[frozenset[Kind], _Look] = {
                frozenset({Kind.ROLLED_BACK, Kind.MISSING_DATA, Kind.STUCK}): lambda tx: (
                    self._rollout(tx, at, now_ms)
                ),
                frozenset({Kind.FALLBACK, Kind.VARIANT_ERRORS}): lambda tx: _answered(
                    tx, at, now_ms
                ),
                frozenset({Kind.UNDECIDED}): lambda tx: _undecided(tx, at, now_ms),
                frozenset({Kind.VARIANT_OUT, Kind.KILLED}): lambda tx: self._switches(tx, at),
                frozenset({Kind.NOT_SERVED}): lambda _: self._served(at),
                frozenset({Kind.WRITE_BACK}): lambda tx: _write_back(tx, at, now_ms),
                frozenset({Kind.DRIFT}): lambda tx: _drifted(tx, at, now_ms),
            }
            sights = [_look(at.name, kinds, look, connection) for kinds, look in looks.items()]
            sights.append(self._evidence(connection, at, now_ms))
        return _together(sights)

    def installation(self, policy: Policy, now_ms: int) -> Sight:
        """Everything that is wrong with what serves all projects."""
        known = self._machinery
        looks: dict[frozenset[Kind], Callable[[], Iterable[Condition]]] = {
            frozenset({Kind.REGISTRY}): lambda: of_serving.registries(known.registries()),
            frozenset({Kind.JOURNAL}): lambda: of_serving.journal(known.behind()),
            frozenset({Kind.INGEST_LAG}): lambda: of_serving.lag(
                known.behind(), policy.rules[Kind.INGEST_LAG], now_ms
            ),
            frozenset({Kind.BACKGROUND}): lambda: of_serving.background(known.failing()),
        }
        return _together(_look("", kinds, look) for kinds, look in looks.items())

    def _rollout(self, connection: Connection, at: Place, now_ms: int) -> Iterator[Condition]:
        rollout = at.project.spec.rollout
        state = None if rollout is None else rollouts.state(connection, at.name)
        if rollout is None or state is None:
            return
        shares = shares_of(at.project.spec)
        growing = Growing(
            at.name, rollout.variant, rollout.against, state, rollout.guardrails, shares
        )
        yield from of_rollout(growing, at.policy.rules, now_ms)

    def _evidence(self, connection: Connection, at: Place, now_ms: int) -> Sight:
        """As judging has seen it last; unseen until it has looked since this process began."""
        rollout = at.project.spec.rollout
        state = None if rollout is None else rollouts.state(connection, at.name)
        if rollout is None or state is None or state.phase not in JUDGED:
            return Sight()
        read = self._watch.last_read(at.name, state, math.inf)
        if read is None or read.verdict is None:
            return Sight(unseen=_EVIDENCE)
        begun = [
            one.at_ms
            for one in state.history
            if one.event is Event.STARTED and one.attempt == state.attempt
        ]
        judged = Judged(
            at.name,
            rollout.variant,
            read.verdict.reasons,
            read.sound,
            tuple(read.judging.actions.values()),
            # By the minute: what changes with every look is no news.
            (now_ms - begun[0]) // _MINUTE_MS * _MINUTE_MS if begun else None,
        )
        return _look(at.name, _EVIDENCE, lambda: of_evidence(judged))

    def _switches(self, connection: Connection, at: Place) -> Iterator[Condition]:
        set_here = published.kill_switches(connection, at.name)
        found = [Switch(one.target, one.actor, one.reason, one.at_ms) for one in set_here]
        if self._workers.workers():
            found += [
                Switch(
                    str(one.get("target", "")),
                    str(one.get("actor", "")),
                    str(one.get("reason", "")),
                    int(one.get("at_ms", 0)),
                )
                for one in self._workers.local_switches(at.name)
            ]
        else:  # gateways run elsewhere, and only their journals can say it
            told = local_switches.in_force(local_switches.told(connection, at.name))
            found += [Switch(one.target, one.actor, one.reason, one.at_ms) for one in told]
        yield from of_serving.switches(at.name, found)

    def _served(self, at: Place) -> Iterator[Condition]:
        workers = [_worker(one, at.revision) for one in self._workers.workers()]
        yield from of_serving.not_served(at.name, workers)


def _answered(connection: Connection, at: Place, now_ms: int) -> Iterator[Condition]:
    rules = at.policy.rules
    for kind, judge in (
        (Kind.FALLBACK, of_traffic.fallbacks),
        (Kind.VARIANT_ERRORS, of_traffic.variant_errors),
    ):
        rule = rules[kind]
        counts = pulses.answered(connection, at.name, now_ms - rule.window_ms, now_ms)
        yield from judge(at.name, [Answered(*one) for one in counts], rule)


def _undecided(connection: Connection, at: Place, now_ms: int) -> Iterator[Condition]:
    rule = at.policy.rules[Kind.UNDECIDED]
    reasons = overview.reasons(connection, at.name, now_ms - rule.window_ms)
    yield from of_traffic.undecided(at.name, reasons, rule)


def _write_back(connection: Connection, at: Place, now_ms: int) -> Iterator[Condition]:
    """What waits for its next try, and what was given up within the window."""
    for entry in outbox.left(connection, at.name):
        if isinstance(entry.task, SetAlias) and entry.error and entry.tries >= _TRIES:
            yield of_serving.write_back(at.name, entry.task.alias, entry.error, final=False)
    rollout = at.project.spec.rollout
    if rollout is None or rollout.on_success is None:
        return
    window_ms = at.policy.rules[Kind.WRITE_BACK].window_ms
    told = audit.newest_of(connection, at.name, "rollout.alias")
    error = str(told.payload.get("error", "")) if told is not None else ""
    if told is not None and error and now_ms - told.at_ms < window_ms:
        alias = str(told.payload.get("alias", ""))
        yield of_serving.write_back(at.name, alias, error, final=True)


def _drifted(connection: Connection, at: Place, now_ms: int) -> Iterator[Condition]:
    """What people were told of the newest hour or day that is over."""
    wanted = at.project.spec.drift
    found = [
        Drifted(one.name, one.psi, one.bound, one.n, one.sentence)
        for one in references.alarms(connection, at.name, wanted.newest_over_ms(now_ms))
    ]
    yield from drifted(at.name, found, wanted.window_s * 1000, holds=wanted.on_drift == "hold")


def _worker(report: WorkerReport, revision: Revision) -> Worker:
    known = report.projects.get(revision.project)
    if known is None:
        return Worker(report.slot, current=False, problem=report.problem)
    refused = {
        name: variant.reason
        for name, variant in known.variants.items()
        if variant.state == "refused"
    }
    current = known.digest == revision.table_digest
    return Worker(report.slot, current, known.problem or report.problem, refused)


def _look(
    name: str,
    kinds: frozenset[Kind],
    look: Callable[..., Iterable[Condition]],
    *given: Connection,
) -> Sight:
    try:
        return Sight(tuple(look(*given)))
    except Exception as error:  # noqa: BLE001 - whatever it is, the other alerts must be seen to
        what = f"{type(error).__name__}: {error}"
        _log.warning("not looked at", project=name, alerts=sorted(kinds), error=what)
        return Sight(unseen=kinds)


def _together(sights: Iterable[Sight]) -> Sight:
    conditions: tuple[Condition, ...] = ()
    unseen: frozenset[Kind] = frozenset()
    for one in sights:
        conditions += one.conditions
        unseen |= one.unseen
    return Sight(conditions, unseen)


NOTHING_SEEN: Final = Sight(unseen=frozenset(OF_PROJECTS) | INSTALLATION)
"""A look that could not be made at all."""
