"""From decided to answered: batches, fallbacks, deadlines, shadows, records, a failing journal."""

import json
import os
import resource
import threading
import time

import pytest

from pointsman.domain.records import DecisionRecord, ShadowRecord
from pointsman.domain.table import Attribute, AttributeType, Runtime, Shadow, Variant

PATH = "/v1/projects/fraud:predict"
NEGATIVE = {"amount": -100.0, "age-years": 1, "country": "DE"}


def decisions(worker):
    return [record for record in worker.records() if isinstance(record, DecisionRecord)]


def test_an_answer_says_who_answered_and_why(world, kit):
    """In the body and in the headers, and the record holds the same and more."""
    world.publish(
        [world.project({"champion": world.model()}, [kit.rule(split={"champion": 1})])], 7
    )
    worker = world.worker()
    before = time.time() * 1000
    status, headers, answer = worker.predict(
        unit="u-17", context={"amount": 17.5}, id="order-9", headers={"x-unknown": "1"}
    )
    worker.kill()
    (record,) = decisions(worker)
    fraud = kit.probability((0.1, 0.01), -1.0)

    assert status == 200
    assert answer == {
        "decision_id": record.id,
        "variant": "champion",
        "version": "1",
        "reason": "SPLIT",
        "class": "fraud",
        "action": "allow",
        "probabilities": {"legit": pytest.approx(1 - fraud), "fraud": pytest.approx(fraud)},
        "id": "order-9",
    }
    assert headers["x-decision-id"] == record.id
    assert (headers["x-variant"], headers["x-version"]) == ("champion", "1")
    assert headers["x-reason"] == "SPLIT"
    assert headers["traceparent"].startswith("00-" + record.id.replace("-", ""))
    assert before <= record.at_ms + 1 <= time.time() * 1000 + 1
    assert (record.project, record.table, record.request_id) == ("default/fraud", 7, "order-9")
    assert (record.unit, record.context) == (
        "u-17",
        {"account": "u-17", "amount": 17.5, "channel": "web"},
    )
    assert (record.assigned, record.served, record.version) == ("champion", "champion", "1")
    assert (record.reason, record.served_reason, record.propensity) == ("SPLIT", "SPLIT", 1.0)
    assert record.probabilities == tuple(answer["probabilities"].values())
    assert (record.predicted, record.action) == ("fraud", "allow")
    assert json.loads(record.features) == kit.row
    assert 0 <= record.latency_us < 1_000_000
    assert (record.error, record.live, record.pin, record.key) == ("", (), "", "")


def test_a_threshold_and_denied_classes_turn_scores_into_an_action(world, kit):
    """The variant's own threshold decides the class; a class it denies is the action `deny`."""
    model = world.model((0.0, 0.0), -1.0)  # fraud at 0.27
    strict = Variant("champion", "1", "", model, Runtime.ONNX, threshold=0.25, deny=("fraud",))
    lax = Variant("lax", "2", "", model, Runtime.ONNX, threshold=0.3, deny=("fraud",))
    world.publish([world.project({"champion": strict, "lax": lax})])
    worker = world.worker()

    assert worker.predict()[2] | {"decision_id": ""} == worker.predict()[2] | {
        "decision_id": "", "class": "fraud", "action": "deny", "variant": "champion",
    }  # fmt: skip
    assert worker.predict(variant="lax")[2]["action"] == "allow"


def test_rows_of_a_list_are_decisions_of_their_own(world, kit):
    """`<id>/<row>`, each recorded; a shared unit gets one variant, no unit a draw for each row."""
    rules = [kit.rule(split={"champion": 1, "challenger": 1})]
    variants = {"champion": world.model(), "challenger": world.model((0.2, 0.0))}
    world.publish([world.project(variants, rules)])
    worker = world.worker()
    _, _, alone = worker.predict([kit.row] * 40)
    _, headers, shared = worker.predict([kit.row] * 40, unit="u")
    worker.kill()

    assert [p["decision_id"] for p in alone["predictions"]] == [
        f"{alone['decision_id']}/{n}" for n in range(40)
    ]
    assert {p["variant"] for p in alone["predictions"]} == {"champion", "challenger"}
    assert {p["variant"] for p in shared["predictions"]} == {headers["x-variant"]}
    assert [record.id for record in decisions(worker)] == [
        p["decision_id"] for answer in (alone, shared) for p in answer["predictions"]
    ]


def test_requests_of_one_turn_are_one_batch_and_one_write(world, kit):
    """What arrives together is scored together and recorded together."""
    world.publish([world.project({"champion": world.model()})])
    worker = world.worker()
    connections = [worker.connect() for _ in range(24)]
    data = kit.request("POST", PATH, json.dumps({"features": kit.row}).encode())
    before = worker.metrics()
    os.kill(worker.process.pid, 19)  # SIGSTOP: all of them are there when it goes on
    for connection in connections:
        connection.sendall(data)
    os.kill(worker.process.pid, 18)
    answers = [kit.read_answer(connection.makefile("rb")) for connection in connections]
    after = worker.metrics()
    batches = 'pointsman_batch_rows_count{project="default/fraud",variant="champion"}'

    assert {status for status, _, _ in answers} == {200}
    assert after[batches] - before.get(batches, 0) <= 2
    assert after["pointsman_journal_writes_total"] - before["pointsman_journal_writes_total"] <= 2
    for connection in connections:
        connection.close()


POISON = """
from pointsman.gateway import native, records
whole, encoded = records.decision, native.encode_predict

def decision(job, *args, **more):
    if job.request_id == "no record":
        raise OverflowError("does not fit")
    return whole(job, *args, **more)

def encode(job):
    if job.request_id == "no answer":
        raise ValueError("cannot be written")
    return encoded(job)

records.decision, native.encode_predict = decision, encode
"""


@pytest.mark.parametrize("durability", ["os", "durable"])
@pytest.mark.parametrize("poison", ["no record", "no answer"])
def test_one_request_that_fails_takes_no_other_of_its_turn_along(world, kit, poison, durability):
    """It is refused, the others are answered, and the room of all of them is given back."""
    world.publish([world.project({"champion": world.model()}, durability=durability)])
    worker = world.worker(disk=POISON, limits={"pending_rows": 12})
    fine = kit.request("POST", PATH, json.dumps({"features": kit.row}).encode())
    bad = kit.request("POST", PATH, json.dumps({"features": kit.row, "id": poison}).encode())
    for _ in range(3):  # the second time there is no room, had the first kept any
        connections = [worker.connect() for _ in range(12)]
        os.kill(worker.process.pid, 19)  # SIGSTOP: all of them are there when it goes on
        for place, connection in enumerate(connections):
            connection.sendall(bad if place == 5 else fine)
        os.kill(worker.process.pid, 18)
        statuses = [kit.read_answer(one.makefile("rb"))[0] for one in connections]
        for connection in connections:
            connection.close()

        assert statuses == [200] * 5 + [500] + [200] * 6


BROKEN_TURN = """
from pointsman.gateway import pipeline
living, record, left = pipeline.Pipeline._living, pipeline.Pipeline._record, [3, 3]

def broken(place, whole):
    def call(self, *args):
        if left[place]:
            left[place] -= 1
            raise RuntimeError("broken")
        return whole(self, *args)
    return call

pipeline.Pipeline._living = broken(0, living)
pipeline.Pipeline._record = broken(1, record)
"""


def test_a_turn_that_fails_settles_every_request_it_took(world, kit):
    """Each gets an answer, and none keeps room, wherever in the turn it broke."""
    world.publish([world.project({"champion": world.model()})])
    worker = world.worker(disk=BROKEN_TURN, limits={"pending_rows": 4})
    statuses = [worker.predict([kit.row] * 4)[0] for _ in range(8)]

    assert statuses == [500] * 6 + [200] * 2


WHOLE = (Attribute("number", AttributeType.INT),)


@pytest.mark.parametrize("unit", [2**53, -(2**53), 2**64, 10**300, str(2**70), "9" * 257])
def test_a_unit_its_attribute_cannot_hold_is_refused(world, kit, unit):
    """In every place a unit can stand in, and what comes after it is answered."""
    table = world.project({"champion": "legit"}, unit="number", context=WHOLE)
    world.publish([table])
    worker = world.worker(limits={"pending_rows": 2})
    tensors = [
        {"name": "amount", "shape": [1], "datatype": "FP64", "data": [12.5]},
        {"name": "age-years", "shape": [1], "datatype": "INT64", "data": [41]},
        {"name": "country", "shape": [1], "datatype": "BYTES", "data": ["DE"]},
    ]
    given = {"name": "number", "shape": [1], "datatype": "BYTES", "data": [str(unit)]}
    two = [{**one, "shape": [2], "data": one["data"] * 2} for one in [*tensors, given]]
    infer = "/v2/models/fraud/infer"
    statuses = [
        worker.predict(unit=unit)[0],
        worker.predict([kit.row] * 2, unit=unit)[0],
        worker.post("/v1/projects/fraud:decide", {"unit": unit})[0],
        worker.post(infer, {"inputs": tensors, "parameters": {"unit": unit}})[0],
        worker.post(infer, {"inputs": [*tensors, given]})[0],
        worker.post(infer, {"inputs": two})[0],
    ]

    assert statuses == [400] * 6
    assert worker.predict([kit.row] * 2, unit=2**53 - 1)[0] == 200


def test_a_failing_variant_is_answered_by_its_fallback(world, kit):
    """Within the same request; assigned and served are both recorded; NaN never leaves."""
    nan = world.prepared(kit.graph((1.0, 0.0), function="Sqrt"))
    rules = [kit.rule(use="challenger", fallback=("champion",))]
    world.publish([world.project({"champion": world.model(), "challenger": nan}, rules)])
    worker = world.worker()
    _, _, fine = worker.predict()
    status, headers, answer = worker.predict(NEGATIVE)
    metrics = worker.metrics()
    worker.kill()
    record = decisions(worker)[-1]

    assert (fine["variant"], fine["reason"]) == ("challenger", "RULE")
    assert (status, answer["variant"], answer["reason"]) == (200, "champion", "FALLBACK")
    assert (headers["x-variant"], headers["x-reason"]) == ("champion", "FALLBACK")
    assert (record.assigned, record.served) == ("challenger", "champion")
    assert (record.reason, record.served_reason) == ("RULE", "FALLBACK")
    assert "not probabilities" in record.error
    labels = '{project="default/fraud",variant="challenger"}'
    assert metrics[f"pointsman_fallbacks_total{labels}"] == 1
    assert metrics[f"pointsman_variant_errors_total{labels}"] == 1
    assert metrics[f"pointsman_assigned_total{labels}"] == 2


def test_one_bad_row_does_not_fail_the_others(world, kit):
    """A batch a model cannot take is asked row by row."""
    nan = world.prepared(kit.graph((1.0, 0.0), function="Sqrt"))
    rules = [kit.rule(use="challenger", fallback=("champion",))]
    world.publish([world.project({"champion": world.model(), "challenger": nan}, rules)])
    worker = world.worker()
    _, _, answer = worker.predict([kit.row, NEGATIVE, kit.row])

    assert [p["reason"] for p in answer["predictions"]] == ["RULE", "FALLBACK", "RULE"]


def test_without_a_fallback_the_failure_is_said(world, kit):
    """503 with the decision id, recorded as served by nobody; no NaN, no made-up answer."""
    nan = world.prepared(kit.graph((1.0, 0.0), function="Sqrt"))
    world.publish([world.project({"champion": nan})])
    worker = world.worker()
    status, headers, answer = worker.predict(NEGATIVE)
    worker.kill()
    (record,) = decisions(worker)

    assert (status, answer["kind"]) == (503, "backend_failed")
    assert "probabilities" in answer["error"]
    assert headers["x-decision-id"] == record.id
    assert (record.assigned, record.served, record.probabilities) == ("champion", "", ())


def test_a_constant_answers_when_all_models_fail(world, kit):
    """The declared default, with probability 1 for its class."""
    nan = world.prepared(kit.graph((1.0, 0.0), function="Sqrt"))
    rules = [kit.rule(use="champion", fallback=("safe",))]
    world.publish([world.project({"champion": nan, "safe": "legit"}, rules)])
    worker = world.worker()
    _, _, answer = worker.predict(NEGATIVE)

    assert (answer["variant"], answer["version"]) == ("safe", "constant")
    assert answer["probabilities"] == {"legit": 1.0, "fraud": 0.0}


def test_the_deadline_bounds_large_requests_and_others_go_on(world, kit):
    """A request too large for its deadline is refused with 504; small ones meanwhile are not."""
    world.publish([world.project({"champion": world.model()})])
    worker = world.worker()
    body = json.dumps({"features": [kit.row] * 10_000}).encode()
    late = []

    def large():
        late.append(worker.post(PATH, body, {"x-request-timeout-ms": "1"}))

    thread = threading.Thread(target=large)
    thread.start()
    small = [worker.predict()[0] for _ in range(20)]
    thread.join()
    status, _, answer = late[0]

    assert set(small) == {200}
    assert status == 504
    assert json.loads(answer)["kind"] == "timeout"


def test_a_large_request_is_answered_in_parts_of_many_turns(world, kit):
    """All 10,000 rows, in order."""
    world.publish([world.project({"champion": world.model()}, deadline_ms=20_000)])
    worker = world.worker()
    rows = [kit.row | {"amount": n / 100.0} for n in range(10_000)]
    status, _, answer = worker.predict(rows)

    assert status == 200
    scores = [p["probabilities"]["fraud"] for p in answer["predictions"]]
    assert scores == pytest.approx([kit.probability((0.1, 0.01), -1.0, row) for row in rows])


def test_an_idempotency_key_gives_the_same_decision(world, kit):
    """The id is derived from it, so a retry draws the same arm; the record names the key."""
    rules = [kit.rule(split={"champion": 1, "challenger": 1})]
    variants = {"champion": world.model(), "challenger": world.model((0.2, 0.0))}
    world.publish([world.project(variants, rules)])
    worker = world.worker()
    answers = [
        [worker.predict(headers={"idempotency-key": f"k{n}"})[2] for _ in range(2)]
        for n in range(20)
    ]
    worker.kill()
    again = world.worker()
    later = again.predict(headers={"idempotency-key": "k0"})[2]

    assert all(first == second for first, second in answers)
    assert {first["variant"] for first, _ in answers} == {"champion", "challenger"}
    assert later == answers[0][0]
    assert decisions(worker)[0].idempotency_key == "k0"


def test_a_trace_context_is_passed_on(world, kit):
    """Unchanged where it is one; otherwise a new one."""
    world.publish([world.project({"champion": "legit"})])
    worker = world.worker()
    given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    assert worker.predict(headers={"traceparent": given})[1]["traceparent"] == given
    assert worker.predict(headers={"traceparent": given.upper()})[1]["traceparent"] != given


def test_a_decision_alone_is_recorded_too(world, kit):
    """`:decide` asks no model; its record has no probabilities."""
    world.publish([world.project({"champion": "legit", "b": "fraud"}, [kit.rule(split={"b": 1})])])
    worker = world.worker()
    status, _, content = worker.post(
        "/v1/projects/fraud:decide", {"unit": 17, "context": {"amount": 1}}
    )
    worker.kill()
    (record,) = decisions(worker)

    assert status == 200
    assert json.loads(content) == {
        "decision_id": record.id,
        "variant": "b",
        "version": "constant",
        "reason": "SPLIT",
        "rule": "all",
        "propensity": 1.0,
    }
    assert (record.unit, record.served, record.probabilities) == ("17", "b", ())
    assert (record.predicted, record.features) == ("", b"")


def test_a_condition_that_errors_ends_in_the_champion(world, kit):
    """With reason DEFAULT, the error in the record, and a counter."""
    rules = [kit.rule("big", "b", when="request.amount > 10.0"), kit.rule(use="b")]
    world.publish([world.project({"champion": "legit", "b": "fraud"}, rules)])
    worker = world.worker()
    _, _, answer = worker.predict()
    metrics = worker.metrics()
    worker.kill()
    (record,) = decisions(worker)

    assert (answer["variant"], answer["reason"]) == ("champion", "DEFAULT")
    assert record.error.startswith("rule big: ")
    assert metrics['pointsman_condition_errors_total{project="default/fraud"}'] == 1


def test_a_shadow_is_recorded_and_never_returned(world, kit):
    """Under the same decision id, after the answer."""
    rules = [kit.rule(use="champion", shadows=(Shadow("night", 1 << 32, "s"),))]
    variants = {"champion": world.model(), "night": world.model((0.0, 0.0), 3.0)}
    world.publish([world.project(variants, rules)])
    worker = world.worker()
    _, _, answer = worker.predict([kit.row, kit.row])
    worker.terminate()
    assert worker.wait() == 0
    records = worker.records()
    shadows = [record for record in records if isinstance(record, ShadowRecord)]

    assert {p["variant"] for p in answer["predictions"]} == {"champion"}
    assert [shadow.id for shadow in shadows] == [p["decision_id"] for p in answer["predictions"]]
    assert shadows[0].variant == "night"
    assert shadows[0].probabilities[1] == pytest.approx(kit.probability((0.0, 0.0), 3.0))
    assert (shadows[0].predicted, shadows[0].error) == ("fraud", "")


def test_shadows_beyond_the_bound_are_dropped_and_counted(world, kit):
    """They never hold up or fail an answer."""
    nan = world.prepared(kit.graph((1.0, 0.0), function="Sqrt"))
    rules = [kit.rule(use="champion", shadows=(Shadow("night", 1 << 32, "s"),))]
    world.publish([world.project({"champion": "legit", "night": nan}, rules)])
    worker = world.worker(limits={"shadow_rows": 50})
    status, _, _ = worker.predict([NEGATIVE] * 200)
    time.sleep(0.3)
    metrics = worker.metrics()
    labels = '{{project="default/fraud",result="{}",variant="night"}}'

    assert status == 200
    assert metrics["pointsman_shadow_total" + labels.format("dropped")] == 150
    assert metrics["pointsman_shadow_total" + labels.format("failed")] == 50


def test_in_durable_mode_answers_come_after_the_sync(world, kit):
    """And are as right as in the other mode."""
    world.publish([world.project({"champion": world.model()}, durability="durable")])
    worker = world.worker()
    answers = [worker.predict()[0] for _ in range(5)]

    assert answers == [200] * 5
    assert len(decisions(worker)) == 5


@pytest.mark.parametrize(
    ("on_failure", "durability"),
    [("serve_fallback_unlogged", "os"), ("refuse", "os"), ("serve_fallback_unlogged", "durable")],
)
def test_a_full_disk_stops_experiments_not_service(world, kit, on_failure, durability):
    """What cannot be recorded is refused, or answered by the champion and said to be unlogged; it
    ends by itself once there is room."""
    rules = [kit.rule(use="challenger")]
    project = world.project(
        {"champion": "legit", "challenger": "fraud"},
        rules,
        on_log_failure=on_failure,
        durability=durability,
    )
    world.publish([project])
    worker = world.worker()
    pid = worker.process.pid
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (2048, resource.RLIM_INFINITY))
    body = {"features": [kit.row] * 20}
    status, headers, content = worker.post(PATH, body)
    feedback, _, _ = worker.post("/v1/feedback", [{"decision_id": "x" * 250, "label": "a"}] * 20)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    time.sleep(0.3)
    after, headers_after, content_after = worker.post(PATH, body)
    answer, later = json.loads(content), json.loads(content_after)

    if on_failure == "refuse":
        assert (status, answer["kind"]) == (503, "log_unavailable")
    else:
        assert (status, headers["x-decision-log"], answer["logged"]) == (200, "unlogged", False)
        assert {(p["variant"], p["reason"]) for p in answer["predictions"]} == {
            ("champion", "FALLBACK")
        }
    assert feedback == 503
    assert after == 200
    assert "x-decision-log" not in headers_after
    assert {p["variant"] for p in later["predictions"]} == {"challenger"}
    assert len(decisions(worker)) == 20


BROKEN_DISK = """
import errno
from pointsman.journal.disk import Disk

def fail(*_):
    raise OSError(errno.EIO, "Input/output error")

Disk.{call} = fail
"""


@pytest.mark.parametrize(("call", "durability"), [("sync", "durable"), ("sync", "os")])
def test_a_broken_disk_ends_the_worker(world, kit, call, durability):
    """Nothing more is acknowledged, no sync is tried again, and a successor recovers."""
    world.publish([world.project({"champion": "legit"}, durability=durability)])
    worker = world.worker(disk=BROKEN_DISK.format(call=call))
    status, _, answer = worker.predict()
    feedback = worker.post("/v1/feedback", [{"decision_id": "d", "label": "a"}])[0]
    code = worker.wait(10)
    again = world.worker()

    assert status == 200
    assert answer.get("logged", True) is (durability == "os")
    assert feedback == 503
    assert code == 74
    assert again.predict()[0] == 200


def test_a_killed_worker_leaves_every_answer_recorded(world, kit):
    """SIGKILL at any moment: each answered decision is in the journal exactly once."""
    world.publish([world.project({"champion": world.model()})])
    answered = []
    for _ in range(3):
        worker = world.worker()
        stop = threading.Event()

        def client(worker=worker, stop=stop):
            with worker.connect() as connection:
                stream = connection.makefile("rb")
                body = json.dumps({"features": kit.row}).encode()
                while not stop.is_set():
                    try:
                        connection.sendall(kit.request("POST", PATH, body))
                        status, _, content = kit.read_answer(stream)
                    except (OSError, ValueError, IndexError):
                        return
                    if status == 200:
                        answered.append(json.loads(content)["decision_id"])

        threads = [threading.Thread(target=client) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.4)
        worker.kill()
        stop.set()
        for thread in threads:
            thread.join()
    recorded = [record.id for record in decisions(worker)]

    assert len(answered) > 100
    assert set(answered) <= set(recorded)
    assert len(recorded) == len(set(recorded))
