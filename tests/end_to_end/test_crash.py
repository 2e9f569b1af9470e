"""`kill -9` of every process at any moment, under traffic: nothing acknowledged is lost."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pysqlite3.dbapi2 as sqlite
from tests.end_to_end import ledger
from tests.end_to_end.conftest import Start
from tests.end_to_end.serving import EXAMPLE, Serving, journal

from pointsman.demo import checks
from pointsman.demo.processes import python
from pointsman.domain.records import DecisionRecord, OutcomeRecord, Record

KILLS = 24
PARENT_EACH = 6
USERS = 4
SERVING_AGAIN_S = 5.0
"""Where Python needs no more than a second for what a worker imports. A machine that does much else
at the time is given as many times longer as it needs for that alone."""
PARTS = {"controller", "runner", "worker-0", "worker-1"}
PARTS_AGAIN_S = 30.0
SEED = 20


def test_kill_9_of_any_process_loses_nothing_acknowledged_and_counts_nothing_twice(
    start: Start, tmp_path: Path
) -> None:
    """Each answer and each 202 was noted on the client's disk; all of it must be in the store."""
    serving = start()
    path = tmp_path / "ledger.jsonl"

    outages, killed = _under_fire(serving, path)
    again_s = SERVING_AGAIN_S * max(1.0, _imports_s())

    decisions, feedback = ledger.read(path)
    assert len(decisions) > 10 * KILLS, "too little traffic to show anything"
    serving.wait(lambda: _ingested(serving), limit_s=60)
    stored = _status_counts(serving)
    explained = [
        serving.cli("explain", one).returncode
        for one in random.Random(SEED).sample([*decisions], 5)
    ]
    serving.stop()
    records = _journal(serving.data)
    logged = [record.id for record in records if isinstance(record, DecisionRecord)]
    told = {record.id for record in records if isinstance(record, OutcomeRecord)}
    assert max(outages) <= again_s, outages
    assert killed == PARTS | {"parent"}
    assert all(fact["logged"] for fact in decisions.values())
    assert set(decisions) - set(logged) == set(), "answered, but not recorded"
    assert set(feedback) - told == set(), "acknowledged, but lost"
    assert len(set(logged)) == len(logged), "recorded twice"
    assert explained == [0] * 5
    assert serving.cli("verify", "--data", str(serving.data)).returncode == 0
    labelled = {record.decision_id for record in records if isinstance(record, OutcomeRecord)}
    assert stored == (len(logged), len(labelled)), "status counts differently than the journal"
    _check_store(serving.data / "store.db", records)


def _imports_s() -> float:
    """What a bare start with a worker's imports takes here and now, the middle one of three."""
    took = []
    for _ in range(3):
        started = time.monotonic()
        subprocess.run(python("-c", "import pointsman.gateway.worker"), check=True)
        took.append(time.monotonic() - started)
    return sorted(took)[1]


def _under_fire(serving: Serving, path: Path) -> tuple[list[float], set[str]]:
    """Seconds until the gateway answered again, for each kill; and what was killed."""
    draw = random.Random(SEED)
    project = EXAMPLE / "project.yaml"
    with ledger.Traffic(serving.running.data_url, project, path, USERS) as traffic:
        traffic.served_since(0, PARTS_AGAIN_S)
        outages, killed = [], set[str]()
        for number in range(KILLS):
            time.sleep(draw.uniform(0.05, 0.4))
            outage, part = _one_kill(serving, traffic, draw, number)
            outages.append(outage)
            killed.add(part)
    print(f"outages, s: {sorted(round(one, 2) for one in outages)}; {traffic.broken} broken")
    return outages, killed


def _one_kill(
    serving: Serving, traffic: ledger.Traffic, draw: random.Random, number: int
) -> tuple[float, str]:
    """Kills one process; returns when it answers again and all parts are back."""
    parts = serving.children()
    at = time.monotonic()
    if number % PARENT_EACH == PARENT_EACH - 1:
        part = "parent"
        serving.kill()
        serving.launch()
    else:
        part = draw.choice(sorted(parts))
        os.kill(parts[part], signal.SIGKILL)
    outage = traffic.served_since(at, PARTS_AGAIN_S)
    serving.wait(lambda: serving.children().keys() == parts.keys())
    return outage, part


def _ingested(serving: Serving) -> bool:
    """Whether the ingester has read all that the journal holds."""
    records = _journal(serving.data)
    decisions = sum(isinstance(record, DecisionRecord) for record in records)
    labelled = {record.decision_id for record in records if isinstance(record, OutcomeRecord)}
    return _status_counts(serving) == (decisions, len(labelled))


def _status_counts(serving: Serving) -> tuple[int, int]:
    """Decisions and labelled decisions, as `status` says."""
    status = serving.status()
    return checks.decisions(status), checks.labels(status)


def _journal(data: Path) -> list[Record]:
    return [record for records in journal(data).values() for record in records]


def _check_store(file: Path, records: list[Record]) -> None:
    """Rows, traffic, exposures and evidence agree with the journal, each thing once."""
    decisions = [record for record in records if isinstance(record, DecisionRecord)]
    split = [record for record in decisions if record.reason == "SPLIT"]
    labelled = {record.decision_id for record in records if isinstance(record, OutcomeRecord)}
    told = {record.id for record in records if isinstance(record, OutcomeRecord)}
    store = sqlite.connect(f"file:{file}?mode=ro", uri=True)
    try:
        assert _all(store, "select id from decision") == sorted((one.id,) for one in decisions)
        assert _all(store, "select distinct id from feedback") == sorted((one,) for one in told)
        assert _all(store, "select decision_id from outcome") == sorted((one,) for one in labelled)
        counted = _all(store, "select sum(decisions), sum(labelled) from traffic")
        assert counted == [(len(decisions), len(labelled))]
        exposed = {(one.rule, one.epoch, one.unit_hash) for one in split}
        held_out = [one for one in decisions if one.reason == "HOLDOUT"]
        exposed |= {(f"{one.rule}#holdout", one.epoch, one.unit_hash) for one in held_out}
        assert _all(store, "select count(*) from exposure") == [(len(exposed),)]
        assert _all(store, "select count(*) from inbox") == [(0,)]
    finally:
        store.close()


def _all(store: Any, query: str) -> list[tuple[Any, ...]]:
    return sorted(store.execute(query).fetchall())
