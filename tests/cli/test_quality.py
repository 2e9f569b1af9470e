"""`pointsman quality`, `explain` and the route: a real controller reads what gateways noted."""

import json
import time

import pytest

from control_process import project
from pointsman.decide.hashing import unit_hash
from pointsman.domain.records import DecisionRecord
from pointsman.journal.codec import encode_record
from pointsman.journal.writer import Limits, SegmentWriter

QUALITY = {
    "onExtra": "warn",
    "features": {"amount": {"range": [0, 9], "value": 3, "onRange": "impute"}},
}
NOTES = [
    ("amount:range:impute",),
    ("amount:range:impute", "shoe:extra:warn"),
    ("hat:extra:warn",),
    *[()] * 5,
]


@pytest.fixture(scope="module")
def noted(control):
    """Eight decisions, three of them with problems, as a gateway writes them."""
    assert control.apply(project("noted", quality=QUALITY)).status_code == 200
    digest = control.call("GET", "/v1/tenants/default/projects/noted").json()["table_digest"]
    writer = SegmentWriter(control.data / "journal" / "noted", "noted", Limits(low_water_bytes=0))
    writer.append(
        [
            encode_record(
                DecisionRecord(
                    id=f"noted-{i}", at_ms=int(time.time() * 1000) - 60_000,
                    project="default/noted", digest=digest, table=1, request_id="", unit=None,
                    bucket=-1, unit_hash=unit_hash(f"noted-{i}"), context={}, rule="default",
                    epoch=1, assigned="champion", served="champion", version="constant",
                    reason="SPLIT", served_reason="SPLIT", propensity=1.0,
                    propensities=(("champion", 1.0),), probabilities=(1.0, 0.0),
                    predicted="legit", action="allow", latency_us=100, cost=0.0,
                    features=b'{"amount":3.0}', quality=notes,
                )
            )
            for i, notes in enumerate(NOTES)
        ]
    )  # fmt: skip
    writer.close()
    path = "/v1/tenants/default/projects/noted/quality"
    deadline = time.monotonic() + 30
    while not (found := control.call("GET", path).json())["variants"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_problems_are_told_by_feature_problem_and_variant(noted):
    """Most rows first; whatever is no feature is one line, whatever it was called."""
    assert noted["declared"]
    assert noted["variants"] == [{"variant": "champion", "rows": 8, "with_problems": 3}]
    assert noted["problems"] == [
        {"feature": "*", "problem": "extra", "answer": "warn", "variant": "champion",
         "rows": 2, "share": 0.25},
        {"feature": "amount", "problem": "range", "answer": "impute", "variant": "champion",
         "rows": 2, "share": 0.25},
    ]  # fmt: skip


def test_the_command_shows_them_and_explain_shows_those_of_one_decision(noted, run):
    """The decision made again is equal: what was noted had no part in it."""
    shown = run("quality", "noted")
    explained = json.loads(run("--output", "json", "explain", "noted-1").out)

    assert shown.code == 0
    assert "3 of 8 rows with problems (37.5 %)" in shown.out
    assert "amount" in shown.out
    assert explained["facts"]["quality"] == "amount:range:impute, shoe:extra:warn"
    assert explained["record"]["quality"] == ["amount:range:impute", "shoe:extra:warn"]
    assert [one["field"] for one in explained["differences"]] == [
        "bucket", "propensity", "propensities",
    ]  # fmt: skip


def test_a_project_without_the_block_says_so(control, run):
    """Nothing to count is not nothing declared."""
    assert control.apply(project("silent")).status_code == 200

    assert "declares no `quality`" in run("quality", "silent").out
