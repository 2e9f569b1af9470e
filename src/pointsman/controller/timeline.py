"""What happened to a project and when: who answered, who should have, what was done."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from pointsman.controller.ledger import Ledger
from pointsman.controller.projects import Projects
from pointsman.controller.status import happened, targets
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import ProjectTable, Rule
from pointsman.spec import canonical
from pointsman.store import audit, looks, overview, pulses, revisions, switches
from pointsman.store.pulses import COARSE_S, FINE_S, KEPT_MS, Pulse

Shown = dict[str, Any]

HOUR_MS: Final = 3_600_000
_MOST_POINTS: Final = 400
_MOST_EVENTS: Final = 500
_LONGEST_MS: Final = 400 * 24 * HOUR_MS
_REVISIONS: Final = 1_000


class Timelines:
    """Answers `timeline` and `looks`. Blocking."""

    def __init__(self, ledger: Ledger, projects: Projects) -> None:
        self._ledger = ledger
        self._projects = projects
        self._targets: dict[str, dict[str, dict[str, float]]] = {}

    def of(self, name: str, from_ms: int | None = None, until_ms: int = 0) -> Shown:
        """Traffic by stretches of time, the shares it should have had, and what was done.

        from_ms, until_ms: Unix milliseconds; None = an hour before the end, 0 = now
        Traffic is in columns: `starts` of the stretches, and for each rule and variant as many
        numbers: `decisions` by who served and by who was assigned, `denied` and mean `latency_us`
        of what was served.
        Errors: INVALID for a range that ends before it begins or is longer than 400 days;
        NOT_FOUND for a project that is not there.
        """
        until = until_ms or self._ledger.now_ms()
        from_ms = until - HOUR_MS if from_ms is None else from_ms
        if not 0 < until - from_ms <= _LONGEST_MS:
            raise PointsmanError(
                Kind.INVALID,
                f"from_ms {from_ms} and until_ms {until} are no range of up to 400 days",
                hint="Unix milliseconds; until_ms may be left out for now",
            )
        current = self._projects.current(name)
        with self._ledger.reading() as connection:
            step_ms, found = self._traffic(connection, name, from_ms, until)
            past = revisions.history(connection, name, _REVISIONS)
            events = happened(
                [
                    entry
                    for entry in audit.entries(connection, target=name, limit=_MOST_EVENTS)
                    if from_ms <= entry.at_ms < until
                ],
                [
                    one
                    for one in switches.told(connection, name, _MOST_EVENTS)
                    if from_ms <= one.at_ms < until
                ],
            )
        since = [one for one in past if one.at_ms < until]
        begin = next((i for i, one in enumerate(since) if one.at_ms <= from_ms), len(since) - 1)
        return {
            "project": name,
            "from_ms": from_ms,
            "until_ms": until,
            "step_ms": step_ms,
            **_columns(found, from_ms, until, step_ms),
            "rule": _main_rule(self._projects.table(current), _rollout_rule(current.spec)),
            "targets": [
                {"at_ms": one.at_ms, "number": one.number, "rules": self._shares(one)}
                for one in reversed(since[: begin + 1])
            ],
            "events": events[::-1],
        }

    def looks(self, name: str, attempt: int = 0) -> Shown:
        """How each criterion of a rollout stood over time. attempt: 0 = the newest with any."""
        self._projects.current(name)
        with self._ledger.reading() as connection:
            attempts = looks.attempts(connection, name)
            wanted = attempt or (attempts[0] if attempts else 0)
            found = looks.read(connection, name, wanted)
        series: dict[tuple[str, str, str], list[looks.Look]] = defaultdict(list)
        for one in found:
            series[one.role, one.metric, one.slice].append(one)
        return {
            "project": name,
            "attempt": wanted,
            "attempts": attempts,
            "criteria": [
                {
                    "role": role,
                    "metric": metric,
                    "slice": name_,
                    "unit": mine[-1].unit,
                    **{
                        field: [getattr(one, field) for one in mine]
                        for field in (
                            "at_ms", "verdict", "value", "low", "high", "bound", "n", "n_champion",
                        )
                    },
                }
                for (role, metric, name_), mine in series.items()
            ],
        }  # fmt: skip

    def _traffic(
        self, connection: Connection, name: str, from_ms: int, until: int
    ) -> tuple[int, Sequence[Pulse]]:
        """The finest stretches that go back so far and are not too many, in ms, and their sums."""
        length, age = until - from_ms, self._ledger.now_ms() - from_ms
        for step_s in (FINE_S, COARSE_S):
            if age <= KEPT_MS[step_s] and length / (step_s * 1000) <= _MOST_POINTS * 12:
                times = max(-(-length // (step_s * 1000 * _MOST_POINTS)), 1)
                start = from_ms - from_ms % (step_s * 1000)
                return step_s * 1000 * times, pulses.read(connection, name, step_s, start, until)
        times = max(-(-length // (HOUR_MS * _MOST_POINTS)), 1)
        return HOUR_MS * times, overview.hours(connection, name, from_ms, until)

    def _shares(self, revision: revisions.Revision) -> dict[str, dict[str, float]]:
        """Target share of each variant by rule; a table never changes, so it is read once."""
        known = self._targets.get(revision.table_digest)
        if known is None:
            rules = self._projects.table(revision).rules if revision.cause != "delete" else ()
            known = {rule.name: targets(rule) for rule in rules}
            if len(self._targets) >= _REVISIONS:
                self._targets.pop(next(iter(self._targets)), None)
            self._targets[revision.table_digest] = known
        return known


def _columns(found: Iterable[Pulse], from_ms: int, until: int, step_ms: int) -> Shown:
    """The sums in columns, by rule and by variant, with zeros where nothing was."""
    first = from_ms - from_ms % step_ms
    count = max(-(-(until - first) // step_ms), 1)
    rules: dict[str, dict[str, dict[str, list[int]]]] = {}

    def column(rule: str, variant: str, kind: str) -> list[int]:
        return rules.setdefault(rule, {}).setdefault(variant, {}).setdefault(kind, [0] * count)

    for one in found:
        at = (one.at_ms - first) // step_ms
        if not 0 <= at < count:
            continue
        column(one.rule, one.assigned, "assigned")[at] += one.decisions
        if one.served:
            column(one.rule, one.served, "served")[at] += one.decisions
            column(one.rule, one.served, "denied")[at] += one.denied
            column(one.rule, one.served, "latency_us")[at] += one.latency_us
    for variants in rules.values():
        for columns in variants.values():
            for kind in ("assigned", "served", "denied", "latency_us"):
                columns.setdefault(kind, [0] * count)
            served = columns["served"]
            columns["latency_us"] = [
                round(total / n) if n else 0
                for total, n in zip(columns["latency_us"], served, strict=True)
            ]
    return {"starts": [first + step_ms * at for at in range(count)], "rules": rules}


def _rollout_rule(spec: bytes) -> str:
    rollout = canonical.parse(spec).spec.rollout
    return "" if rollout is None else rollout.rule


def _main_rule(table: ProjectTable, wanted: str) -> str:
    """The rule a picture of the split begins with: the rollout's, else the last one that splits."""
    splits: list[Rule] = [rule for rule in table.rules if rule.allocation is not None]
    if any(rule.name == wanted for rule in table.rules):
        return wanted
    return (splits or list(table.rules))[-1].name
