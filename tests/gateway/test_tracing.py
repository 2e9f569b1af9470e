"""Tracing of the request path, as Datadog's own test agent receives it by OTLP."""

import json
import re

import pytest

from datadog_agent import id_of, running
from pointsman.domain.records import DecisionRecord, ShadowRecord
from pointsman.domain.table import SPACE, Shadow
from pointsman.gateway import telling
from pointsman.telemetry.context import parse

CALLER = "4bf92f3577b34da6a3ce929d0e0e47"
PARENT = "00f067aa0ba902b7"
UNIT = "unit-nobody-should-read"
SECRET = 7351.25
"""A feature's value, by which it would be found wherever it went."""


@pytest.fixture(scope="module")
def agent():
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield patched


@pytest.fixture(scope="module")
def world(shared_world, kit):
    """One project with two models and a shadow, and one where a fallback has to answer."""
    world = shared_world
    models = {"champion": world.model(), "challenger": world.model((0.2, 0.0)), "bad": "fraud"}
    split = kit.rule(split={"champion": 50, "challenger": 50}, shadows=(Shadow("bad", SPACE, "s"),))
    fraud = world.project(models, [split], number=7)
    broken = {
        "champion": "legit",
        "new": world.model((-1.0, 0.0), function="Sqrt"),
    }
    falls = kit.rule(use="new", fallback=("champion",))
    world.publish([fraud, world.project(broken, [falls], name="falls")])
    return world


@pytest.fixture(scope="module")
def worker(world, agent, patch):
    """Everything is sampled that has no caller, and what a caller samples; by HTTP."""
    patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", agent.http)
    patch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    return world.worker(tracing=True, trace_unit="hashed", log_level="debug")


def asked(worker, trace, flags="01", state="", **more):
    """The answer to one request of a caller's trace: (status, headers, body)."""
    headers = {"traceparent": f"00-{CALLER}{trace}-{PARENT}-{flags}"}
    if state:
        headers["tracestate"] = state
    features = {"amount": SECRET, "age-years": 41, "country": "DE"}
    return worker.predict(features, headers=headers, unit=UNIT, **more)


def test_one_request_is_found_by_answer_span_event_log_line_and_record(worker, agent):
    """By one trace id, one span id and one decision id, in all of them."""
    _, headers, body = asked(worker, "01", state="congo=t61rcWkgMzE")
    assert "traceparent" in headers, body
    told = parse(headers["traceparent"].encode(), headers["tracestate"].encode())
    assert told is not None
    spans = agent.trace(f"{CALLER}01", 4)
    server = spans["POST /v1/projects/{project}:predict"]
    events = agent.wait_for(lambda a: [e for e in a.events() if id_of(e["trace_id"]) == told.trace])
    record = next(r for r in worker.records() if r.id == body["decision_id"])

    assert (told.trace, told.sampled, told.state) == (f"{CALLER}01", True, "congo=t61rcWkgMzE")
    assert told.span != PARENT
    assert id_of(server["span_id"]) == told.span
    assert id_of(server["parent_span_id"]) == PARENT
    assert server["trace_state"] == told.state
    assert headers["x-decision-id"] == server["attributes"]["pointsman.decision_id"] == record.id
    (event,) = events
    assert id_of(event["span_id"]) == told.span
    assert event["attributes"]["pointsman.decision_id"] == record.id
    line = f"decision_id={record.id} trace_id={told.trace} span_id={told.span}"
    assert sum(line in said for said in worker.said().splitlines()) == 1


def test_a_trace_has_the_request_the_decision_each_call_and_each_shadow(worker, agent):
    """Children of the server's span, in the order in which things happened."""
    _, _, body = asked(worker, "02")
    spans = agent.trace(f"{CALLER}02", 4)
    call = f"call {body['variant']}"
    server = spans.pop("POST /v1/projects/{project}:predict")

    assert set(spans) == {"decide", call, "shadow bad"}
    assert {s["parent_span_id"] for s in spans.values()} == {server["span_id"]}
    began = {name: int(span["start_time_unix_nano"]) for name, span in spans.items()}
    ended = {name: int(span["end_time_unix_nano"]) for name, span in spans.items()}
    first, last = int(server["start_time_unix_nano"]), int(server["end_time_unix_nano"])
    assert first <= began["decide"] <= ended["decide"] <= began[call] <= ended[call] <= last
    assert last <= began["shadow bad"] <= ended["shadow bad"]
    assert server["kind"] == "SPAN_KIND_SERVER"
    assert server["attributes"]["http.response.status_code"] == "200"
    assert spans[call]["attributes"]["pointsman.runtime"] == "onnx"
    assert spans["decide"]["attributes"]["pointsman.propensity"] == 0.5
    assert server["resource"]["service.name"] == "pointsman-gateway"
    assert server["resource"]["pointsman.process"] == "worker-0"
    assert server["resource"]["deployment.environment.name"] == "test"


def test_an_evaluation_has_the_attributes_of_the_conventions_and_ours(worker, agent):
    """Key, set, version, variant, reason and who was assigned; decision id, rule, propensity."""
    _, _, body = asked(worker, "03")
    event = agent.wait_for(
        lambda a: [e for e in a.events() if id_of(e["trace_id"]) == f"{CALLER}03"]
    )[0]

    assert event["event_name"] == "feature_flag.evaluation"
    assert event["attributes"] == {
        "feature_flag.key": "fraud",
        "feature_flag.provider.name": "pointsman",
        "feature_flag.set.id": "default",
        "feature_flag.version": "7",
        "feature_flag.result.variant": body["variant"],
        "feature_flag.result.reason": "split",
        "feature_flag.context.id": telling.hashed_unit("default/fraud", UNIT),
        "pointsman.decision_id": body["decision_id"],
        "pointsman.propensity": 0.5,
        "pointsman.rule": "all",
        "pointsman.reason": "SPLIT",
        "pointsman.served": body["variant"],
        "pointsman.version": body["version"],
    }


def test_nothing_of_a_unit_or_of_a_value_leaves(worker, agent):
    """Neither where it goes well nor where it goes wrong, and no message that quotes it."""
    good = {"amount": SECRET, "age-years": 41, "country": UNIT}
    for trace, features in (("04", good), ("05", good | {"amount": UNIT})):
        headers = {"traceparent": f"00-{CALLER}{trace}-{PARENT}-01"}
        worker.predict(features, headers=headers, unit=UNIT, context={"channel": UNIT})
    agent.trace(f"{CALLER}04", 4)
    refused = agent.trace(f"{CALLER}05", 1)["POST /v1/projects/{project}:predict"]

    assert refused["attributes"]["http.response.status_code"] == "400"
    assert refused["attributes"]["error.type"] == "invalid"
    everything = json.dumps([agent.spans(), agent.events()])
    assert UNIT not in everything
    assert str(SECRET) not in everything


def test_what_a_caller_does_not_sample_is_passed_on_and_left_alone(worker, agent):
    """Its header comes back as it was, and no span is made."""
    _, headers, _ = asked(worker, "06", flags="00", state="a=1,b=2")
    asked(worker, "07")
    agent.trace(f"{CALLER}07", 4)

    assert headers["traceparent"] == f"00-{CALLER}06-{PARENT}-00"
    assert headers["tracestate"] == "a=1,b=2"
    assert not [s for s in agent.spans() if id_of(s["trace_id"]) == f"{CALLER}06"]


def test_a_fallback_shows_as_the_call_that_failed_and_the_one_that_answered(worker, agent):
    """With the kind of the failure; the request itself is none."""
    headers = {"traceparent": f"00-{CALLER}08-{PARENT}-01"}
    status, _, body = worker.predict(project="falls", headers=headers)
    spans = agent.trace(f"{CALLER}08", 3)

    assert (status, body["reason"], body["variant"]) == (200, "FALLBACK", "champion")
    failed = spans["call new"]
    assert failed["status"]["code"] == "STATUS_CODE_ERROR"
    assert failed["attributes"]["error.type"] == "malformed"
    server = spans["POST /v1/projects/{project}:predict"]
    assert server.get("status", {}) == {}
    assert server["attributes"]["pointsman.reason"] == "FALLBACK"


def test_a_trace_that_begins_here_is_found_from_the_decision_id(worker, agent):
    """Its first half is the decision's; there is no parent. Two headers are as good as none."""
    head = f"traceparent: 00-{CALLER}09-{PARENT}-01\r\n"
    body = json.dumps({"features": {"amount": 1, "age-years": 2, "country": "DE"}}).encode()
    lines = f"POST /v1/projects/fraud:predict HTTP/1.1\r\nhost: localhost\r\n{head}{head}"
    raw = f"{lines}content-length: {len(body)}\r\n\r\n".encode() + body
    _, headers, _ = worker.raw(raw)
    told = parse(headers["traceparent"].encode(), None)
    assert told is not None
    server = agent.trace(told.trace, 4)["POST /v1/projects/{project}:predict"]

    assert told.trace.startswith(headers["x-decision-id"].replace("-", "")[:16])
    assert not server.get("parent_span_id")


def test_two_states_are_one_list(worker):
    """As HTTP reads repeated headers."""
    head = f"traceparent: 00-{CALLER}10-{PARENT}-00\r\ntracestate: a=1\r\ntracestate: b=2\r\n"
    body = json.dumps({"features": {"amount": 1, "age-years": 2, "country": "DE"}}).encode()
    lines = f"POST /v1/projects/fraud:predict HTTP/1.1\r\nhost: localhost\r\n{head}"
    _, headers, _ = worker.raw(f"{lines}content-length: {len(body)}\r\n\r\n".encode() + body)

    assert headers["tracestate"] == "a=1,b=2"


def test_many_rows_have_an_event_each_up_to_a_bound(worker, agent):
    """A request of ten thousand rows is one span with their number, not ten thousand events."""
    row = {"amount": 1.0, "age-years": 2, "country": "DE"}
    headers = {"traceparent": f"00-{CALLER}11-{PARENT}-01"}
    worker.predict([row] * 40, headers=headers)
    spans = agent.trace(f"{CALLER}11", 4)
    events = agent.wait_for(
        lambda a: [e for e in a.events() if id_of(e["trace_id"]) == f"{CALLER}11"]
    )

    assert spans["POST /v1/projects/{project}:predict"]["attributes"]["pointsman.rows"] == "40"
    assert len(events) == telling.MOST_ROWS


def test_by_grpc_the_same_arrives(world, agent, patch):
    """The service is called as the standard variable says, and what is left at the end is sent."""
    patch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", agent.grpc)
    patch.setenv("OTEL_SERVICE_NAME", "loans")
    patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    worker = world.worker(1, tracing=True)
    asked(worker, "20")
    worker.terminate()
    assert worker.wait() == 0
    spans = agent.trace(f"{CALLER}20", 4)
    server = spans["POST /v1/projects/{project}:predict"]
    events = agent.wait_for(
        lambda a: [e for e in a.events() if id_of(e["trace_id"]) == f"{CALLER}20"]
    )

    assert server["resource"]["service.name"] == "loans"
    assert "feature_flag.context.id" not in events[0]["attributes"]


def test_a_receiver_that_is_gone_costs_a_counter_and_nothing_else(world, patch, kit):
    """Requests are answered and recorded as ever; what was lost is in /metrics, by reason."""
    with kit.listening() as nobody:
        port = nobody.getsockname()[1]
    patch.delenv("OTEL_EXPORTER_OTLP_PROTOCOL")
    patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    patch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    patch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    worker = world.worker(2, tracing=True)
    answers = [asked(worker, "30")[0] for _ in range(40)]

    lost = 'pointsman_telemetry_dropped_total{reason="%s"}'
    assert answers == [200] * 40
    assert len([r for r in worker.records() if isinstance(r, DecisionRecord)]) == 40
    assert kit.until(lambda: worker.metrics()[lost % "failed"] > 0)
    assert worker.metrics()[lost % "full"] > 0
    assert len(re.findall("telemetry is not taken", worker.said())) == 1
    worker.terminate()
    assert worker.wait() == 0


def test_with_tracing_off_a_context_is_passed_on_and_no_library_is_loaded(world, agent, patch):
    """Whatever the variables say: the setting is what switches it on."""
    patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", agent.http)
    worker = world.worker(3)
    _, headers, _ = asked(worker, "40", state="a=1")
    _, plain, body = worker.predict()
    loaded = open(f"/proc/{worker.process.pid}/maps").read()  # noqa: PTH123, SIM115 - procfs

    assert headers["traceparent"] == f"00-{CALLER}40-{PARENT}-01"
    assert headers["tracestate"] == "a=1"
    assert plain["traceparent"].startswith("00-" + body["decision_id"].replace("-", ""))
    assert plain["traceparent"].endswith("-00")
    assert "grpc" not in loaded
    assert any(isinstance(record, ShadowRecord) for record in worker.records())
    assert not [s for s in agent.spans() if id_of(s["trace_id"]) == f"{CALLER}40"]
