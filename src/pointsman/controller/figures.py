"""What can be said of one variant from what has been counted: figures with intervals and n."""

from collections.abc import Mapping, Sequence
from typing import Any

from pointsman.domain import evidence
from pointsman.domain.evidence import Confusion, LatencyHistogram, Moments, Payload, ScoreHistogram
from pointsman.domain.table import ProjectTable
from pointsman.judge.classifier import Labelled, classifier_metric
from pointsman.judge.figure import Answer, Figure, Interval, NoData
from pointsman.judge.sequential import mean, proportion, quantile, share_above
from pointsman.spec.models import ClassifierMetric, DecisionMetric, Project
from pointsman.spec.scalars import parse_duration
from pointsman.store.overview import Line

Shown = dict[str, Any]


def of_variant(
    project: Project,
    table: ProjectTable,
    lines: Sequence[Line],
    payloads: Mapping[str, Payload],
    name: str,
) -> dict[str, Shown]:
    """Every figure of one variant, by metric: those every project has, then those it declares.

    lines: all traffic of the project; payloads: of what this variant's version served
    """
    served = [line for line in lines if line.served == name]
    assigned = [line for line in lines if line.assigned == name]
    labelled = _labelled(table, payloads)
    found: dict[str, Answer] = {"accuracy": classifier_metric("accuracy", labelled)}
    if table.positive:
        found |= {of: classifier_metric(of, labelled) for of in ("recall", "precision", "auc")}
    found["log_loss"] = classifier_metric("log_loss", labelled)
    found["denied"] = _denied(served)
    found["errors"] = _errors(assigned)
    latencies = payloads.get(evidence.LATENCY)
    latency = latencies if isinstance(latencies, LatencyHistogram) else LatencyHistogram()
    found["latency_us_p50"] = quantile(latency, 0.5)
    found["latency_us_p99"] = quantile(latency, 0.99)
    rewards = payloads.get(evidence.REWARD)
    if isinstance(rewards, Moments):
        found["reward"] = mean(rewards)
    for metric, declared in project.spec.metrics.items():
        if isinstance(declared, ClassifierMetric):
            found[metric] = classifier_metric(declared.of, labelled)
        elif isinstance(declared, DecisionMetric):
            found[metric] = _denied(served)
        elif declared.event == "error":
            found[metric] = _errors(assigned)
        else:
            limit_ms = parse_duration(declared.event.removeprefix("latency > "))
            found[metric] = share_above(latency, limit_ms * 1000)
    return {metric: shown(answer) for metric, answer in found.items()}


def coverage(lines: Sequence[Line], name: str) -> Shown:
    """The share of a variant's answers whose label is known."""
    served = [line for line in lines if line.served == name]
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


def _denied(served: Sequence[Line]) -> Answer:
    decided = [line for line in served if line.action]
    denied = sum(line.decisions for line in decided if line.action == "deny")
    return proportion(denied, sum(line.decisions for line in decided))


def _errors(assigned: Sequence[Line]) -> Answer:
    """Decisions the variant was assigned to and did not answer. `:decide` asks for no answer."""
    asked = [line for line in assigned if line.action or line.served != line.assigned]
    failed = sum(line.decisions for line in asked if line.served != line.assigned)
    return proportion(failed, sum(line.decisions for line in asked))
