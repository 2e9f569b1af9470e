"""Open Inference Protocol v2: JSON and binary tensors, both ways, as its clients send them."""

import gzip
import json
import struct
import zlib

import numpy as np
import pytest

from pointsman.domain.records import DecisionRecord
from pointsman.domain.table import Feature, FeatureType

PATH = "/v2/models/fraud/infer"
ROWS = 3
AMOUNTS, AGES, COUNTRIES = [1.5, 20.0, -3.0], [20, 30, 40], ["DE", "FR", "São"]


@pytest.fixture(scope="module")
def worker(shared_world, kit):
    world = shared_world
    rules = [kit.rule(split={"champion": 1, "challenger": 1})]
    variants = {"champion": world.model(), "challenger": world.model((0.2, 0.0)), "safe": "legit"}
    one = world.project(
        {"champion": "legit"},
        name="one",
        features=(Feature("x", FeatureType.DOUBLE),),
    )
    world.publish([world.project(variants, rules), one])
    return world.worker()


def tensor(name, datatype, data, shape=None, **parameters):
    made = {"name": name, "shape": shape or [ROWS], "datatype": datatype}
    if data is not None:
        made["data"] = data
    if parameters:
        made["parameters"] = parameters
    return made


def inputs():
    return [
        tensor("amount", "FP64", AMOUNTS),
        tensor("age-years", "INT64", AGES),
        tensor("country", "BYTES", COUNTRIES),
    ]


def pinned(**more):
    return {"inputs": inputs(), "parameters": {"variant": "champion"}} | more


def infer(worker, body, headers=None, path=PATH):
    status, got, content = worker.post(path, body, headers)
    return status, got, json.loads(content)


@pytest.fixture
def expected(kit):
    rows = [{"amount": a, "age-years": y} for a, y in zip(AMOUNTS, AGES, strict=True)]
    fraud = [kit.probability((0.1, 0.01), -1.0, row) for row in rows]
    return [p for one in fraud for p in (1 - one, one)]


def test_an_answer_has_classes_and_probabilities(worker, expected):
    """In the project's class order, with who served, and the request's id echoed."""
    status, headers, answer = infer(worker, pinned(id="17"))

    assert status == 200
    assert headers["content-type"] == "application/json"
    assert (answer["model_name"], answer["model_version"]) == ("fraud", "champion:1")
    assert answer["id"] == "17"
    assert answer["parameters"] == {
        "decision_id": headers["x-decision-id"],
        "variant": "champion",
        "reason": "PINNED",
    }
    classes, probabilities = answer["outputs"]
    assert classes | {"data": None} == tensor("class", "BYTES", None) | {"data": None}
    assert classes["data"] == ["fraud" if p > 0.5 else "legit" for p in expected[1::2]]
    assert (probabilities["name"], probabilities["shape"]) == ("probabilities", [3, 2])
    assert probabilities["data"] == pytest.approx(expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body,
        lambda body: body | {"model_name": "fraud", "anything": {"else": [1]}},
        lambda body: body | {"id": ""},
        lambda body: body | {"outputs": []},
        lambda body: body | {"inputs": list(reversed(body["inputs"]))},
        lambda body: body | {"inputs": [t | {"shape": [3, 1]} for t in body["inputs"]]},
        lambda body: body
        | {
            "inputs": [
                t | {"shape": [3, 1], "data": [[v] for v in t["data"]]} for t in body["inputs"]
            ]
        },
        lambda body: body
        | {"inputs": [t | {"parameters": {"content_type": "np"}} for t in body["inputs"]]},
        lambda body: body
        | {"inputs": [tensor("amount", "FP32", AMOUNTS), *body["inputs"][1:]]},
        lambda body: body
        | {"inputs": [body["inputs"][0], tensor("age-years", "UINT8", AGES), body["inputs"][2]]},
        lambda body: body
        | {"inputs": [*body["inputs"], tensor("vip", "BOOL", [True, None, False])]},
    ],
    ids=[
        "plain", "extra members", "empty id", "no outputs named", "other order", "[n, 1] flat",
        "[n, 1] nested", "parameters", "FP32", "UINT8", "optional with null",
    ],
)  # fmt: skip
def test_the_same_rows_come_in_many_forms(worker, expected, change):
    """All of them are answered alike."""
    _, _, answer = infer(worker, change(pinned()))

    assert answer["outputs"][1]["data"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("content_type", ["", "application/octet-stream", "text/csv"])
def test_the_content_type_says_nothing(worker, content_type):
    """tritonclient sends none, its aiohttp variant octet-stream with JSON."""
    headers = {"content-type": content_type} if content_type else {}

    assert infer(worker, pinned(), headers)[0] == 200


def test_one_tensor_may_hold_all_features(world, kit):
    """[n, F] in the project's order, under any name that is no feature."""
    features = (Feature("amount", FeatureType.DOUBLE), Feature("age-years", FeatureType.DOUBLE))
    world.publish([world.project({"champion": world.model()}, features=features)])
    worker = world.worker()
    expected = kit.probability((0.1, 0.01), -1.0, {"amount": 2.0, "age-years": 50.0})
    for data in ([2.0, 50.0, 1.0, 1.0], [[2.0, 50.0], [1.0, 1.0]]):
        _, _, answer = infer(worker, {"inputs": [tensor("input-0", "FP32", data, [2, 2])]})

        assert answer["outputs"][1]["data"][1] == pytest.approx(expected)
    wrong = {"inputs": [tensor("input-0", "FP32", [1.0, 2.0, 3.0], [1, 3])]}
    assert infer(worker, wrong)[2]["error"] == (
        "input input-0: is no feature, and not [n, 2] as one tensor of all features is"
    )


def test_a_tensor_of_units_decides_row_by_row(worker):
    """Each row by its own unit, as if it had come alone; the answer says who served which."""
    units = [f"u{n}" for n in range(ROWS)]
    alone = [
        infer(
            worker,
            {"inputs": [{**t, "shape": [1], "data": [t["data"][n]]} for t in inputs()],
             "parameters": {"unit": unit}},
        )[2]["parameters"]["variant"]
        for n, unit in enumerate(units)
    ]  # fmt: skip
    body = {"inputs": [*inputs(), tensor("account", "BYTES", units)]}
    _, headers, answer = infer(worker, body)

    assert len(set(alone)) == 2, "pick other units: these all go to one variant"
    assert answer["model_version"] == "mixed"
    assert answer["parameters"]["variants"] == ",".join(alone)
    assert answer["parameters"]["reasons"] == "SPLIT,SPLIT,SPLIT"
    assert "x-variant" not in headers


def test_units_context_and_pins_are_parameters(worker, shared_world):
    """The record holds them; the path may pin too, by label, name or version."""
    body = {"inputs": inputs(), "parameters": {"unit": 7, "amount": 3, "priority": 1}}
    _, headers, _ = infer(worker, body)
    record = next(r for r in worker.records() if r.id == f"{headers['x-decision-id']}/0")

    assert isinstance(record, DecisionRecord)
    assert (record.unit, record.context["amount"], record.context["account"]) == ("7", 3.0, "7")
    for version in ("challenger:2", "challenger", "2", "challenger%3A2"):
        path = f"/v2/models/fraud/versions/{version}/infer"
        answer = infer(worker, {"inputs": inputs()}, path=path)[2]
        assert answer["model_version"] == "challenger:2"
        assert answer["parameters"]["reason"] == "PINNED"


def test_outputs_are_those_asked_for_in_that_order(worker):
    """Besides class and probabilities there are action, decision_id, variant and reason."""
    names = ["reason", "class", "decision_id", "variant", "action"]
    _, headers, answer = infer(worker, pinned(outputs=[{"name": name} for name in names]))
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}

    assert list(outputs) == names
    assert outputs["variant"] == ["champion:1"] * 3
    assert outputs["decision_id"] == [f"{headers['x-decision-id']}/{n}" for n in range(3)]


def test_the_classification_extension(worker, expected):
    """`<value>:<index>:<label>`, the likeliest first."""
    wanted = [{"name": "probabilities", "parameters": {"classification": 1}}]
    _, _, answer = infer(worker, pinned(outputs=wanted))
    (output,) = answer["outputs"]

    assert (output["shape"], output["datatype"]) == ([3, 1], "BYTES")
    for text, fraud in zip(output["data"], expected[1::2], strict=True):
        value, index, label = text.split(":")
        assert float(value) == pytest.approx(max(fraud, 1 - fraud))
        assert (index, label) == (("1", "fraud") if fraud > 0.5 else ("0", "legit"))


def raw_tensors():
    """(JSON part, binary part) of a request with every tensor in binary."""
    amounts = np.array(AMOUNTS, "<f8").tobytes()
    ages = np.array(AGES, "<i4").tobytes()
    countries = b"".join(struct.pack("<I", len(c.encode())) + c.encode() for c in COUNTRIES)
    tensors = [
        tensor("amount", "FP64", None, binary_data_size=len(amounts)),
        tensor("age-years", "INT32", None, binary_data_size=len(ages)),
        tensor("country", "BYTES", None, binary_data_size=len(countries)),
    ]
    return tensors, amounts + ages + countries


def binary(worker, body, raw, headers=None, pack=None):
    text = json.dumps(body).encode()
    content = text + raw
    if pack:
        content = pack(content)
    lines = {"Inference-Header-Content-Length": str(len(text)), **(headers or {})}
    return worker.post(PATH, content, lines)


def outputs_of(headers, content):
    """Outputs by name, binary ones read as numpy arrays."""
    length = int(headers["inference-header-content-length"])
    answer = json.loads(content[:length])
    rest = content[length:]
    found = {}
    for output in answer["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            found[output["name"]] = output["data"]
            continue
        data, rest = rest[:size], rest[size:]
        if output["datatype"] == "BYTES":
            texts = []
            while data:
                end = 4 + struct.unpack("<I", data[:4])[0]
                texts.append(data[4:end].decode())
                data = data[end:]
            found[output["name"]] = texts
        else:
            found[output["name"]] = np.frombuffer(data, "<f8").tolist()
    assert rest == b""
    return found


def test_binary_tensors_both_ways(worker, expected):
    """As tritonclient does by default."""
    tensors, raw = raw_tensors()
    body = pinned(inputs=tensors, parameters={"variant": "champion", "binary_data_output": True})
    status, headers, content = binary(worker, body, raw)
    found = outputs_of(headers, content)

    assert status == 200
    assert headers["content-type"] == "application/octet-stream"
    assert found["probabilities"] == pytest.approx(expected)
    assert found["class"] == ["fraud" if p > 0.5 else "legit" for p in expected[1::2]]


def test_binary_and_json_mix(worker, expected):
    """In the inputs, and in the outputs, where the output's own wish wins."""
    tensors, _ = raw_tensors()
    amounts = np.array(AMOUNTS, "<f8").tobytes()
    wanted = [{"name": "class", "parameters": {"binary_data": False}}, {"name": "probabilities"}]
    body = pinned(
        inputs=[inputs()[1], tensors[0], inputs()[2]],
        outputs=wanted,
        parameters={"variant": "champion", "binary_data_output": True},
    )
    _, headers, content = binary(worker, body, amounts)

    assert outputs_of(headers, content)["probabilities"] == pytest.approx(expected)


def test_fp16_comes_in_binary(worker, expected):
    """It has no JSON form."""
    halves = np.array(AMOUNTS, "<f2").tobytes()
    tensors = [tensor("amount", "FP16", None, binary_data_size=len(halves)), *inputs()[1:]]
    status, _, content = binary(worker, pinned(inputs=tensors), halves)

    assert status == 200
    assert json.loads(content)["outputs"][1]["data"] == pytest.approx(expected)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
def test_packed_requests_and_answers(worker, expected, pack):
    """The JSON length counts after unpacking; large answers come packed when asked for."""
    encoding = "gzip" if pack is gzip.compress else "deflate"
    tensors, raw = raw_tensors()
    headers = {"content-encoding": encoding}
    status, _, content = binary(worker, pinned(inputs=tensors), raw, headers, pack)
    rows = [tensor("amount", "FP64", AMOUNTS * 50, [150]),
            tensor("age-years", "INT64", AGES * 50, [150]),
            tensor("country", "BYTES", COUNTRIES * 50, [150])]  # fmt: skip
    _, got, packed = worker.post(PATH, pinned(inputs=rows), {"accept-encoding": encoding})
    plain = gzip.decompress(packed) if encoding == "gzip" else zlib.decompress(packed)

    assert status == 200
    assert json.loads(content)["outputs"][1]["data"] == pytest.approx(expected)
    assert got["content-encoding"] == encoding
    assert json.loads(plain)["outputs"][1]["data"] == pytest.approx(expected * 50)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda t, raw: (t, raw + b"x"), "inputs: 1 bytes of binary data belong to no tensor"),
        (
            lambda t, raw: (t, raw[:-1]),
            "input country: binary_data_size is 20, the body has 19 bytes left",
        ),
        (
            lambda t, raw: ([t[0] | {"shape": [4]}, *t[1:]], raw),
            "input amount: binary_data_size is 24, the shape needs 32",
        ),
        (
            lambda t, raw: (t, struct.pack("<d", float("nan")) + raw[8:]),
            "input amount: holds NaN or Infinity",
        ),
        (
            lambda t, raw: (t, struct.pack("<d", float("inf")) + raw[8:]),
            "input amount: holds NaN or Infinity",
        ),
        (
            lambda t, raw: (t, raw[:36] + b"\xff\xff\xff\x7f" + raw[40:]),
            "input country: the binary data does not hold exactly 3 elements",
        ),
        (
            lambda t, raw: (t, raw[:40] + b"\xff\xff" + raw[42:]),
            "input country: element 0 is not UTF-8: invalid start byte",
        ),
        (
            lambda t, raw: ([t[0] | {"parameters": {"binary_data_size": -8}}, *t[1:]], raw),
            "input amount: binary_data_size is -8, the body has 56 bytes left",
        ),
        (
            lambda t, raw: ([t[0] | {"parameters": {"binary_data_size": True}}, *t[1:]], raw),
            "input amount: binary_data_size is True, the body has 56 bytes left",
        ),
        (
            lambda t, raw: ([t[0] | {"datatype": "BF16"}, *t[1:]], raw),
            "input amount: BF16 is not read here",
        ),
    ],
)
def test_binary_data_that_does_not_add_up(worker, change, error):
    """Is refused with the tensor's name and the sizes."""
    tensors, raw = change(*raw_tensors())
    status, headers, content = binary(worker, pinned(inputs=tensors), raw)

    assert (status, headers["content-type"]) == (400, "application/json")
    assert json.loads(content)["error"] == error


def test_raw_data_alone_is_the_only_input(worker):
    """Header length 0: the whole body is the model's single input, the answer is binary."""
    raw = np.array([1.0, 2.0], "<f8").tobytes()
    zero = {"inference-header-content-length": "0"}
    status, headers, content = worker.post("/v2/models/one/infer", raw, zero)

    assert status == 200
    assert outputs_of(headers, content)["class"] == ["legit", "legit"]
    assert worker.post(PATH, raw, zero)[0] == 400


def test_metadata_and_readiness(worker):
    """As the protocol says, and as its clients parse it."""
    server = json.loads(worker.get("/v2")[2])
    model = json.loads(worker.get("/v2/models/fraud/versions/champion:1")[2])

    assert json.loads(worker.get("/v2/health/live")[2]) == {"live": True}
    assert json.loads(worker.get("/v2/health/ready?verbose=1")[2]) == {"ready": True}
    assert server["name"] == "pointsman"
    assert "binary_tensor_data" in server["extensions"]
    assert json.loads(worker.get("/v2/")[2]) == server
    assert model["versions"] == ["champion:1", "challenger:2", "safe:constant"]
    assert model["inputs"] == [
        {"name": "amount", "datatype": "FP64", "shape": [-1]},
        {"name": "age-years", "datatype": "INT64", "shape": [-1]},
        {"name": "country", "datatype": "BYTES", "shape": [-1]},
        {"name": "vip", "datatype": "BOOL", "shape": [-1]},
    ]
    assert json.loads(worker.get("/v2/models/fraud/ready")[2]) == {"name": "fraud", "ready": True}
    for path in ("/v2/models/nope", "/v2/models/nope/ready", "/v2/models/fraud/versions/9/ready"):
        status, headers, content = worker.get(path)
        assert (status, headers["content-type"]) == (404, "application/json")
        assert json.loads(content)["kind"] == "not_found"


def test_head_is_answered_without_a_body(worker, kit):
    """For probes that ask by HEAD."""
    with worker.connect() as connection:
        connection.sendall(b"HEAD /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
        connection.sendall(kit.request("GET", "/v2/health/live"))
        data = b""
        while b'{"live":true}' not in data:
            data += connection.recv(4096)

    assert data.count(b"HTTP/1.1 200 OK") == 2
    assert data.count(b'{"live":true}') == 1
