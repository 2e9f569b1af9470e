"""What is true of a gateway at the moment it is asked, beside what its workers counted.

A worker writes its gauges once a second, with the time. One that stopped writing is neither ready
nor does it hold anything, and a slot that no worker has any more says nothing at all.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric

import pointsman
from pointsman.gateway.counters import Counters, Key, Labels
from pointsman.gateway.overrides import GUARD, Switch

GAUGES: Final = {
    "pointsman_ready": "Whether a worker is ready (1) or not (0); 0 for one that is gone.",
    "pointsman_heartbeat_timestamp_seconds": "When a worker last said so, Unix time.",
    "pointsman_connections": "Open connections of a worker.",
    "pointsman_pending_rows": "Rows a worker accepted and has not answered: its queue.",
    "pointsman_buffered_bytes": "Body bytes of the requests a worker has not answered.",
    "pointsman_journal_refusing": "Whether a worker's journal takes nothing for want of room (1).",
    "pointsman_table_version": "Version of the table a worker serves from.",
    "pointsman_table_confirmed_timestamp_seconds": (
        "When a worker last had its table from the controller, or heard that there is none newer; "
        "Unix time."
    ),
    "pointsman_projects_refused": "Projects whose newest table a worker did not take into use.",
    "pointsman_projects_cold": "Projects with a variant that a worker cannot call yet.",
}
SILENT_S: Final = 5
"""Gauges come once a second: a worker that says nothing for so long is gone, or hangs."""
_OF_THE_LIVING: Final = frozenset(
    {
        "pointsman_ready",
        "pointsman_connections",
        "pointsman_pending_rows",
        "pointsman_buffered_bytes",
        "pointsman_journal_refusing",
    }
)
_HEARTBEAT: Final = "pointsman_heartbeat_timestamp_seconds"


class WorkerGauges:
    """Places of one worker's gauges in its counter file."""

    def __init__(self, counters: Counters, slot: int) -> None:
        self._values = counters.values
        labels = (("worker", str(slot)),)
        self._places = {name: counters.index(name, labels) for name in GAUGES}

    def set(self, **values: int) -> None:
        """By the name without `pointsman_`."""
        for name, value in values.items():
            self._values[self._places[f"pointsman_{name}"]] = value

    def beat(self, now_s: float) -> None:
        self._values[self._places[_HEARTBEAT]] = int(now_s)


def families(
    values: Mapping[Key, int], workers: int, switches: Iterable[Switch], now_s: float
) -> Iterator[Metric]:
    """Gauges for an exposition.

    values: the merged counters
    workers: how many slots there should be; 0 where that is not known
    switches: those in force on this machine
    now_s: Unix time
    """
    yield build_info("gateway")
    if workers:
        yield GaugeMetricFamily(
            "pointsman_workers", "Workers this gateway is meant to have.", value=workers
        )
    silent = {
        labels
        for (name, labels), value in values.items()
        if name == _HEARTBEAT and 0 < value < now_s - SILENT_S
    }
    for name, text in GAUGES.items():
        family = GaugeMetricFamily(name, text, labels=["worker"])
        for labels, value in sorted(_of(values, name).items()):
            slot = labels[0][1]
            told = name == "pointsman_ready" or value or not name.endswith("timestamp_seconds")
            if told and (not workers or int(slot) < workers):
                gone = labels in silent and name in _OF_THE_LIVING
                family.add_metric([slot], 0 if gone else value)
        yield family
    yield _local_switches(switches)


def build_info(component: str) -> Metric:
    """Which version of what answers. component: `gateway`, `controller`"""
    family = GaugeMetricFamily(
        "pointsman_build_info", "1; the version is in the label.", labels=["component", "version"]
    )
    family.add_metric([component, pointsman.__version__], 1)
    return family


def _of(values: Mapping[Key, int], name: str) -> dict[Labels, int]:
    return {labels: value for (known, labels), value in values.items() if known == name}


def _local_switches(switches: Iterable[Switch]) -> Metric:
    family = GaugeMetricFamily(
        "pointsman_local_override",
        "1 for what this machine keeps traffic from, whatever the controller says; variant is "
        "empty where it is the whole project, `by` is guard or operator.",
        labels=["project", "variant", "by"],
    )
    for switch in sorted(switches, key=lambda one: one.target):
        tenant, _, rest = switch.target.partition("/")
        project, _, variant = rest.partition("/")
        by = "guard" if switch.actor == GUARD else "operator"
        family.add_metric([f"{tenant}/{project}", variant, by], 1)
    return family
