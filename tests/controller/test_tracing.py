"""What the controller tells: spans of its API, log lines with their trace, what rollouts do."""

import asyncio
import os
import re
import socket
import subprocess
import sys

import httpx2
import pytest
from fastapi import FastAPI
from tests.controller.rollout_world import MINUTE, SECOND, World, started

from control_process import project
from control_process import running as controller
from datadog_agent import id_of, running
from pointsman.controller.traced import TracedApp, Witness
from pointsman.telemetry import connect
from pointsman.telemetry.context import parse
from pointsman.telemetry.current import CURRENT
from pointsman.telemetry.dogstatsd import Client
from pointsman.telemetry.sampling import Sampler

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
EVENT = re.compile(r"_e\{(\d+),(\d+)\}:(.*)\|d:\d+\|s:pointsman\|t:(\w+)\|#(.*)", re.DOTALL)


@pytest.fixture(scope="module")
def agent():
    with running() as started_agent:
        yield started_agent


@pytest.fixture
def datagrams():
    """The UDP socket of a Datadog agent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(10)
        yield listening


def test_a_call_of_the_api_is_a_span_in_the_trace_of_its_caller(agent, tmp_path):
    """Named by route, method and status; what asks again and again by itself is none."""
    environment = {
        "POINTSMAN_TRACING": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": agent.http,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    sent = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "a=1"}
    with controller(tmp_path / "data", **environment) as control:
        control.call("GET", "/healthz", headers=sent)
        applied = control.call(
            "PUT",
            "/v1/tenants/default/projects/fraud",
            project("fraud"),
            headers={"if-match": '"0"', **sent},
        )
        missing = control.call("GET", "/v1/nothing-here", headers=sent)
        told = parse(applied.headers["traceparent"].encode(), None)
        spans = agent.trace(TRACE, 2)

    assert (applied.status_code, missing.status_code) == (200, 404)
    assert told is not None
    assert set(spans) == {"PUT /v1/tenants/{tenant}/projects/{project}", "GET"}
    put = spans["PUT /v1/tenants/{tenant}/projects/{project}"]
    assert (id_of(put["span_id"]), id_of(put["parent_span_id"])) == (told.span, PARENT)
    assert put["trace_state"] == "a=1"
    assert put["attributes"]["http.response.status_code"] == "200"
    assert put["attributes"]["pointsman.project"] == "fraud"
    assert put["resource"]["service.name"] == "pointsman-controller"


def test_work_of_a_call_knows_its_trace_in_whatever_thread_it_runs():
    """The endpoints of the API run in threads of a pool."""
    inner = FastAPI()

    @inner.get("/trace")
    def trace():
        return CURRENT.get()

    outlet = connect.outlet({}, "test", "test", lambda _why, _count: None)
    outer = TracedApp(inner, Sampler(1 << 64, by_parent=True), outlet)

    async def ask(flags):
        transport = httpx2.ASGITransport(outer)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            headers = {"traceparent": f"00-{TRACE}-{PARENT}-{flags}"}
            return await client.get("/trace", headers=headers)

    sampled, plain = asyncio.run(ask("01")), asyncio.run(ask("00"))
    told = parse(sampled.headers["traceparent"].encode(), None)
    assert told is not None
    assert sampled.json() == [TRACE, told.span]
    assert plain.json() is None
    assert "traceparent" not in plain.headers


def test_a_log_line_names_its_trace():
    """Beside the message; a line that belongs to none names none."""
    script = (
        "import structlog; from pointsman.wiring import logs; "
        "from pointsman.telemetry.current import CURRENT; logs.configure('info'); "
        "log = structlog.get_logger(); log.info('before'); "
        f"CURRENT.set(('{TRACE}', '{PARENT}')); log.info('within')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    before, within = done.stderr.decode().splitlines()

    assert "trace_id" not in before
    assert f"trace_id={TRACE}" in within
    assert f"span_id={PARENT}" in within


def test_a_rollback_is_told_with_metric_value_bound_and_n(agent, datagrams, tmp_path, monkeypatch):
    """By OTLP as an event in the trace it happened in, to Datadog as an event of its stream; a
    step forward is an event of OTLP alone."""
    world = World(tmp_path)
    address = f"127.0.0.1:{datagrams.getsockname()[1]}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", agent.http)
    outlet = connect.outlet(os.environ, "pointsman-controller", "test", lambda *_: None)
    outlet.start()
    world.rollouts._witness = Witness(outlet, Client(address))
    mark = CURRENT.set((TRACE, PARENT))
    try:
        started(world)
        while world.phase == "running" and world.clock.ms < world.state.entered_ms + MINUTE:
            world.traffic(50, deny={"challenger": 0.8})
            world.pass_time(SECOND)
            world.tick()
        sentence = world.sentences()[-1]
    finally:
        CURRENT.reset(mark)
        world.close()
        outlet.close()
    own = [e for e in agent.events() if e.get("event_name", "").startswith("pointsman.rollout")]
    told = EVENT.fullmatch(datagrams.recv(65_535).decode())
    datagrams.setblocking(False)

    named = [event["event_name"].removeprefix("pointsman.rollout.") for event in own]
    assert named == ["opened", "started", "guardrail_broken"]
    back = own[-1]
    said = back["attributes"]
    assert said["pointsman.rollout.phase"] == "rolled_back"
    assert (said["pointsman.project"], said["pointsman.variant"]) == ("loan", "challenger")
    assert (said["pointsman.metric"], said["pointsman.verdict"]) == ("denied", "fail")
    assert said["pointsman.value"] > said["pointsman.bound"] == 0.1
    assert int(said["pointsman.n"]) > 0
    assert said["pointsman.rollout.weight_before"] == 10
    assert back["body"]["string_value"] == sentence
    assert (id_of(back["trace_id"]), id_of(back["span_id"])) == (TRACE, PARENT)
    assert told is not None
    assert told[3] == f"default/loan: challenger rolled back|{sentence}"
    assert told[4] == "error"
    tags = "project:default/loan,variant:challenger,event:guardrail_broken,metric:denied"
    assert told[5] == tags
    with pytest.raises(BlockingIOError):
        datagrams.recv(65_535)
