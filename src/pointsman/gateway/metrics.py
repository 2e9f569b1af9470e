"""What the gateway counts, with its names, labels and help, and `/metrics` made of it."""

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from pointsman.domain.decision import Reason
from pointsman.gateway import gauges
from pointsman.gateway.counters import OVERFLOW, Counters, Key, Labels, merged
from pointsman.gateway.overrides import Switch

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
LATENCY_US: Final = (
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000,
)  # fmt: skip
BATCH_ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)

COUNTERS: Final = {
    "pointsman_requests": "Requests answered, by route and HTTP status.",
    "pointsman_decisions": "Decisions (rows), by the variant that served and the reason.",
    "pointsman_assigned": "Decisions (rows), by the variant that was assigned.",
    "pointsman_denied": "Decisions whose class counts as denied, by the variant that served.",
    "pointsman_variant_errors": "Rows a variant could not answer, whatever answered instead.",
    "pointsman_fallbacks": "Rows answered by a fallback, by the variant that was assigned.",
    "pointsman_unanswered": "Rows that no variant could answer.",
    "pointsman_condition_errors": "Rows decided as DEFAULT because a condition could not be read.",
    "pointsman_feature_problems": "Problems of rows, by feature, problem, answer and the variant "
    "that was assigned; feature is `*` for the row and for what is no feature, variant is empty "
    "where the row was refused.",
    "pointsman_problem_rows": "Rows with a problem, by the variant that was assigned; empty where "
    "the row was refused.",
    "pointsman_unlogged": "Rows answered by the champion and not recorded: the journal failed.",
    "pointsman_abandoned": "Requests whose client left before they were scored; not recorded.",
    "pointsman_shadow": "Rows for shadows, by what became of them.",
    "pointsman_feedback": "Feedback items, by what became of them.",
    "pointsman_journal_records": "Records written to the journal.",
    "pointsman_journal_writes": "Batches of records written to the journal.",
    "pointsman_journal_failures": "Batches the journal did not take.",
    "pointsman_connections_refused": "Connections closed at once: too many were open.",
    "pointsman_client_timeouts": "Connections closed because the client was too slow, by phase.",
    "pointsman_tables_refused": "Project tables that were not taken into use.",
    "pointsman_worker_starts": "How often a worker was started.",
    "pointsman_guard_breaches": "Variants the local guard took out, by the metric that broke.",
    "pointsman_telemetry_dropped": "Spans and events of traces that were lost, by reason.",
    OVERFLOW[0]: "Counts lost to a full counter file; should be 0.",
}
HISTOGRAMS: Final[dict[str, tuple[str, tuple[int, ...], int]]] = {
    # help, upper bounds in whole units, units in one of what the name says
    "pointsman_request_duration_seconds": (
        "From the last byte read to the record being written.",
        LATENCY_US,
        1_000_000,
    ),
    "pointsman_batch_rows": ("Rows a variant was asked at once.", BATCH_ROWS, 1),
    "pointsman_model_duration_seconds": ("One call of a variant.", LATENCY_US, 1_000_000),
}


class Histogram:
    """Bounds and where their words are; `observe` costs two additions."""

    __slots__ = ("_bounds", "_first", "_values")

    def __init__(self, counters: Counters, name: str, labels: Labels) -> None:
        bounds = HISTOGRAMS[name][1]
        self._values = counters.values
        self._bounds = bounds
        places = [
            counters.index(name, (*labels, ("le", str(bound)))) for bound in (*bounds, "+Inf")
        ]
        places.append(counters.index(name, (*labels, ("le", "sum"))))
        self._first = tuple(places)

    def observe(self, value: int) -> None:
        places = self._first
        self._values[places[bisect_left(self._bounds, value)]] += 1
        self._values[places[-1]] += value


class MemberCounters:
    """Indexes of what is counted for each variant, resolved when the table is loaded."""

    __slots__ = ("assigned", "batch", "denied", "duration", "errors", "fallbacks", "reasons")

    def __init__(self, counters: Counters, project: str, variant: str) -> None:
        labels = (("project", project), ("variant", variant))
        self.reasons = {
            reason: counters.index("pointsman_decisions", (*labels, ("reason", reason.value)))
            for reason in Reason
        }
        self.assigned = counters.index("pointsman_assigned", labels)
        self.denied = counters.index("pointsman_denied", labels)
        self.errors = counters.index("pointsman_variant_errors", labels)
        self.fallbacks = counters.index("pointsman_fallbacks", labels)
        self.batch = Histogram(counters, "pointsman_batch_rows", labels)
        self.duration = Histogram(counters, "pointsman_model_duration_seconds", labels)


NAMED_FEATURES: Final = 100
"""Features of a project that have series of their own; problems of the others count as `*`."""


class ProjectCounters:
    """Indexes of what is counted for each project.

    named: features whose problems are counted by name
    """

    __slots__ = (
        "_counters",
        "_problems",
        "_project",
        "condition_errors",
        "duration",
        "named",
        "unanswered",
        "unlogged",
    )

    def __init__(self, counters: Counters, project: str) -> None:
        self._counters = counters
        self._project = project
        self._problems: dict[tuple[str, ...], int] = {}
        self.named: frozenset[str] = frozenset()
        labels = (("project", project),)
        self.duration = Histogram(counters, "pointsman_request_duration_seconds", labels)
        self.condition_errors = counters.index("pointsman_condition_errors", labels)
        self.unanswered = counters.index("pointsman_unanswered", labels)
        self.unlogged = counters.index("pointsman_unlogged", labels)

    def shadow(self, variant: str, result: str) -> int:
        """result: `answered`, `failed`, `dropped`"""
        labels = (("project", self._project), ("variant", variant), ("result", result))
        return self._counters.index("pointsman_shadow", labels)

    def problems(self, found: Iterable[tuple[str, str, str]], variant: str) -> None:
        """Counts the problems of one row. found: feature, problem and answer of each

        Series are made when first needed, of at most `NAMED_FEATURES` names, four problems each and
        two of the row, by variant: each has the one answer the project declares.
        """
        values = self._counters.values
        for feature, problem, answer in found:
            known = feature if feature in self.named and problem != "extra" else "*"
            key = (known, problem, answer, variant)
            place = self._problems.get(key)
            if place is None:
                names = ("project", "feature", "problem", "answer", "variant")
                labels = tuple(zip(names, (self._project, *key), strict=True))
                place = self._counters.index("pointsman_feature_problems", labels)
                self._problems[key] = place
            values[place] += 1
        place = self._problems.get((variant,))
        if place is None:
            own = (("project", self._project), ("variant", variant))
            place = self._problems[variant,] = self._counters.index("pointsman_problem_rows", own)
        values[place] += 1


class _Merged:
    """The merged counters as prometheus-client's exposition wants them."""

    def __init__(self, values: dict[Key, int], momentary: Iterable[Metric]) -> None:
        self._momentary = momentary
        self._by_name: dict[str, dict[Labels, int]] = {}
        for (name, labels), value in values.items():
            self._by_name.setdefault(name, {})[labels] = value

    def collect(self) -> Iterator[Metric]:
        for name, text in COUNTERS.items():
            samples = self._by_name.get(name, {})
            counter = CounterMetricFamily(name, text, labels=_label_names(samples))
            for labels, value in sorted(samples.items()):
                counter.add_metric([v for _, v in labels], value)
            yield counter
        yield from self._momentary
        for name in HISTOGRAMS:
            yield self._histogram(name)

    def _histogram(self, name: str) -> Metric:
        text, bounds, divisor = HISTOGRAMS[name]
        series: dict[Labels, dict[str, int]] = {}
        for labels, value in self._by_name.get(name, {}).items():
            series.setdefault(labels[:-1], {})[labels[-1][1]] = value
        family = HistogramMetricFamily(name, text, labels=_label_names(series))
        for labels, words in sorted(series.items()):
            count, buckets = 0, []
            for bound in bounds:
                count += words.get(str(bound), 0)
                buckets.append((repr(bound / divisor), float(count)))
            count += words.get("+Inf", 0)
            buckets.append(("+Inf", float(count)))
            family.add_metric([v for _, v in labels], buckets, words.get("sum", 0) / divisor)
        return family


def _label_names(samples: dict[Labels, int] | dict[Labels, dict[str, int]]) -> list[str]:
    first = next(iter(samples), ())
    return [name for name, _ in first]


def exposition(
    directory: Path,
    tenant: str | None = None,
    *,
    workers: int = 0,
    switches: Iterable[Switch] = (),
    now_s: float | None = None,
) -> bytes:
    """`/metrics` for all slots of a counters directory, those of dead workers included.

    tenant: only this one's projects, beside what is about no project; None = of all
    workers, switches, now_s: as `gauges.families` wants them; now_s: default, the present
    """
    values = merged(directory)
    if tenant is not None:
        values = {key: value for key, value in values.items() if _seen_by(tenant, key[1])}
        switches = [one for one in switches if one.target.startswith(f"{tenant}/")]
    now_s = time.time() if now_s is None else now_s
    momentary = gauges.families(values, workers, switches, now_s)
    return bytes(generate_latest(_Merged(values, momentary)))


def _seen_by(tenant: str, labels: Labels) -> bool:
    return all(v.startswith(f"{tenant}/") for name, v in labels if name == "project")
