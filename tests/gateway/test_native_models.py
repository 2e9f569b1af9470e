"""Native variants through the real model runner: slow, broken, crashed and absent ones."""

import json
import signal
import subprocess
import sys
import threading
import time

import cloudpickle
import numpy as np
import pytest
import yaml

from datadog_agent import running
from pointsman.domain import artifact
from pointsman.domain.artifact import ArtifactFile, ArtifactManifest
from pointsman.domain.records import DecisionRecord
from pointsman.domain.table import Feature, FeatureType, Runtime, Shadow, Variant
from pointsman.telemetry.context import parse

CLASSES = ("legit", "fraud")
ROW = {"amount": 0.25, "age-years": 41, "country": "DE"}


def scripted():
    """A classifier that does what the feature `amount` says: 0..1 that probability of fraud, -1
    exit, -2 sleep, -3 raise. Its class is local, so it is pickled by value."""

    class Script:
        classes_ = np.array(CLASSES)

        def predict_proba(self, rows):
            import os
            import time

            asked = rows["amount"].to_numpy()
            if (asked == -1).any():
                os._exit(7)
            if (asked == -2).any():
                time.sleep(3600)
            if (asked == -3).any():
                raise ValueError("asked to raise")
            return np.stack([1 - asked, asked], axis=1)

    return Script()


def native(world):
    """The digest of a prepared native model that reads one feature."""
    flavor = {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}
    contents = {
        "MLmodel": yaml.safe_dump({"flavors": {"sklearn": flavor}}).encode(),
        "model.pkl": cloudpickle.dumps(scripted()),
    }
    features = (Feature("amount", FeatureType.DOUBLE),)
    files = tuple(
        ArtifactFile(path, world.blobs.put_bytes(content), len(content))
        for path, content in contents.items()
    )
    manifest = ArtifactManifest(
        source="models:/fraud/9",
        origin="0" * 64,
        flavor="sklearn",
        runtime=Runtime.NATIVE,
        reason="native: it is a script",
        features=features,
        model_features=features,
        inputs=(),
        classes=CLASSES,
        order=(0, 1),
        files=files,
        parity=None,
        needs_code=True,
        loader="sklearn",
        probe_rows=({"amount": 0.25},),
        probe_probabilities=((0.75, 0.25),),
    )
    return world.blobs.put_bytes(artifact.encode(manifest))


def start_runner(world):
    socket_path = world.root / "run.sock"
    process = subprocess.Popen(
        [sys.executable, "-m", "pointsman.runtime.runner", "--socket", str(socket_path),
         "--blobs", str(world.blobs.root), "--stall-s", "1.0"],
    )  # fmt: skip
    until = time.monotonic() + 10
    while not socket_path.exists() and time.monotonic() < until:
        time.sleep(0.02)
    return process, str(socket_path)


@pytest.fixture(scope="module")
def agent():
    """Receives the traces of the worker: all there is here happens with tracing on."""
    with running() as started, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", started.http)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield started


@pytest.fixture(scope="module")
def setup(shared_world, kit, agent):
    """A worker with a native challenger, and the runner it needs."""
    world = shared_world
    runner, path = start_runner(world)
    world.start_controller()
    challenger = Variant("challenger", "9", "models:/fraud/9", native(world), Runtime.NATIVE)
    rules = [
        kit.rule("alone", "challenger", when='request.channel == "alone"'),
        kit.rule(
            "all",
            "challenger",
            fallback=("champion",),
        ),
    ]
    variants = {"champion": "legit", "challenger": challenger}
    world.publish([world.project(variants, rules, deadline_ms=1500)])
    worker = world.worker(runner_socket=path, tracing=True)
    yield worker
    runner.send_signal(signal.SIGTERM)
    runner.wait(10)


def last(worker):
    return [r for r in worker.records() if isinstance(r, DecisionRecord)][-1]


def test_a_native_variant_answers(setup):
    """Through the runner; it gets the features it knows out of the project's."""
    _, _, answer = setup.predict(ROW)

    assert (answer["variant"], answer["version"]) == ("challenger", "9")
    assert answer["probabilities"] == {"legit": 0.75, "fraud": 0.25}


def test_a_call_of_the_runner_is_a_span_of_a_client(setup, agent):
    """Within the request's own; where the model failed it says how, and who answered instead."""
    traces = [parse(setup.predict(row)[1]["traceparent"].encode(), None).trace
              for row in (ROW, ROW | {"amount": -3.0})]  # fmt: skip
    good, bad = agent.trace(traces[0], 3), agent.trace(traces[1], 3)
    call = good["call challenger"]

    assert call["kind"] == "SPAN_KIND_CLIENT"
    assert call["attributes"]["pointsman.runtime"] == "native"
    assert call["parent_span_id"] == good["POST /v1/projects/{project}:predict"]["span_id"]
    assert call.get("status", {}) == {}
    assert bad["call challenger"]["attributes"]["error.type"] == "error"
    answered = bad["POST /v1/projects/{project}:predict"]["attributes"]
    assert (answered["pointsman.variant"], answered["pointsman.reason"]) == ("champion", "FALLBACK")


def test_a_stalled_variant_is_replaced_within_the_deadline(setup):
    """The fallback answers in the time that was kept for it."""
    started = time.monotonic()
    status, _, answer = setup.predict(ROW | {"amount": -2.0})
    took_s = time.monotonic() - started
    record = last(setup)

    assert (status, answer["variant"], answer["reason"]) == (200, "champion", "FALLBACK")
    assert took_s < 1.5
    assert (record.assigned, record.served) == ("challenger", "champion")
    assert "did not answer" in record.error


@pytest.mark.parametrize(("amount", "kind"), [(-2.0, "timeout"), (-3.0, "backend_failed")])
def test_without_a_fallback_the_caller_hears_in_time(setup, amount, kind):
    """504 or 503 within the deadline, never an endless wait."""
    _await_warm(setup)
    started = time.monotonic()
    status, _, answer = setup.predict(
        ROW | {"amount": amount}, context={"channel": "alone"},
        headers={"x-request-timeout-ms": "400"},
    )  # fmt: skip
    took_s = time.monotonic() - started

    assert (status, answer["kind"]) == (504 if kind == "timeout" else 503, kind)
    assert took_s < 0.8


def _await_warm(worker):
    until = time.monotonic() + 15
    while worker.predict(ROW)[2].get("variant") != "challenger":
        assert time.monotonic() < until, "the model did not come back"
        time.sleep(0.1)


def test_a_crashing_variant_harms_nobody(setup):
    """Its requests fall back; the worker goes on; the variant comes back by itself."""
    _await_warm(setup)
    status, _, answer = setup.predict(ROW | {"amount": -1.0})
    _await_warm(setup)

    assert (status, answer["variant"]) == (200, "champion")
    assert setup.process.poll() is None


def test_many_rows_go_in_several_calls(setup):
    """More than the runner takes at once."""
    _await_warm(setup)
    rows = [ROW | {"amount": n / 3000} for n in range(3000)]
    _, _, answer = setup.predict(rows)

    assert [p["probabilities"]["fraud"] for p in answer["predictions"]] == [
        row["amount"] for row in rows
    ]


def test_others_are_answered_while_a_native_variant_is_slow(setup):
    """The event loop never waits for the runner."""
    _await_warm(setup)
    slow = threading.Thread(target=setup.predict, args=(ROW | {"amount": -2.0},))
    slow.start()
    time.sleep(0.1)
    started = time.monotonic()
    status, _, _ = setup.post("/v1/projects/fraud:decide", {})
    took_s = time.monotonic() - started
    slow.join()

    assert status == 200
    assert took_s < 0.2


def test_a_native_shadow_is_recorded(world, kit):
    """Its failures too."""
    runner, path = start_runner(world)
    try:
        night = Variant("night", "9", "", native(world), Runtime.NATIVE)
        rules = [kit.rule(use="champion", shadows=(Shadow("night", 1 << 32, "s"),))]
        world.start_controller()
        world.publish([world.project({"champion": "legit", "night": night}, rules)])
        worker = world.worker(runner_socket=path)
        worker.predict(ROW)
        worker.predict(ROW | {"amount": -3.0})
        worker.terminate()
        worker.wait()
        good, bad = [r for r in worker.records() if not isinstance(r, DecisionRecord)]
    finally:
        runner.kill()

    assert (good.probabilities, good.error) == ((0.75, 0.25), "")
    assert bad.probabilities == ()
    assert "asked to raise" in bad.error


def test_a_worker_starts_without_its_runner(world, kit):
    """From the last known good: the native variant is cold, its fallback answers meanwhile; it is
    warmed as soon as the runner is there."""
    challenger = Variant("challenger", "9", "", native(world), Runtime.NATIVE)
    rules = [kit.rule(use="challenger", fallback=("champion",))]
    world.publish([world.project({"champion": "legit", "challenger": challenger}, rules)])
    path = str(world.root / "run.sock")
    worker = world.worker(runner_socket=path)
    cold = worker.predict(ROW)[2]
    state = worker.report()["projects"]["default/fraud"]["variants"]["challenger"]["state"]
    runner, _ = start_runner(world)
    try:
        _await_warm(worker)
        until = time.monotonic() + 10
        while _state(worker) != "warm" and time.monotonic() < until:
            time.sleep(0.1)
        warmed = _state(worker)
    finally:
        runner.kill()

    assert (cold["variant"], cold["reason"], state) == ("champion", "FALLBACK", "cold")
    assert warmed == "warm"


def _state(worker):
    path = worker.world.data / "gateway" / "workers" / "0.json"
    report = json.loads(path.read_bytes())
    return report["projects"]["default/fraud"]["variants"]["challenger"]["state"]
