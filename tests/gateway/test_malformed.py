"""What is wrong with a request is said exactly: status, text, kind and hint."""

import gzip
import json
import zlib

import pytest

PREDICT = "/v1/projects/fraud:predict"
DECIDE = "/v1/projects/fraud:decide"
INFER = "/v2/models/fraud/infer"
FEEDBACK = "/v1/feedback"
ROW = {"amount": 12.5, "age-years": 41, "country": "DE", "vip": True}
TENSORS = [
    {"name": "amount", "shape": [1], "datatype": "FP64", "data": [12.5]},
    {"name": "age-years", "shape": [1], "datatype": "INT64", "data": [41]},
    {"name": "country", "shape": [1], "datatype": "BYTES", "data": ["DE"]},
]
NOT_JSON = "JSON knows neither NaN nor Infinity; send UTF-8 and check commas and quotes"
SHAPE = 'send {"unit": ..., "context": {...}, "features": {...}}'
INPUTS = 'send {"inputs": [{"name", "shape", "datatype", "data"}, ...]}'
NAMES = "known: amount, age-years, country, vip"
PACKED = "send one complete stream and nothing else"
COUNT = "the shape is [rows], or [rows, features] of one tensor with all of them"
SHAPES = "one tensor [rows] a feature, or one [rows, features] for all of them"


def row(**changes):
    return {"features": {**ROW, **changes}}


def tensors(place=0, **changes):
    inputs = [dict(tensor) for tensor in TENSORS]
    inputs[place] |= changes
    return {"inputs": inputs}


# path, body (bytes or JSON), headers, status, kind, error, hint
BODIES = {
    "empty body": (PREDICT, b"", {}, 400, "malformed", "the body is empty", "send JSON"),
    "half an object": (
        PREDICT, b"{", {}, 400, "malformed",
        "the body is not JSON: Input data was truncated", NOT_JSON,
    ),
    "NaN": (
        PREDICT, b'{"features":{"amount":NaN}}', {}, 400, "malformed",
        "the body is not JSON: invalid character (byte 22)", NOT_JSON,
    ),
    "Infinity": (
        PREDICT, b'{"features":{"amount":-Infinity}}', {}, 400, "malformed",
        "the body is not JSON: invalid character (byte 23)", NOT_JSON,
    ),
    "1e400": (
        PREDICT, b'{"features":{"amount":1e400}}', {}, 400, "invalid",
        "the body has a number that no 64-bit float can hold",
        "numbers must be finite and below 1.8e308",
    ),
    "bytes after the object": (
        PREDICT, json.dumps(row()).encode() + b"x", {}, 400, "malformed",
        "the body is not JSON: trailing characters (byte 78)", NOT_JSON,
    ),
    "a list": (PREDICT, [1], {}, 400, "invalid", "the body is a list, not an object", SHAPE),
    "null": (PREDICT, None, {}, 400, "invalid", "the body is null, not an object", SHAPE),
    "no features": (PREDICT, {"unit": "u"}, {}, 400, "invalid", "features: missing", SHAPE),
    "features of another kind": (
        PREDICT, {"features": 7}, {}, 400, "invalid", "features: is a number, not an object",
        "one object for one row, a list of objects for several",
    ),
    "two features missing": (
        PREDICT, {"features": {"amount": 1.0}}, {}, 400, "invalid",
        "features.age-years: missing (and 1 more)", "send a long",
    ),
    "a misspelt feature": (
        PREDICT, row(amuont=1), {}, 400, "invalid", "features.amuont: not known",
        "did you mean 'amount'?",
    ),
    "an unknown member": (
        PREDICT, {**row(), "foo": 1}, {}, 400, "invalid", "foo: not known",
        "known: unit, variant, id, context, features",
    ),
    "text for a number": (
        PREDICT, row(amount="12"), {}, 400, "invalid",
        "features.amount: Expected float, got str", "declared as double",
    ),
    "fraction for a whole number": (
        PREDICT, row(**{"age-years": 41.5}), {}, 400, "invalid",
        "features.age-years: Expected int, got float", "declared as long",
    ),
    "number for a boolean": (
        PREDICT, row(vip=1), {}, 400, "invalid",
        "features.vip: Expected bool, got int", "declared as boolean",
    ),
    "integer no double can hold": (
        PREDICT, row(**{"age-years": 2**53}), {}, 400, "invalid",
        "features.age-years: Expected int <= 9007199254740991", "declared as long",
    ),
    "a very long string": (
        PREDICT, row(country="x" * 65537), {}, 400, "invalid",
        "features.country: longer than 65536 characters", "declared as string",
    ),
    "null where required": (
        PREDICT, row(country=None), {}, 400, "invalid",
        "features.country: null, but required", "send a string",
    ),
    "one bad row of several": (
        PREDICT, {"features": [ROW, {**ROW, "amount": None}]}, {}, 400, "invalid",
        "features[1].amount: null, but required", "send a double",
    ),
    "no row": (
        PREDICT, {"features": []}, {}, 400, "invalid", "features: the list is empty",
        "send at least one row",
    ),
    "too many rows": (
        PREDICT, {"features": [{"amount": 1, "age-years": 1, "country": "D"}] * 10001}, {}, 413,
        "too_large", "a request may have 10000 rows, not 10001",
        "split it into several requests",
    ),
    "one huge row": (
        PREDICT, json.dumps(row()).encode() + b" " * (1 << 20), {}, 413, "too_large",
        "a request with one row may have 1048576 bytes, not 1048653",
        "send less, or several rows in one request",
    ),
    "a misspelt attribute": (
        PREDICT, {**row(), "context": {"chanel": "app"}}, {}, 400, "invalid",
        "context.chanel: not known", "did you mean 'channel'?",
    ),
    "an attribute of another type": (
        DECIDE, {"context": {"amount": "much"}}, {}, 400, "invalid",
        "context.amount: Expected float, got str", None,
    ),
    "features where only a decision is asked": (
        DECIDE, row(), {}, 400, "invalid", "features: not known",
        "known: unit, variant, id, context",
    ),
    "an empty unit": (
        PREDICT, {**row(), "unit": ""}, {}, 400, "invalid", "unit: it is empty",
        "leave it out where there is none",
    ),
    "a long unit": (
        PREDICT, {**row(), "unit": "é" * 129}, {}, 400, "invalid",
        "unit: longer than 256 bytes",
        "send a shorter identifier, for example a digest of it",
    ),
    "a unit of another type": (
        PREDICT, {**row(), "unit": 1.5}, {}, 400, "invalid",
        "unit: Expected int | str | null, got float", None,
    ),
    "an unknown pin": (
        PREDICT, {**row(), "variant": "nope"}, {}, 400, "invalid",
        "variant: project fraud has no variant 'nope'", "known: champion:1, safe:constant",
    ),
    "nested too deep": (
        PREDICT, b'{"features":' + b"[" * 100_000, {}, 400, "malformed",
        "the JSON is nested deeper than 32 levels",
        "send flat tensors or a list of feature objects",
    ),
    "not UTF-8": (
        PREDICT, b'{"features":{"country":"\xff"}}', {}, 400, "malformed",
        "the body is not UTF-8: invalid start byte at byte 24", "JSON is sent as UTF-8",
    ),
    "a byte order mark": (
        PREDICT, b"\xef\xbb\xbf" + json.dumps(row()).encode(), {}, 400, "malformed",
        "the body starts with a byte order mark", "send UTF-8 without one",
    ),
    "a lone surrogate": (
        PREDICT, b'{"features":{"country":"\\ud800"}}', {}, 400, "malformed",
        "the body is not JSON: Input data was truncated", NOT_JSON,
    ),
    "NUL in a string": (
        PREDICT, row(country="a\0b"), {}, 400, "malformed",
        "the JSON contains a NUL character (\\u0000)", "remove it",
    ),
    "gzip that is none": (
        PREDICT, b"xx", {"content-encoding": "gzip"}, 400, "malformed",
        "the gzip body is broken: Error -3 while decompressing data: incorrect header check",
        "send the bytes as they were packed, or leave content-encoding out",
    ),
    "gzip cut short": (
        PREDICT, gzip.compress(json.dumps(row()).encode())[:-5], {"content-encoding": "gzip"},
        400, "malformed", "the gzip body ends too early", PACKED,
    ),
    "gzip with a tail": (
        PREDICT, gzip.compress(json.dumps(row()).encode()) + b"xx", {"content-encoding": "gzip"},
        400, "malformed", "the gzip body goes on after its end", PACKED,
    ),
    "a gzip bomb": (
        PREDICT, gzip.compress(b" " * 10_000_000, mtime=0), {"content-encoding": "gzip"}, 413,
        "too_large", "the body unpacks to more than 195020 bytes",
        "at most 20 times its packed size and 16777216 bytes; split the request",
    ),
    "an encoding we do not read": (
        PREDICT, b"xx", {"content-encoding": "br"}, 400, "invalid",
        "content-encoding 'br' is not read here", "send gzip, deflate or an unencoded body",
    ),
    "a timeout of zero": (
        PREDICT, row(), {"x-request-timeout-ms": "0"}, 400, "invalid",
        "x-request-timeout-ms: not a positive whole number",
        "milliseconds for the whole request, for example 150",
    ),
    "an idempotency key with a space": (
        PREDICT, row(), {"idempotency-key": "a b"}, 400, "invalid",
        "idempotency-key: not 1 to 256 printable ASCII characters without spaces",
        "a UUID does well",
    ),
    "infer: no inputs": (
        INFER, {}, {}, 400, "invalid", "inputs: missing", INPUTS,
    ),
    "infer: no object": (
        INFER, [], {}, 400, "invalid", "the inference request is not an object", INPUTS,
    ),
    "infer: no shape": (
        INFER, {"inputs": [{"name": "amount", "datatype": "FP64", "data": [1]}]}, {}, 400,
        "invalid", "inputs[0].shape: missing", INPUTS,
    ),
    "infer: shape and data differ": (
        INFER, tensors(shape=[2]), {}, 400, "invalid",
        "input amount: 1 values for shape [2]", COUNT,
    ),
    "infer: a negative shape": (
        INFER, tensors(shape=[-1]), {}, 400, "invalid",
        "input amount: shape [-1] is not [n] or [n, m]", SHAPES,
    ),
    "infer: three dimensions": (
        INFER, tensors(shape=[1, 1, 1]), {}, 400, "invalid",
        "input amount: shape [1, 1, 1] is not [n] or [n, m]", SHAPES,
    ),
    "infer: different numbers of rows": (
        INFER, tensors(shape=[2], data=[1, 2]), {}, 400, "invalid",
        "inputs: tensors have different numbers of rows: [1, 2]",
        "every input has one value a row",
    ),
    "infer: no rows": (
        INFER, {"inputs": [{**t, "shape": [0], "data": []} for t in TENSORS]}, {}, 400, "invalid",
        "features: the list is empty", "send at least one row",
    ),
    "infer: an unknown datatype": (
        INFER, tensors(datatype="FP63"), {}, 400, "invalid",
        "input amount: 'FP63' is not a datatype", "FP64, INT64, BYTES, ...",
    ),
    "infer: a datatype that does not fit": (
        INFER, tensors(datatype="BYTES", data=["a"]), {}, 400, "invalid",
        "input amount: feature amount is double, which BYTES is not", "send FP64",
    ),
    "infer: text in a number tensor": (
        INFER, tensors(data=["a"]), {}, 400, "invalid",
        "input amount: Expected float, got str at data[0]",
        "the datatype is FP64; data is flat or one list a row",
    ),
    "infer: FP16 in JSON": (
        INFER, tensors(datatype="FP16"), {}, 400, "invalid",
        "input amount: FP16 has no JSON form", "send it as binary tensor data",
    ),
    "infer: an unknown input": (
        INFER, tensors(name="nope"), {}, 400, "invalid",
        "input nope: is not a feature (and 1 more)", NAMES,
    ),
    "infer: an input twice": (
        INFER, {"inputs": [*TENSORS, TENSORS[0]]}, {}, 400, "invalid",
        "input amount: is there twice", "send every input once",
    ),
    "infer: a tensor without data": (
        INFER, {"inputs": [{"name": "amount", "shape": [1], "datatype": "FP64"}]}, {}, 400,
        "invalid", "input amount: has neither `data` nor `binary_data_size` (and 2 more)",
        "send `data`, a list of its values",
    ),
    "infer: an unknown output": (
        INFER, {**tensors(), "outputs": [{"name": "x"}]}, {}, 400, "invalid",
        "outputs: there is no output 'x'",
        "known: class, probabilities, action, decision_id, variant, reason",
    ),
    "infer: an attribute of another type": (
        INFER, {**tensors(), "parameters": {"amount": "x"}}, {}, 400, "invalid",
        "parameters.amount: Expected float | null, got str",
        "context attributes have the types the project declares",
    ),
    "infer: a unit of another type": (
        INFER, {**tensors(), "parameters": {"unit": True}}, {}, 400, "invalid",
        "parameters.unit: is neither a string nor an integer", "send it as a string",
    ),
    "infer: JSON longer than the body": (
        INFER, b"{}", {"inference-header-content-length": "99"}, 400, "malformed",
        "inference-header-content-length is 99, the body has 2 bytes",
        "it is the length of the JSON part, after decompression",
    ),
    "infer: JSON length of no number": (
        INFER, b"{}", {"inference-header-content-length": "-1"}, 400, "malformed",
        "inference-header-content-length '-1' is not a number",
        "it is the length of the JSON part, after decompression",
    ),
    "infer: binary size beyond the body": (
        INFER, {"inputs": [{**TENSORS[0], "data": None, "parameters": {"binary_data_size": 8}}]},
        {}, 400, "invalid", "input amount: has both `data` and `binary_data_size` (and 2 more)",
        "send one of them",
    ),
    "infer: unknown model": (
        "/v2/models/nope/infer", tensors(), {}, 404, "not_found", "there is no project 'nope'",
        "`pointsman list` names those there are",
    ),
    "infer: unknown version": (
        "/v2/models/fraud/versions/9/infer", b"{", {}, 404, "not_found",
        "model fraud has no version '9'", "known: champion:1, safe:constant",
    ),
    "feedback: no list": (
        FEEDBACK, {"decision_id": "x"}, {}, 400, "invalid", "the body is not a list",
        'send [{"decision_id": ..., "label": ...}, ...]',
    ),
    "feedback: an empty list": (
        FEEDBACK, [], {}, 400, "invalid", "the list is empty", "send at least one item",
    ),
    "feedback: nothing known": (
        FEEDBACK, [{"decision_id": "x"}], {}, 400, "invalid",
        "[0]: has neither label, reward nor cost; nothing of the list was taken",
        "send one item for each of label, reward and cost",
    ),
    "feedback: two things at once": (
        FEEDBACK, [{"decision_id": "x", "label": "a", "cost": 1}], {}, 400, "invalid",
        "[0]: has label and cost; nothing of the list was taken",
        "send one item for each of label, reward and cost",
    ),
    "feedback: a time that is none": (
        FEEDBACK, [{"decision_id": "x", "label": "a", "at": "yesterday"}], {}, 400, "invalid",
        "[0].at: 'yesterday' is no time; nothing of the list was taken",
        "Unix milliseconds, or RFC 3339 with an offset: 2026-05-01T12:00:00Z",
    ),
    "feedback: beyond any reward": (
        FEEDBACK, b'[{"decision_id":"x","reward":1e308}]', {}, 400, "invalid",
        "[0].reward: Expected float <= 1e+300; nothing of the list was taken",
        "a finite number within ±1e300",
    ),
    "feedback: a label that is a number": (
        FEEDBACK, [{"decision_id": "x", "label": 1}], {}, 400, "invalid",
        "[0].label: Expected str | null, got int; nothing of the list was taken",
        "the class as text, as the project names it",
    ),
    "feedback: about nothing": (
        FEEDBACK, [{"label": "a"}], {}, 400, "invalid",
        "[0].decision_id: missing; nothing of the list was taken",
        "every item names the decision it is about, as the answer did",
    ),
    "feedback: an unknown member": (
        FEEDBACK, [{"decision_id": "x", "lable": "a"}], {}, 400, "invalid",
        "[0].lable: not known; nothing of the list was taken",
        "known: decision_id, label, reward, cost, at, id",
    ),
}  # fmt: skip

# bytes, status, kind, error, hint, whether the connection is closed
WIRE = {
    "not HTTP": (
        b"\x16\x03\x01\x02\x00\r\n\r\n", 400, "malformed",
        "this is not an HTTP/1.1 request: Invalid method encountered", None, True,
    ),
    "a content length of no number": (
        b"POST /v2 HTTP/1.1\r\nhost: localhost\r\ncontent-length: abc\r\n\r\n", 400, "malformed",
        "this is not an HTTP/1.1 request: Invalid character in Content-Length", None, True,
    ),
    "length and chunks": (
        (b"POST /v1/projects/fraud:predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n"
        b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"), 400, "malformed",
        "this is not an HTTP/1.1 request: Transfer-Encoding can't be present with Content-Length",
        None, True,
    ),
    "a chunk of no size": (
        (b"POST /v1/projects/fraud:predict HTTP/1.1\r\nhost: localhost\r\n"
        b"transfer-encoding: chunked\r\n\r\nzz\r\n"), 400, "malformed",
        "this is not an HTTP/1.1 request: Invalid character in chunk size", None, True,
    ),
    "a huge header": (
        b"GET /v2 HTTP/1.1\r\nx: " + b"y" * 20_000 + b"\r\n\r\n", 431, "too_large",
        "the request line and headers are longer than 16384 bytes",
        "send fewer or shorter headers", True,
    ),
    "a huge target": (
        b"GET /" + b"y" * 20_000 + b" HTTP/1.1\r\n\r\n", 431, "too_large",
        "the request line and headers are longer than 16384 bytes",
        "send fewer or shorter headers", True,
    ),
    "a body announced too large": (
        (b"POST /v1/projects/fraud:predict HTTP/1.1\r\nhost: localhost\r\n"
        b"content-length: 99999999\r\n\r\n"), 413, "too_large",
        "the body is longer than 16777216 bytes", "split the request", True,
    ),
    "feedback announced too large": (
        b"POST /v1/feedback HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999\r\n\r\n", 413,
        "too_large", "the body is longer than 1048576 bytes", "split the request", True,
    ),
    "GET where POST is due": (
        b"GET /v2/models/fraud/infer HTTP/1.1\r\nhost: x\r\n\r\n", 405, "method_not_allowed",
        "GET is not allowed on /v2/models/fraud/infer", "use POST", False,
    ),
    "DELETE where POST is due": (
        b"DELETE /v1/projects/fraud:predict HTTP/1.1\r\nhost: localhost\r\n\r\n", 405,
        "method_not_allowed", "DELETE is not allowed on /v1/projects/fraud:predict", "use POST",
        False,
    ),
    "POST where GET is due": (
        b"POST /v2/health/live HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n", 405,
        "method_not_allowed", "POST is not allowed on /v2/health/live", "use GET", False,
    ),
    "an unknown path": (
        b"GET /nope HTTP/1.1\r\nhost: x\r\n\r\n", 404, "not_found", "there is nothing at /nope",
        "the routes are in docs/reference/data-plane.md", False,
    ),
    "a path that is not UTF-8": (
        b"GET /%ff HTTP/1.1\r\nhost: localhost\r\n\r\n", 400, "malformed",
        "the request path is not valid", None, False,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def worker(shared_world):
    shared_world.publish(
        [shared_world.project({"champion": shared_world.model(), "safe": "legit"})]
    )
    return shared_world.worker()


@pytest.mark.parametrize("case", BODIES, ids=str)
def test_a_bad_body_is_answered_exactly(worker, case):
    """Every malformed body has one answer: status, kind, text and hint, as application/json."""
    path, body, headers, status, kind, error, hint = BODIES[case]

    got, answer_headers, content = worker.post(path, body, headers)

    answer = json.loads(content)
    answer.pop("violations", None)
    expected = {"error": error, "kind": kind} | ({"hint": hint} if hint else {})
    assert (got, answer) == (status, expected)
    assert answer_headers["content-type"] == "application/json"


@pytest.mark.parametrize("case", WIRE, ids=str)
def test_a_bad_request_is_answered_exactly(worker, case):
    """What is wrong before the body has one answer too, and closes where reading cannot go on."""
    data, status, kind, error, hint, closed = WIRE[case]

    got, headers, content = worker.raw(data)

    expected = {"error": error, "kind": kind} | ({"hint": hint} if hint else {})
    assert (got, json.loads(content)) == (status, expected)
    assert headers["content-type"] == "application/json"
    assert (headers.get("connection") == "close") is closed


def test_all_problems_of_a_body_are_reported_at_once(worker):
    """A caller can mend everything in one go."""
    body = {"features": {"amount": "x", "cuntry": "DE"}, "context": {"amount": 1}, "unit": []}

    _, _, content = worker.post(PREDICT, body)

    assert [v["path"] for v in json.loads(content)["violations"]] == [
        "unit",
        "features.cuntry",
        "features.amount",
        "features.age-years",
        "features.country",
    ]


def test_all_problems_of_an_inference_request_are_reported_at_once(worker):
    """Every tensor, name, parameter and output that is wrong, each with what to do."""
    body = {
        "inputs": [
            {"name": "amount", "shape": [2], "datatype": "FP64", "data": [1.0]},
            {"name": "age-years", "shape": [1], "datatype": "FP64", "data": [4.5]},
            {"name": "cuntry", "shape": [1], "datatype": "BYTES", "data": ["DE"]},
            {"name": "vip", "shape": [1], "datatype": "BOOL", "data": [7]},
        ],
        "outputs": [{"name": "x"}],
        "parameters": {"unit": [], "variant": 3},
        "id": "x" * 300,
    }

    _, _, content = worker.post(INFER, body)

    violations = json.loads(content)["violations"]
    assert [v["path"] for v in violations] == [
        "input amount",
        "input vip",
        "input cuntry",
        "inputs",
        "input age-years",
        "parameters.unit",
        "parameters.variant",
        "outputs",
        "id",
    ]
    assert violations[3]["message"] == "feature 'country' is missing"
    assert all(v["hint"] for v in violations)


def test_every_misshapen_part_of_an_inference_request_is_reported_at_once(worker):
    """What is no tensor, no list or no object is named with its place."""
    body = {
        "inputs": [{"name": 1, "shape": [1], "datatype": "FP64"}, {"shape": "x"}, 7],
        "outputs": {},
        "id": 5,
    }

    _, _, content = worker.post(INFER, body)

    assert [v["path"] for v in json.loads(content)["violations"]] == [
        "inputs[0].name",
        "inputs[1].shape",
        "inputs[2]",
        "id",
        "outputs",
    ]


def test_the_worker_survives_all_of_it(worker):
    """After every malformed request above, a good one is answered, and nothing was a 5xx."""
    for body in (zlib.compress(json.dumps(row()).encode()), b""):
        worker.post(PREDICT, body, {"content-encoding": "deflate"})

    status, _, answer = worker.predict()
    served = worker.metrics()

    assert (status, answer["variant"]) == (200, "champion")
    assert not [name for name in served if 'status="5' in name]
