"""What senders of feedback hear, through the API, of what became of it."""

import time

import msgspec
import pytest

from control_process import ControlProcess, project
from pointsman.domain.records import DecisionRecord, OutcomeRecord
from pointsman.journal.codec import encode_record
from pointsman.journal.writer import Limits, SegmentWriter

NOW = time.time_ns() // 1_000_000

DECISION = DecisionRecord(
    id="known",
    at_ms=NOW,
    project="payments/fraud",
    digest="ab" * 32,
    table=1,
    request_id="1",
    unit="anna",
    bucket=17,
    unit_hash=5,
    context={},
    rule="default",
    epoch=1,
    assigned="champion",
    served="champion",
    version="1",
    reason="SPLIT",
    served_reason="SPLIT",
    propensity=1.0,
    propensities=(("champion", 1.0),),
    probabilities=(0.25, 0.75),
    predicted="fraud",
    action="deny",
    latency_us=1500,
    cost=0.0,
    features=b"{}",
)


def _label(name: str, decision: str, tenant: str) -> OutcomeRecord:
    return OutcomeRecord(name, decision, "label", "fraud", NOW, NOW, tenant)


@pytest.fixture(scope="module")
def told(control: ControlProcess) -> ControlProcess:
    """A controller that has read one decision, and feedback of two tenants about it."""
    records = [
        DECISION,
        _label("own", "known", "payments"),
        _label("hit", "known", "rivals"),
        _label("miss", "unknown", "rivals"),
    ]
    limits = Limits(low_water_bytes=0)
    writer = SegmentWriter(control.data / "journal" / "w9", "w9", limits)
    writer.append([encode_record(record) for record in records])
    writer.close()
    deadline = time.monotonic() + 20
    while control.call("GET", "/v1/feedback/miss").status_code == 404:
        assert time.monotonic() < deadline, control.said()
        time.sleep(0.05)
    return control


def _token(control: ControlProcess, tenant: str) -> str:
    body = {"name": tenant, "role": "viewer", "tenant": tenant}
    return str(control.call("POST", "/v1/tokens", body).json()["token"])


def test_a_guess_that_hits_sounds_like_one_that_misses(
    told: ControlProcess, gateway_token: str
) -> None:
    """Another tenant's decision and none at all: the same answer, through both doors."""
    rivals = _token(told, "rivals")
    answers = []
    for name in ("hit", "miss"):
        admin = told.call("GET", f"/v1/feedback/{name}", token=rivals).json()
        gateway = told.call(
            "GET", f"/v1/gateway/feedback/{name}?tenant=rivals", token=gateway_token
        ).json()
        assert admin == gateway
        answers.append({k: v for k, v in admin.items() if k not in ("id", "decision_id")})

    assert answers[0] == answers[1]
    assert answers[0]["state"] == "early"
    assert "wrong_tenant" not in msgspec.json.encode(answers).decode()


def test_the_sender_hears_the_state_and_a_sentence(told: ControlProcess) -> None:
    found = told.call("GET", "/v1/feedback/own", token=_token(told, "payments")).json()

    assert found["state"] == "applied"
    assert found["sentence"] == "it is what is held to be true about its decision"
    assert told.call("GET", "/v1/feedback/hit", token=_token(told, "payments")).status_code == 404


def test_an_explanation_shows_the_owners_feedback_only(told: ControlProcess) -> None:
    owner = _token(told, "payments")
    found = told.call("GET", "/v1/decisions/known:explain", token=owner).json()

    assert [piece["id"] for piece in found["outcomes"]] == ["own"]
    assert told.call("GET", "/v1/decisions/known", token=_token(told, "rivals")).status_code == 404


def test_a_decision_of_an_unknown_table_is_told_by_status_and_doctor(told: ControlProcess) -> None:
    """It enters no evidence, so whoever looks at figures has to know."""
    told.apply(project("bystander"))
    status = told.call("GET", "/v1/tenants/default/projects/bystander/status").json()
    checks = {check["name"]: check for check in told.call("GET", "/v1/doctor").json()["checks"]}

    assert status["troubles"][0].startswith("1 decisions were made by tables")
    assert checks["journal"]["state"] == "warning"
    assert "enter no evidence" in checks["journal"]["detail"]
    assert "reserve held" in checks["disk"]["detail"]
    assert "kind=unconfigured" in told.said()
