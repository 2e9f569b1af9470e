"""Feedback: all or nothing, acknowledged only when durable, the same when sent again."""

import json
import time

import pytest

from pointsman.domain.records import OutcomeRecord
from pointsman.gateway.feedback import outcome_id

PATH = "/v1/feedback"


@pytest.fixture(scope="module")
def worker(shared_world):
    shared_world.publish([shared_world.project({"champion": "legit"})])
    return shared_world.worker()


def send(worker, items):
    status, _, content = worker.post(PATH, items)
    return status, json.loads(content)


def outcomes(worker):
    return [record for record in worker.records() if isinstance(record, OutcomeRecord)]


def test_feedback_is_kept_as_sent(worker):
    """With the time it became known, when it came, and whose it is."""
    before = time.time_ns() // 1_000_000
    status, answer = send(
        worker,
        [
            {"decision_id": "d1", "label": "fraud", "at": "2026-05-01T12:00:00.5+02:00"},
            {"decision_id": "d1", "reward": 3, "at": 1_700_000_000_000, "id": "mine"},
            {"decision_id": "d2/7", "cost": 0.25},
        ],
    )
    label, reward, cost = outcomes(worker)[-3:]

    assert status == 202
    assert answer == {"accepted": 3, "feedback": [{"id": o.id} for o in (label, reward, cost)]}
    assert (label.decision_id, label.kind, label.value) == ("d1", "label", "fraud")
    assert label.at_ms == 1_777_629_600_500
    assert (reward.id, reward.kind, reward.value, reward.at_ms) == (
        "mine", "reward", 3.0, 1_700_000_000_000,
    )  # fmt: skip
    assert (cost.decision_id, cost.value, cost.at_ms) == ("d2/7", 0.25, cost.received_ms)
    assert before <= cost.received_ms <= time.time_ns() // 1_000_000
    assert {o.tenant for o in (label, reward, cost)} == {"default"}


def test_the_same_feedback_has_the_same_id(worker):
    """Sent again unchanged it is recognised; any change makes another."""
    item = {"decision_id": "d", "label": "a", "at": 5}
    first, again = (send(worker, [item])[1]["feedback"][0]["id"] for _ in range(2))
    other = send(worker, [item | {"label": "b"}])[1]["feedback"][0]["id"]

    assert first == again == outcome_id("d", "label", "a", 5)
    assert other != first


def test_one_bad_item_refuses_the_list(worker):
    """Nothing is taken, and every item's problem is said."""
    before = len(outcomes(worker))
    good = {"decision_id": "d", "label": "a"}
    bad = [
        good,
        {"label": "a"},
        {"decision_id": "d", "label": "a", "reward": 1},
        {"decision_id": "", "cost": 1, "at": "noon"},
        {"decision_id": "d", "reward": "1"},
        good | {"id": "x" * 257},
        7,
    ]
    status, answer = send(worker, bad)

    assert status == 400
    assert [(v["path"], v["message"]) for v in answer["violations"]] == [
        ("[1].decision_id", "missing"),
        ("[2]", "has label and reward"),
        ("[3].decision_id", "is empty"),
        ("[3].at", "'noon' is no time"),
        ("[4].reward", "Expected float | null, got str"),
        ("[5].id", "is longer than 256 bytes"),
        ("[6]", "Expected object, got int"),
    ]
    assert len(outcomes(worker)) == before


def test_feedback_survives_the_worker(world):
    """What was acknowledged is there after SIGKILL."""
    world.publish([world.project({"champion": "legit"})])
    worker = world.worker()
    ids = [send(worker, [{"decision_id": f"d{n}", "label": "a"}])[1] for n in range(20)]
    worker.kill()

    assert [o.id for o in outcomes(worker)] == [answer["feedback"][0]["id"] for answer in ids]


def test_a_long_list_is_bounded(worker):
    """By items and by bytes."""
    item = {"decision_id": "d", "label": "a"}
    status, answer = send(worker, [item] * 10_001)
    large, _, _ = worker.post(PATH, b" " * (1 << 20) + b"[]")

    assert (status, answer["error"]) == (413, "a request may have 10000 items, not 10001")
    assert large == 413


def test_what_became_of_feedback_is_asked_of_the_controller(world):
    """Found, not found, another tenant's, and no controller at all."""
    controller = world.start_controller()
    world.publish([world.project({"champion": "legit"})])
    worker = world.worker()
    controller.feedback["f1"] = {"id": "f1", "state": "joined", "tenant": "default"}
    controller.feedback["f2"] = {"id": "f2", "state": "joined", "tenant": "other"}
    found = worker.get(f"{PATH}/f1")
    missing = worker.get(f"{PATH}/f0")
    others = worker.get(f"{PATH}/f2")
    controller.stop()
    down = worker.get(f"{PATH}/f1")

    assert (found[0], json.loads(found[2])) == (200, {"id": "f1", "state": "joined"})
    assert missing[0] == others[0] == 404
    assert json.loads(others[2])["error"] == "no feedback 'f2' has been read yet"
    assert down[0] == 503
    assert json.loads(down[2])["kind"] == "unavailable"
    assert "does not answer" in json.loads(down[2])["error"]
