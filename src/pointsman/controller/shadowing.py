"""How a shadow answers beside the variant that serves: what people decide on before any unit is
sent to it."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from pointsman.controller.ledger import Ledger
from pointsman.controller.projects import Projects
from pointsman.domain.evidence import FLIPS, PAIRED, Paired, block_of, merge
from pointsman.domain.names import CHAMPION
from pointsman.domain.table import ProjectTable, Rule
from pointsman.judge import labels, pair_view, paired
from pointsman.judge.effect import effect
from pointsman.judge.kinds import Effect, Pairs
from pointsman.judge.labels import ActionCoverage, Labels, Selection
from pointsman.judge.mean import Tuning
from pointsman.judge.pair_view import Agreement, Flip
from pointsman.judge.paired import Worth, transposed
from pointsman.spec import canonical
from pointsman.store import overview, revisions

Shown = dict[str, Any]

ALPHA: Final = 0.05
_REVISIONS: Final = 200
"""How far back epochs of the same two versions are looked for."""

_UNUSED: Final = Tuning(1.0)  # pairs are exact: nothing is tuned


class _Met(msgspec.Struct):
    """All pairs of two variants under a rule, as if the first one had always served.

    every: by slice; first: one pair of each unit, of matured blocks
    coverage: of those, labels by the action that was truly served
    """

    every: dict[str, Paired]
    first: Paired
    coverage: ActionCoverage


class Shadowing:
    """Answers `shadow`. Blocking."""

    def __init__(self, ledger: Ledger, projects: Projects) -> None:
        self._ledger = ledger
        self._projects = projects

    def compare(self, name: str) -> Shown:
        """Every two variants of a project that answer the same requests, in their present versions.

        Flips, shifts and agreement are of all pairs; what is said of labels is of the first pair of
        each unit, once its label has had the time it is given.
        Errors: NOT_FOUND for a project that is not there.
        """
        revision = self._projects.current(name)
        table = self._projects.table(revision)
        outcomes = canonical.parse(revision.spec).spec.outcomes
        horizon_ms = outcomes.label.horizon if outcomes.label else 0
        matured_ms = block_of(self._ledger.now_ms() - horizon_ms)
        comparisons = []
        with self._ledger.reading() as connection:
            past = revisions.history(connection, name, _REVISIONS)
            tables = [table, *(self._projects.table(r) for r in past if r.number < revision.number)]
            for rule in table.rules:
                for one, two in _watched(rule):
                    epochs = _epochs(tables, rule.name, one, two)
                    met = _met(connection, name, rule.name, epochs, (one, two), matured_ms, table)
                    comparisons.append(_comparison(table, rule, (one, two), epochs, met))
        return {"project": name, "matured_until_ms": matured_ms, "comparisons": comparisons}


def _watched(rule: Rule) -> list[tuple[str, str]]:
    """Variants that can be paired under a rule, each two once, the champion first."""
    serving = [rule.use] if rule.allocation is None else sorted(set(rule.allocation.arms))
    if rule.holdout and CHAMPION not in serving:
        serving.append(CHAMPION)
    found: dict[frozenset[str], tuple[str, str]] = {}
    for shadow in rule.shadows:
        for served in serving:
            if served != shadow.variant and shadow.cut:
                turned = shadow.variant == CHAMPION
                two = (shadow.variant, served) if turned else (served, shadow.variant)
                found.setdefault(frozenset(two), two)
    return list(found.values())


def _epochs(tables: Iterable[ProjectTable], rule: str, one: str, two: str) -> list[int]:
    """Epochs of the rule in which both variants were what they are in the first of the tables."""
    epochs: dict[int, None] = {}
    present: tuple[object, ...] | None = None
    for table in tables:
        variants = {variant.name: variant for variant in table.variants}
        pair = (variants.get(one), variants.get(two), table.classes)
        present = present or pair
        if pair == present:
            epochs |= {r.epoch: None for r in table.rules if r.name == rule}
    return sorted(epochs)


def _met(  # noqa: PLR0913, PLR0917 - each names a part of what is asked for
    connection: Connection,
    project: str,
    rule: str,
    epochs: list[int],
    two: tuple[str, str],
    matured_ms: int,
    table: ProjectTable,
) -> _Met:
    classes = len(table.classes)
    every: dict[str, Paired] = defaultdict(lambda: Paired(classes))
    met = _Met(every, Paired(classes), ActionCoverage())
    every[""] = Paired(classes)
    for served, shadow in (two, two[::-1]):
        for cell in overview.pairs(connection, project, rule, epochs, served, shadow):
            if cell.payload.classes != classes:
                continue
            turned = cell.payload if served == two[0] else transposed(cell.payload)
            if cell.family == FLIPS:
                every[cell.slice] = _sum(every[cell.slice], turned)
            elif not cell.slice and cell.block_ms < matured_ms:
                assert cell.family == PAIRED
                met.first = _sum(met.first, turned)
                met.coverage = labels.merge(met.coverage, labels.coverage_of(cell.payload))
    return met


def _comparison(
    table: ProjectTable, rule: Rule, two: tuple[str, str], epochs: list[int], met: _Met
) -> Shown:
    variants = {variant.name: variant for variant in table.variants}
    served, shadow = (variants[name] for name in two)
    view = pair_view.view(met.every)
    may_deny = bool(served.deny or shadow.deny)
    found = labels.selection(met.coverage, may_deny=may_deny)
    positive = table.classes.index(table.positive) if table.positive else None
    return {
        "rule": rule.name,
        "served": served.name,
        "served_version": served.version,
        "shadow": shadow.name,
        "shadow_version": shadow.version,
        "epochs": epochs,
        "classes": list(table.classes),
        "matrix": [list(row) for row in view.matrix],
        "flips": [_flip(flip, table.classes, found) for flip in view.flips],
        "agreement": msgspec.to_builtins(view.agreement),
        "newly_denied": view.newly_denied,
        "newly_allowed": view.newly_allowed,
        "shift": msgspec.to_builtins(view.shift),
        "distance": view.distance,
        "failed": view.failed,
        "slices": [_slice(name, part) for name, part in view.slices.items()],
        "labels": {"state": found.labels.value, "text": found.text},
        "paired": [
            _claim(Pairs(met.first, worth, met.coverage, may_deny))
            for worth in _worths(len(table.classes), positive)
        ],
    }


def _worths(classes: int, positive: int | None) -> list[Worth]:
    found = [paired.accuracy(classes)]
    return found if positive is None else [*found, paired.recall(classes, positive)]


def _claim(evidence: Pairs) -> Shown:
    """What the shadow gains by a metric, with an interval for every look; or why nothing is said.

    The interval's ends have half of alpha each.
    """
    name = evidence.worth.name
    gained = paired.gains(evidence.pairs, evidence.worth)
    found = effect(evidence, _UNUSED, ALPHA / 2, relative=False)
    if not isinstance(found, Effect):
        return {"metric": name, "n": found.n[0], "missing": found.why, "refused": found.selective}
    counts = dict(zip(gained.values, gained.counts, strict=True))
    verdict = "not shown"
    if found.lower > 0.0:
        verdict = "better"
    elif found.upper < 0.0:
        verdict = "worse"
    wins, losses = counts.get(1.0, 0), counts.get(-1.0, 0)
    return {
        "metric": name,
        "n": found.n[0],
        "served": found.champion,
        "shadow": found.challenger,
        "wins": wins,
        "losses": losses,
        "value": found.estimate,
        "low": found.lower,
        "high": found.upper,
        "alpha": ALPHA,
        "log_e": _finite(paired.log_e_above(gained, 0.0), paired.log_e_below(gained, 0.0)),
        "verdict": verdict,
        "method": found.method,
    }


def _finite(*logs: float) -> float | None:
    """The larger ln e-value of both sides; None where it has no bound, which JSON cannot say."""
    largest = max(logs)
    return largest if math.isfinite(largest) else None


def _flip(flip: Flip, classes: tuple[str, ...], found: Selection) -> Shown:
    """Who was right is a claim by labels, which are not claimed by where they are not open."""
    told = found.labels is Labels.OPEN
    return {
        "served": classes[flip.served],
        "shadow": classes[flip.shadow],
        "count": flip.count,
        "labelled": flip.labelled,
        "served_right": flip.served_right if told else None,
        "shadow_right": flip.shadow_right if told else None,
    }


def _slice(name: str, part: Agreement) -> Shown:
    shown: Mapping[str, Any] = msgspec.to_builtins(part)
    return {"slice": name, **shown}


def _sum(a: Paired, b: Paired) -> Paired:
    total = merge(a, b)
    assert isinstance(total, Paired)
    return total
