"""How a project stands: what should be beside what is, and how each variant does."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from pointsman.controller import figures
from pointsman.controller.catalog import other_events
from pointsman.controller.ledger import Ledger
from pointsman.controller.projects import Projects
from pointsman.controller.reuse import Reused
from pointsman.controller.rollcall import RollCall
from pointsman.decide.allocation import shares
from pointsman.domain import artifact, evidence
from pointsman.domain.decision import Reason
from pointsman.domain.errors import PointsmanError
from pointsman.domain.evidence import Payload
from pointsman.domain.names import CHAMPION
from pointsman.domain.table import SPACE, ProjectTable, Rule, Runtime, Variant
from pointsman.runtime.blobs import BlobStore
from pointsman.spec import canonical
from pointsman.spec.models import Project
from pointsman.store import audit, overview, proposals, published, pulses, revisions
from pointsman.store import switches as local_switches
from pointsman.store.overview import Line
from pointsman.store.revisions import Revision

Shown = dict[str, Any]
Arms = Mapping[str, Mapping[str, Payload]]

SPLIT_TRAFFIC: Final = "what the split drew in the rule's present epoch, by variant assigned"
ALL_TRAFFIC: Final = "all traffic of the present version, whatever the rule: not to compare by"
"""What figures are of; for people."""

LATELY_MS: Final = 300_000
"""Traffic of the past five minutes is what a list of projects calls actual."""
_DAY_MS: Final = 86_400_000


class Statuses:
    """Answers `status`, `list` and `history`. Blocking.

    troubles: what concerns whoever looks at any project, in sentences
    """

    def __init__(
        self,
        ledger: Ledger,
        projects: Projects,
        workers: RollCall,
        blobs: BlobStore,
        troubles: Callable[[], list[str]],
    ) -> None:
        self._ledger = ledger
        self._projects = projects
        self._workers = workers
        self._blobs = blobs
        self._troubles = troubles
        self._evidence: Reused[tuple[str, str, int, int, tuple[str, ...]], Arms] = Reused()

    def status(self, name: str, since_ms: int = 0) -> Shown:
        """Everything about one project. since_ms: figures from that hour on, 0 = all there is"""
        revision = self._projects.current(name)
        table = self._projects.table(revision)
        project = canonical.parse(revision.spec)
        also = tuple(evidence.member(evidence.FIRST, e.name) for e in other_events(project))
        with self._ledger.reading() as connection:
            lines = overview.lines(connection, name, since_ms)
            gauges = overview.gauges(connection, name, since_ms)
            drawn = {
                rule.name: self._drawn(connection, name, rule, since_ms, also)
                for rule in table.rules
                if rule.allocation is not None
            }
            switches = published.kill_switches(connection, name)
            newest = published.latest(connection)
            told = audit.changes(connection, name)
            proposed = proposals.of_project(connection, name, "open")
            by_gateways = local_switches.told(connection, name)
            lately = overview.reasons(connection, name, self._ledger.now_ms() - _DAY_MS)
        loaded = self._workers.loaded(name)
        shown = [{**msgspec.to_builtins(switch), "where": "controller"} for switch in switches]
        if loaded:
            shown += self._workers.local_switches(name)
        else:  # they run elsewhere, and only their journals can say it
            shown += [_at_a_gateway(one) for one in local_switches.in_force(by_gateways)]
        killed = [switch["target"] for switch in shown]
        return {
            "project": name,
            "phase": phase(revision, loaded, killed),
            "number": revision.number,
            "revision": revision.digest,
            "changed_ms": revision.at_ms,
            "actor": revision.actor,
            "sentence": told[0].sentence if told else "",
            "table": {
                "version": newest.version if newest else 0,
                "digest": revision.table_digest,
                "workers": loaded,
            },
            "troubles": [*self._troubles(), *_undecided(lately)],
            "reasons_24h": lately,
            "kill_switches": shown,
            "proposals": [msgspec.to_builtins(found) for found in proposed],
            "rules": [
                _with_figures(project, table, rule_shares(rule, lines), drawn.get(rule.name))
                for rule in table.rules
            ],
            "variants": [
                {
                    **self._runtime(variant),
                    "decisions": sum(line.decisions for line in figures.served_by(lines, variant)),
                    "labels": figures.coverage(lines, variant),
                    "figures_of": ALL_TRAFFIC,
                    "figures": figures.of_variant(
                        project,
                        table,
                        lines,
                        gauges.get((variant.name, variant.version), {}),
                        variant,
                    ),
                }
                for variant in table.variants
            ],
        }

    def overview(self, tenant: str) -> list[Shown]:
        """One line for each project of a tenant (all tenants where it is empty)."""
        with self._ledger.reading() as connection:
            found = revisions.active(connection, tenant)
            switches = [switch.target for switch in published.kill_switches(connection)]
            lately = pulses.recent(connection, self._ledger.now_ms() - LATELY_MS)
            told = {r.project: audit.changes(connection, r.project) for r in found}
        rows = []
        for revision in found:
            name = revision.project
            killed = [*switches, *(s["target"] for s in self._workers.local_switches(name))]
            table, last = self._projects.table(revision), next(iter(told[name]), None)
            rows.append(
                {
                    "project": name,
                    "number": revision.number,
                    "revision": revision.digest,
                    "phase": phase(revision, self._workers.loaded(name), killed),
                    "shares": _short(table),
                    "target": targets(table.rules[-1]),
                    "actual": _parts(lately.get(name, {})),
                    "sentence": last.sentence if last else "",
                    "at_ms": last.at_ms if last else revision.at_ms,
                    "actor": last.actor if last else revision.actor,
                }
            )
        return rows

    def history(self, name: str, limit: int) -> Shown:
        """Revisions, and everything that happened to a project, newest first."""
        with self._ledger.reading() as connection:
            entries = audit.entries(connection, target=name, limit=limit)
            by_gateways = local_switches.told(connection, name, limit)
            found = revisions.history(connection, name, limit)
        return {
            "project": name,
            "entries": happened(entries, by_gateways)[:limit],
            "revisions": [
                {
                    "number": revision.number,
                    "revision": revision.digest,
                    "cause": revision.cause,
                    "restores": revision.restores,
                    "at_ms": revision.at_ms,
                    "actor": revision.actor,
                    "reason": revision.reason,
                }
                for revision in found
            ],
        }

    def _drawn(
        self,
        connection: Connection,
        project: str,
        rule: Rule,
        since_ms: int,
        also: tuple[str, ...],
    ) -> Arms:
        """Evidence of a rule's present epoch by variant, which takes long to read of a long one."""
        asked = (project, rule.name, rule.epoch, since_ms, also)
        return self._evidence.get(asked, lambda: overview.arms(connection, *asked))

    def _runtime(self, variant: Variant) -> Shown:
        body: Shown = {
            "name": variant.name,
            "version": variant.version,
            "source": variant.source,
            "runtime": variant.runtime.value,
            "threshold": variant.threshold,
            "runtime_reason": "",
            "parity": None,
        }
        if variant.runtime is Runtime.CONSTANT:
            return body | {"runtime_reason": f"always answers {variant.constant}"}
        try:
            manifest = artifact.decode(self._blobs.read(variant.artifact))
        except (PointsmanError, msgspec.DecodeError) as error:
            return body | {"runtime_reason": f"its artifact cannot be read: {error}"}
        return body | {
            "runtime_reason": manifest.reason,
            "flavor": manifest.flavor,
            "parity": None if manifest.parity is None else msgspec.to_builtins(manifest.parity),
        }


def _parts(counts: Mapping[str, int]) -> dict[str, float] | None:
    """Each one's part of all; None of nothing."""
    total = sum(counts.values())
    return {name: n / total for name, n in counts.items()} if total else None


def phase(revision: Revision, loaded: Sequence[Mapping[str, Any]], killed: Sequence[str]) -> str:
    """`killed`, `degraded` (a worker refused the table), `updating`, `serving`; `published` where
    no gateway has reported here."""
    if revision.project in killed:
        return "killed"
    if any(worker["problem"] and worker["digest"] != revision.table_digest for worker in loaded):
        return "degraded"
    if not loaded:
        return "published"
    current = all(worker["digest"] == revision.table_digest for worker in loaded)
    return "serving" if current else "updating"


def happened(entries: Sequence[audit.Logged], told: Sequence[local_switches.Told]) -> list[Shown]:
    """What was changed here, and what gateways did by themselves, newest first."""
    found: list[Shown] = [
        {
            "at_ms": entry.at_ms,
            "action": entry.action,
            "sentence": entry.sentence,
            "actor": entry.actor,
            "payload": entry.payload,
        }
        for entry in entries
    ]
    found += [
        {
            "at_ms": one.at_ms,
            "action": "gateway.kill" if one.set else "gateway.unkill",
            "sentence": local_switches.sentence(one),
            "actor": one.actor,
            "payload": {"target": one.target, "reason": one.reason, "stream": one.stream},
        }
        for one in told
    ]
    # Sorting is stable: what the audit log has in order stays so.
    return sorted(found, key=lambda entry: -int(entry["at_ms"]))


def _undecided(reasons: Mapping[str, int]) -> list[str]:
    """What to say of decisions that no rule could make."""
    count, total = reasons.get(Reason.DEFAULT, 0), sum(reasons.values())
    if not count:
        return []
    said = (
        f"{count:,} of {total:,} decisions of the past 24 hours ({count / total:.1%}) went to the "
        "champion with reason DEFAULT: a condition could not be evaluated, as where the context "
        "lacks what it reads; `pointsman decisions NAME --reason DEFAULT` lists them"
    )
    return [said]


def _at_a_gateway(one: local_switches.Told) -> Shown:
    return {
        "target": one.target,
        "at_ms": one.at_ms,
        "actor": one.actor,
        "reason": one.reason,
        "where": "gateway",
    }


def _with_figures(
    project: Project,
    table: ProjectTable,
    rule: Shown,
    drawn: Arms | None,
) -> Shown:
    """The rule, with figures to compare its variants by where it splits.

    drawn: evidence of its present epoch by variant, None where it does not split
    """
    if drawn is None:
        return rule
    for arm in rule["arms"]:
        if arm["variant"] in drawn:
            arm["figures"] = figures.of_arm(project, table, drawn[arm["variant"]])
    return {**rule, "figures_of": SPLIT_TRAFFIC}


def rule_shares(rule: Rule, lines: Sequence[Line]) -> Shown:
    """Target share beside actual share of each variant, in the rule's present epoch.

    Actual counts whom the rule assigned by its own draw: pins and overrides are not its doing.
    """
    ours = [li for li in lines if li.rule == rule.name and li.epoch == rule.epoch]
    total = sum(li.decisions for li in ours)
    target = targets(rule)
    names = [*target, *dict.fromkeys(li.assigned for li in ours if li.assigned not in target)]
    arms = []
    for name in names:
        count = sum(li.decisions for li in ours if li.assigned == name)
        arms.append(
            {
                "variant": name,
                "target": target.get(name, 0.0),
                "actual": count / total if total else None,
                "decisions": count,
            }
        )
    return {
        "rule": rule.name,
        "when": rule.when,
        "epoch": rule.epoch,
        "decisions": total,
        "holdout": rule.holdout / SPACE if rule.allocation is not None else 0.0,
        "shadows": [{"variant": s.variant, "share": s.cut / SPACE} for s in rule.shadows],
        "arms": arms,
    }


def targets(rule: Rule) -> dict[str, float]:
    """The share of a rule's units each variant should get, the holdout counted to the champion."""
    if rule.allocation is None:
        return {rule.use: 1.0}
    holdout = rule.holdout / SPACE
    found = {name: share * (1.0 - holdout) for name, share in shares(rule.allocation).items()}
    if holdout:
        found[CHAMPION] = found.get(CHAMPION, 0.0) + holdout
    return found


def _short(table: ProjectTable) -> str:
    """The last rule's shares in a few words."""
    last = table.rules[-1]
    return ", ".join(f"{name} {share:.4g}" for name, share in targets(last).items())
