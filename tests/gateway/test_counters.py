"""Counters: one file a slot, added up by anybody, continued by whoever takes the slot next."""

import multiprocessing
import os
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pointsman.gateway import counters, gauges, metrics
from pointsman.gateway.counters import OVERFLOW, Counters
from pointsman.gateway.overrides import Switch

ONE = (("project", "a"),)


def test_a_successor_counts_on(tmp_path):
    """Nothing goes back when a worker is replaced, and nothing moves."""
    path = tmp_path / "0.counters"
    first = Counters(path)
    place = first.index("requests", ONE)
    first.values[place] += 3
    first.close()
    second = Counters(path)
    second.index("other")
    second.values[second.index("requests", ONE)] += 4

    assert second.index("requests", ONE) == place
    assert counters.read(path)["requests", ONE] == 7


def test_slots_add_up(tmp_path):
    """Those of dead workers included."""
    for slot in range(3):
        made = Counters(tmp_path / f"{slot}.counters")
        made.add("requests", ONE, slot + 1)
        made.close()

    assert counters.merged(tmp_path)["requests", ONE] == 6


def test_a_reader_sees_only_whole_numbers_and_entries(tmp_path):
    """While another process counts and adds entries as fast as it can."""
    path = tmp_path / "0.counters"
    Counters(path).close()
    writer = multiprocessing.get_context("fork").Process(target=_count, args=(path,))
    writer.start()
    last = 0
    while writer.is_alive():
        found = counters.read(path)
        value = found.get(("n", ()), 0)
        assert value & 0xFFFFFFFF == value >> 32
        assert value >= last
        last = value
        assert all(name for name, _ in found)
    writer.join()

    assert writer.exitcode == 0
    assert last == 20_000 << 32 | 20_000


def _count(path):
    made = Counters(path)
    place = made.index("n")
    for number in range(20_000):
        made.values[place] += (1 << 32) + 1
        if number % 100 == 0:
            made.index("entry", (("number", str(number)),))
    os._exit(0)


@pytest.mark.parametrize("content", [b"", b"garbage" * 100_000, b"PMCOUNT1" + b"\xff" * 600_000])
def test_a_damaged_file_is_put_aside(tmp_path, content):
    """Counting starts anew; the old file stays to be looked at."""
    path = tmp_path / "0.counters"
    path.write_bytes(content)
    made = Counters(path)
    made.add("requests")

    assert counters.read(path)["requests", ()] == 1
    assert path.with_suffix(".damaged").read_bytes() == content


def test_what_is_not_a_counter_file_counts_for_nothing(tmp_path):
    """Readers never fail for it."""
    (tmp_path / "1.counters").write_bytes(b"x" * 100)
    (tmp_path / "2.counters").write_bytes(b"")

    assert counters.merged(tmp_path) == {}


def test_a_full_file_says_so(tmp_path):
    """Cardinality is bounded; what does not fit is counted in one place."""
    made = Counters(tmp_path / "0.counters", capacity=4, name_bytes=4096)
    for number in range(6):
        made.add("n", (("number", str(number)),))
    found = made.values[made.index(*OVERFLOW)]

    assert found == 3


def test_the_exposition_is_what_prometheus_reads(tmp_path):
    """Counters, gauges and cumulative histograms in seconds, each with its type."""
    made = Counters(tmp_path / "0.counters")
    made.add("pointsman_requests", (("route", "infer"), ("status", "200")), 5)
    made.set("pointsman_ready", (("worker", "0"),), 1)
    histogram = metrics.Histogram(made, "pointsman_request_duration_seconds", ONE)
    for value in (50, 100, 101, 10**9):
        histogram.observe(value)
    families = {
        family.name: family
        for family in text_string_to_metric_families(metrics.exposition(tmp_path).decode())
    }
    buckets = {
        sample.labels["le"]: sample.value
        for sample in families["pointsman_request_duration_seconds"].samples
        if sample.name.endswith("_bucket")
    }
    total = [
        sample.value
        for sample in families["pointsman_request_duration_seconds"].samples
        if sample.name.endswith("_sum")
    ]

    assert families["pointsman_requests"].samples[0].value == 5
    assert families["pointsman_ready"].type == "gauge"
    assert (buckets["0.0001"], buckets["0.00025"], buckets["10.0"], buckets["+Inf"]) == (2, 3, 3, 4)
    assert total == [pytest.approx(1000.000251)]


def test_a_worker_that_is_silent_is_not_ready_and_a_slot_that_is_gone_says_nothing(tmp_path):
    """Gauges of the dead are no news; what they counted still counts."""
    for slot, beat in (("0", 1000), ("1", 980), ("2", 1000)):
        made = Counters(tmp_path / f"{slot}.counters")
        gauges.WorkerGauges(made, int(slot)).set(ready=1, pending_rows=7, table_version=4)
        made.set("pointsman_heartbeat_timestamp_seconds", (("worker", slot),), beat)
        made.add("pointsman_worker_starts", (("worker", slot),))

    told = samples(metrics.exposition(tmp_path, workers=2, now_s=1000.0))

    assert told["pointsman_workers"] == 2
    assert told['pointsman_ready{worker="0"}'] == 1
    assert told['pointsman_ready{worker="1"}'] == told['pointsman_pending_rows{worker="1"}'] == 0
    assert told['pointsman_table_version{worker="1"}'] == 4
    assert 'pointsman_ready{worker="2"}' not in told
    assert told['pointsman_worker_starts_total{worker="2"}'] == 1
    assert 'pointsman_table_confirmed_timestamp_seconds{worker="0"}' not in told


def test_local_switches_are_told_to_whom_they_concern(tmp_path):
    """With who set them: the guard, or somebody."""
    switches = (
        Switch("default/fraud/challenger", actor="guard"),
        Switch("rivals/loan", actor="ada"),
    )

    everything = samples(metrics.exposition(tmp_path, switches=switches))
    theirs = samples(metrics.exposition(tmp_path, "rivals", switches=switches))

    guard = '{by="guard",project="default/fraud",variant="challenger"}'
    ada = '{by="operator",project="rivals/loan",variant=""}'
    assert everything[f"pointsman_local_override{guard}"] == 1
    assert [name for name in theirs if "override" in name] == [f"pointsman_local_override{ada}"]


def samples(content):
    lines = [line.rpartition(" ") for line in content.decode().splitlines() if line[0] != "#"]
    return {name: float(value) for name, _, value in lines}


def test_metrics_cover_all_workers_and_survive_restarts(world):
    """Any worker answers for all slots, with the right content type."""
    world.publish([world.project({"champion": world.model()})])
    first, second = world.worker(0), world.worker(1)
    for _ in range(3):
        first.predict()
        second.predict([{"amount": 1.0, "age-years": 1, "country": "D"}] * 2)
    first.kill()
    before = second.metrics()
    killed = time.time()
    gone = {}
    while gone.get('pointsman_ready{worker="0"}', 1) and time.time() < killed + 60:
        time.sleep(0.5)
        gone = second.metrics()
    again = world.worker(0)
    again.predict()
    after = again.metrics()
    served = 'pointsman_decisions_total{project="default/fraud",reason="RULE",variant="champion"}'
    content_type = again.get("/metrics")[1]["content-type"]

    assert before[served] == 9
    assert after[served] == 10
    assert after['pointsman_requests_total{route="predict",status="200"}'] == 7
    assert gone['pointsman_ready{worker="0"}'] == 0
    assert gone[served] == 9
    assert after['pointsman_ready{worker="0"}'] == after['pointsman_ready{worker="1"}'] == 1
    assert after['pointsman_worker_starts_total{worker="0"}'] == 2
    assert content_type == metrics.CONTENT_TYPE
    assert content_type.startswith("text/plain")
