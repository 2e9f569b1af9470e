"""What can be said of one variant from what has been counted: figures with intervals and n."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from pointsman.domain import evidence
from pointsman.domain.events import Event
from pointsman.domain.evidence import Confusion, LatencyHistogram, Moments, Payload, ScoreHistogram
from pointsman.domain.table import ProjectTable, Variant
from pointsman.judge.classifier import Labelled, classifier_metric
from pointsman.judge.figure import Answer, Figure, Interval, NoData
from pointsman.judge.sequential import mean, proportion, quantile, rate, share_above
from pointsman.spec.events import event_of
from pointsman.spec.models import ClassifierMetric, Project
from pointsman.store.overview import Line

Shown = dict[str, Any]

_WITHOUT: Final = ("accuracy", "log_loss")
_WITH_POSITIVE: Final = ("accuracy", "recall", "precision", "auc", "log_loss")
"""What every project is told of its labels, without a positive class and with one."""


def of_variant(
    project: Project,
    table: ProjectTable,
    lines: Sequence[Line],
    payloads: Mapping[str, Payload],
    variant: Variant,
) -> dict[str, Shown]:
    """Every figure of all that one variant did in its present version, whatever the rule, epoch
    and reason: how it does, but nothing to compare variants by.

    lines: all traffic of the project; payloads: of what this variant's version served
    """
    served = served_by(lines, variant)
    assigned = _assigned_to(table, lines, variant)
    return _figures(project, table, payloads, partial(_denied, served), partial(_errors, assigned))


def of_arm(
    project: Project, table: ProjectTable, payloads: Mapping[str, Payload]
) -> dict[str, Shown]:
    """Every figure of one variant of a split, to compare it with the others by.

    payloads: evidence of the rule's present epoch, of what the split assigned to the variant
    """
    return _figures(
        project,
        table,
        payloads,
        partial(_rate, payloads.get(evidence.DENIED)),
        partial(_rate, payloads.get(evidence.ERROR)),
    )


def _figures(
    project: Project,
    table: ProjectTable,
    payloads: Mapping[str, Payload],
    denied: Callable[[], Answer],
    errors: Callable[[], Answer],
) -> dict[str, Shown]:
    """The metrics the project declares, under their own names, then those every project has, as
    far as none that is declared says the same."""
    labelled = _labelled(table, payloads)
    correct = payloads.get(evidence.CORRECT)
    latencies = payloads.get(evidence.LATENCY)
    latency = latencies if isinstance(latencies, LatencyHistogram) else LatencyHistogram()

    def classified(of: str) -> Answer:
        if of == "accuracy" and isinstance(correct, Moments) and any(correct.n):
            return rate(correct)  # knows units, which counts of classes do not
        return classifier_metric(of, labelled)

    counted = {"denied": denied, "error": errors}

    def rest(event: Event) -> Answer:
        if event.kind == "latency":
            return share_above(latency, round(event.limit))
        return _first(payloads, event)

    found: dict[str, Answer] = {}
    said: set[str] = set()
    for metric, declared in project.spec.metrics.items():
        if isinstance(declared, ClassifierMetric):
            found[metric] = classified(declared.of)
            said.add(declared.of)
        else:
            event = event_of(declared.event)
            found[metric] = counted[event.kind]() if event.kind in counted else rest(event)
            said.add("errors" if event.kind == "error" else event.kind)
    usual: dict[str, Callable[[], Answer]] = {
        of: partial(classified, of) for of in (_WITH_POSITIVE if table.positive else _WITHOUT)
    }
    usual["denied"] = denied
    usual["errors"] = errors
    usual["latency_us_p50"] = lambda: quantile(latency, 0.5)
    usual["latency_us_p99"] = lambda: quantile(latency, 0.99)
    rewards = payloads.get(evidence.REWARD)
    if isinstance(rewards, Moments):
        usual["reward"] = partial(mean, rewards)
    for metric, answer in usual.items():
        if metric not in said and metric not in found:
            found[metric] = answer()
    return {metric: shown(answer) for metric, answer in found.items()}


def served_by(lines: Sequence[Line], variant: Variant) -> list[Line]:
    """What a variant answered in its present version: earlier ones were other models."""
    return [
        line for line in lines if line.served == variant.name and line.version == variant.version
    ]


def _assigned_to(table: ProjectTable, lines: Sequence[Line], variant: Variant) -> list[Line]:
    """What was assigned to a variant in its present version.

    A line where it failed does not say which version failed; but within an epoch versions do not
    change, so the rules' present epochs do.
    """
    present = {(rule.name, rule.epoch) for rule in table.rules}
    return [
        line
        for line in lines
        if line.assigned == variant.name and (line.rule, line.epoch) in present
    ]


def coverage(lines: Sequence[Line], variant: Variant) -> Shown:
    """The share of a variant's answers, in its present version, whose label is known."""
    served = served_by(lines, variant)
    decisions = sum(line.decisions for line in served)
    known = sum(line.labelled for line in served)
    return shown(proportion(min(known, decisions), decisions))


def shown(answer: Answer) -> Shown:
    """A figure as JSON values: `value`, `n`, `low`, `high`; or `missing`, why there is none."""
    match answer:
        case NoData():
            return {"missing": answer.reason, "n": answer.n}
        case Figure(interval=Interval() as interval):
            return {
                "value": answer.value,
                "n": answer.n,
                "low": interval.low,
                "high": interval.high,
                "alpha": interval.alpha,
                "method": interval.method,
            }
        case Figure(interval=NoData() as none):
            return {"value": answer.value, "n": answer.n, "no_interval": none.reason}
        case _:
            raise AssertionError(f"unknown answer {answer!r}")


def _labelled(table: ProjectTable, payloads: Mapping[str, Payload]) -> Labelled:
    confusion = payloads.get(evidence.CONFUSION)
    scores = payloads.get(evidence.SCORE)
    loss, brier = payloads.get(evidence.LOG_LOSS), payloads.get(evidence.BRIER)
    return Labelled(
        confusion=confusion if isinstance(confusion, Confusion) else None,
        scores=scores if isinstance(scores, ScoreHistogram) else None,
        log_loss=loss if isinstance(loss, Moments) else None,
        brier=brier if isinstance(brier, Moments) else None,
        positive=table.classes.index(table.positive) if table.positive else None,
    )


def _first(payloads: Mapping[str, Payload], event: Event) -> Answer:
    """The share of units whose first exposure in the present epoch had the event."""
    found = payloads.get(evidence.member(evidence.FIRST, event.name))
    if isinstance(found, Moments):
        return rate(found)
    return NoData("counted only of what a split draws, a unit once an epoch")


def _rate(payload: Payload | None) -> Answer:
    return rate(payload if isinstance(payload, Moments) else Moments())


def _denied(served: Sequence[Line]) -> Answer:
    decided = [line for line in served if line.action]
    denied = sum(line.decisions for line in decided if line.action == "deny")
    return proportion(denied, sum(line.decisions for line in decided))


def _errors(assigned: Sequence[Line]) -> Answer:
    """Decisions the variant was assigned to and did not answer. `:decide` asks for no answer."""
    asked = [line for line in assigned if line.action or line.served != line.assigned]
    failed = sum(line.decisions for line in asked if line.served != line.assigned)
    return proportion(failed, sum(line.decisions for line in asked))
