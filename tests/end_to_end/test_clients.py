"""Four public clients of the Open Inference Protocol call the gateway unmodified.

Each runs in a process and an environment of its own (tests/peers) and says what it saw; here that
is compared with what the models themselves answer and with the exact words of our errors.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from examples.income import train
from tests.end_to_end.serving import Serving

from pointsman import __version__

SCRIPTS = Path(__file__).resolve().parents[1] / "peers" / "clients"
CLIENTS = {
    "triton_http": "triton",
    "triton_aio": "triton",
    "kserve_rest": "kserve",
    "open_inference_client": "open-inference",
}
ROWS = [0, 2, 7]
PIN = "challenger"
PARAMETERS = {"unit": "somebody", "age": 40, "capital_gain": 0.0, "sex": "Female"}
CLIENT_LIMIT_S = 90
TOLERANCE = 1e-5

Lines = dict[str, dict[str, Any]]


class Expected(NamedTuple):
    """What a variant has to answer for the rows. label: as `model_version` carries it"""

    variant: str
    label: str
    reason: str
    classes: list[str]
    probabilities: list[float]


@pytest.fixture(scope="module")
def expected(shared: Serving) -> dict[str, Expected]:
    """By what is asked for: `assigned` (whom the unit gets) and `pinned`."""
    rows, (kept, _) = train.read("test").iloc[ROWS][train.FEATURES], train.split()
    recipes = {recipe.alias: recipe for recipe in train.RECIPES}
    versions = {one["name"]: one["version"] for one in shared.status()["variants"]}
    thresholds = {"champion": 0.5, "challenger": 0.45}

    def of(variant: str, reason: str) -> Expected:
        scores = train.fitted(recipes[variant], kept).predict_proba(rows)
        classes = [">50K" if row[1] >= thresholds[variant] else "<=50K" for row in scores]
        label = f"{variant}:{versions[variant]}"
        return Expected(variant, label, reason, classes, scores.ravel().tolist())

    context = {name: value for name, value in PARAMETERS.items() if name != "unit"}
    body = {"unit": PARAMETERS["unit"], "context": context}
    status, decision = shared.post("/v1/projects/income:decide", body)
    assert status == 200, decision
    return {
        "assigned": of(decision["variant"], decision["reason"]),
        "pinned": of(PIN, "PINNED"),
    }


@pytest.fixture(scope="module")
def case(shared: Serving, expected: dict[str, Expected], tmp_path_factory: Any) -> Path:
    """The file that tells the scripts what to ask."""
    rows = train.read("test").iloc[ROWS]
    inputs = [
        {
            "name": name,
            "datatype": "FP64" if name in train.NUMERIC else "BYTES",
            "data": rows[name].tolist(),
        }
        for name in train.FEATURES
    ]
    told = {
        "authority": shared.running.data_url.removeprefix("http://"),
        "model": "income",
        "pin": PIN,
        "inputs": inputs,
        "rows": len(ROWS),
        "parameters": PARAMETERS,
        "expected_classes": expected["pinned"].classes,
    }
    path: Path = tmp_path_factory.mktemp("case") / "case.json"
    path.write_text(json.dumps(told))
    return path


@pytest.fixture(scope="module", params=list(CLIENTS))
def seen(
    request: pytest.FixtureRequest, case: Path, peer: Callable[[str], Path]
) -> tuple[str, Lines]:
    """The client's name and what it reported, by check."""
    client = request.param
    done = subprocess.run(
        [str(peer(CLIENTS[client])), f"{client}.py", str(case)],
        cwd=SCRIPTS,
        capture_output=True,
        text=True,
        timeout=CLIENT_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return client, {line["check"]: line for line in map(json.loads, done.stdout.splitlines())}


def test_health_and_metadata(seen: tuple[str, Lines]) -> None:
    """Live, ready, and what model it is, as the protocol has it."""
    client, lines = seen
    yes = None if client == "open_inference_client" else True
    for check in ("live", "ready", "model_ready"):
        assert lines[check] == {"check": check, "answer": yes}
    if "server_metadata" in lines:
        assert lines["server_metadata"]["answer"] == {
            "name": "pointsman",
            "version": __version__,
            "extensions": ["binary_tensor_data", "classification", "parameters"],
        }
    for check in {"model_metadata", "pinned_metadata"} & lines.keys():
        answer = lines[check]["answer"]
        assert (answer["name"], answer["platform"]) == ("income", "pointsman")
        assert sorted(answer["versions"]) == [
            "candidate:3",
            "challenger:2",
            "champion:1",
            "too-young:constant",
        ]
        assert answer["inputs"] == [
            {
                "name": name,
                "datatype": "FP64" if name in train.NUMERIC else "BYTES",
                "shape": [-1],
            }
            for name in train.FEATURES
        ]
        assert answer["outputs"] == [
            {"name": "class", "datatype": "BYTES", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP64", "shape": [-1, 2]},
        ]


def test_every_form_of_a_request_gets_the_models_own_answer(
    seen: tuple[str, Lines], expected: dict[str, Expected]
) -> None:
    """JSON and binary tensors in and out, gzip both ways, pins, ids: one and the same answer."""
    client, lines = seen
    forms = {
        "json": False,
        "binary": True,
        "binary_to_json": False,
        "json_to_binary": True,
        "gzip_json": False,
        "gzip_binary": True,
        "query_string": False,
        "id": False,
        "pinned": False,
    }
    assert forms.keys() & lines.keys() >= {"json", "id", "pinned"}
    for check in forms.keys() & lines.keys():
        want = expected["pinned" if check == "pinned" else "assigned"]
        answer = lines[check]["answer"]
        outputs = answer["outputs"]
        assert answer["model_name"] == "income", check
        # KServe's client reads every member of an answer but this one.
        assert answer["model_version"] == (None if client == "kserve_rest" else want.label), check
        assert answer["parameters"].pop("decision_id"), check
        assert answer["parameters"] == {"variant": want.variant, "reason": want.reason}, check
        assert list(outputs) == ["class", "probabilities"], check
        assert outputs["class"]["datatype"] == "BYTES", check
        assert outputs["class"]["shape"] == [len(ROWS)], check
        assert outputs["class"]["data"] == want.classes, check
        assert outputs["probabilities"]["datatype"] == "FP64", check
        assert outputs["probabilities"]["shape"] == [len(ROWS), 2], check
        data = outputs["probabilities"]["data"]
        assert data == pytest.approx(want.probabilities, abs=TOLERANCE), check
        if client.startswith("triton"):
            assert {output["binary"] for output in outputs.values()} == {forms[check]}, check
    assert lines["id"]["answer"]["id"] == "r-17"
    if client != "kserve_rest":
        assert lines["json"]["answer"].get("id") is None, "no id came, so none goes back"


def test_parts_of_an_answer_can_be_asked_for(
    seen: tuple[str, Lines], expected: dict[str, Expected]
) -> None:
    """One output alone; one row alone."""
    _, lines = seen
    want = expected["assigned"]
    if "one_output" in lines:
        outputs = lines["one_output"]["answer"]["outputs"]
        assert {name: output["data"] for name, output in outputs.items()} == {"class": want.classes}
    if "one_row" in lines:
        outputs = lines["one_row"]["answer"]["outputs"]
        assert outputs["class"]["data"] == want.classes[:1]
        assert outputs["probabilities"]["shape"] == [1, 2]


ERRORS = {
    "unknown_model": ("404", "there is no project 'nope'"),
    "unknown_metadata": ("404", "there is no project 'nope'"),
    "unknown_version": ("404", "model income has no version 'nope'"),
    "unknown_output": ("400", "outputs: there is no output 'logits'"),
    "missing_input": ("400", "inputs: feature 'age' is missing"),
    "wrong_datatype": ("400", "input age: feature age is double, which BYTES is not"),
    "ragged_rows": ("400", "inputs: tensors have different numbers of rows: [1, 3]"),
}


def test_errors_arrive_in_the_clients_own_words(seen: tuple[str, Lines]) -> None:
    """Each client finds our sentence where it looks for one, and raises what it raises."""
    client, lines = seen
    reasons = {"400": "Bad Request", "404": "Not Found"}
    assert {"unknown_model", "missing_input"} <= lines.keys()
    for check in ERRORS.keys() & lines.keys():
        status, said = ERRORS[check]
        error = lines[check]["error"]
        assert error["status"] == status, check
        match client:
            case "triton_http" | "triton_aio":
                assert (error["type"], error["message"]) == ("InferenceServerException", said)
            case "kserve_rest":
                head, _, url = error["message"].partition(" for url ")
                assert error["type"] == "HTTPStatusError", check
                assert head == f"{said}, '{status} {reasons[status]}'", check
                assert url.endswith("/infer'"), check
            case _:
                # Its generated code knows 400 on infer, and 404 only on readiness.
                assert error["type"] == ("BadRequestError" if status == "400" else "ApiError")
                assert error["message"]["error"] == said, check


def test_what_is_not_there_is_not_ready(seen: tuple[str, Lines]) -> None:
    """A readiness question about an unknown model or version is answered no, with a 404."""
    client, lines = seen
    for check in {"unknown_ready", "unknown_version_ready"} & lines.keys():
        if client == "open_inference_client":
            assert lines[check]["error"]["type"] == "NotFoundError"
            assert lines[check]["error"]["message"]["error"] == "there is no project 'nope'"
        else:
            assert lines[check]["answer"] is False, check


def test_many_requests_over_kept_connections_are_never_confused(seen: tuple[str, Lines]) -> None:
    """200 requests over 8 connections, JSON and binary in turn: each gets its own answer."""
    client, lines = seen
    if client != "open_inference_client":  # it has one connection and waits for each answer
        assert lines["concurrent"]["answer"] == {"answers": 200, "wrong": []}
