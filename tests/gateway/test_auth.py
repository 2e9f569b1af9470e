"""Who may call what: keys, permissions, tenants, and what an open gateway allows."""

import contextlib
import hashlib
import json
import re
import time

import pytest

from pointsman.domain.errors import PointsmanError
from pointsman.domain.table import DataKey
from pointsman.gateway.auth import Permission
from pointsman.gateway.routes import ROUTES, Route, Router, check

ROW = {"amount": 12.5, "age-years": 41, "country": "DE"}
PREDICT = ("POST", "/v1/projects/fraud:predict", {"features": ROW})
PINNED = ("POST", "/v1/projects/fraud:predict", {"features": ROW, "variant": "champion"})
TENSORS = [
    {"name": "amount", "shape": [1], "datatype": "FP64", "data": [12.5]},
    {"name": "age-years", "shape": [1], "datatype": "INT64", "data": [41]},
    {"name": "country", "shape": [1], "datatype": "BYTES", "data": ["DE"]},
]
INFER = ("POST", "/v2/models/fraud/infer", {"inputs": TENSORS})
VERSION = ("POST", "/v2/models/fraud/versions/champion/infer", {"inputs": TENSORS})
DECIDE = ("POST", "/v1/projects/fraud:decide", {})
FEEDBACK = ("POST", "/v1/feedback", [{"decision_id": "d", "label": "fraud"}])
STATE = ("GET", "/v1/feedback/x", None)
MODEL = ("GET", "/v2/models/fraud", None)
READY = ("GET", "/v2/models/fraud/ready", None)
METRICS = ("GET", "/metrics", None)
CALLS = {
    "predict": PREDICT, "pinned predict": PINNED, "infer": INFER, "infer a version": VERSION,
    "decide": DECIDE, "feedback": FEEDBACK, "feedback state": STATE, "metadata": MODEL,
    "model ready": READY, "metrics": METRICS,
}  # fmt: skip
PUBLIC = ["/v2/health/live", "/v2/health/ready", "/v2"]
ALLOWED = {
    "infer": {"predict", "infer", "metadata", "model ready"},
    "decide": {"decide"},
    "feedback": {"feedback", "feedback state"},
    "pin": set(),
    "metrics": {"metrics"},
    "infer,pin": {
        "predict", "infer", "metadata", "model ready", "pinned predict", "infer a version",
    },
}  # fmt: skip


def key(name, permissions, tenant="default"):
    digest = hashlib.blake2b(f"secret-{name}".encode(), digest_size=32).hexdigest()
    return DataKey(name, digest, tenant, tuple(permissions.split(",")))


KEYS = tuple(key(name, name) for name in ALLOWED)


@pytest.fixture(scope="module")
def worker(shared_world):
    world = shared_world
    theirs = world.project({"champion": "fraud"}, tenant="other")
    ours = world.project({"champion": "legit"})
    everything = key("theirs", "infer,decide,feedback,pin", tenant="other")
    scraper = key("scraper", "metrics", tenant="*")
    world.publish([ours, theirs], 1, data_keys=(*KEYS, everything, scraper))
    return world.worker()


@pytest.fixture(scope="module")
def open_worker(tmp_path_factory, new_world):
    world = new_world(tmp_path_factory.mktemp("open"))
    world.publish([world.project({"champion": "legit"})])
    yield world.worker()
    world.close()


def call(worker, what, secret=None, scheme="Bearer"):
    method, path, body = what
    headers = {} if secret is None else {"authorization": f"{scheme} {secret}"}
    if method == "GET":
        return worker.get(path, headers)
    return worker.post(path, body, headers)


@pytest.mark.parametrize("permissions", ALLOWED)
@pytest.mark.parametrize("name", CALLS)
def test_the_matrix_of_routes_and_permissions(worker, permissions, name):
    """A key may do what it was given and nothing else."""
    status, _, content = call(worker, CALLS[name], f"secret-{permissions}")

    if name in ALLOWED[permissions]:
        assert status in {200, 202, 503}, content  # 503: there is no controller to ask
        assert "permission" not in content.decode()
    else:
        assert status == 403
        assert json.loads(content)["kind"] == "forbidden"


@pytest.mark.parametrize(
    "secret", [None, "", "nope", "secret-infer\u00a0", "x" * 600, "' OR 1=1 --"]
)
@pytest.mark.parametrize("name", CALLS)
def test_without_a_known_key_nothing_is_said(worker, secret, name):
    """401 with a hint how to get one, the same for an unknown project."""
    status, headers, content = call(worker, CALLS[name], secret)

    assert status == 401
    assert headers["www-authenticate"] == "Bearer"
    assert json.loads(content)["kind"] == "unauthenticated"


def test_the_scheme_is_bearer(worker):
    """In any case; nothing else."""
    assert call(worker, PREDICT, "secret-infer", "bearer")[0] == 200
    assert call(worker, PREDICT, "secret-infer", "Basic")[0] == 401


@pytest.mark.parametrize("path", PUBLIC)
def test_health_is_public(worker, path):
    """Probes have no keys."""
    assert worker.get(path)[0] == 200


def test_a_tenant_sees_only_its_own(worker):
    """The same public name is another project; records and outcomes carry the key's tenant."""
    ours = json.loads(call(worker, PREDICT, "secret-infer")[2])
    theirs = json.loads(call(worker, PREDICT, "secret-theirs")[2])
    call(worker, FEEDBACK, "secret-theirs")
    records = {r.id: r for r in worker.records() if hasattr(r, "assigned")}
    outcome = [r for r in worker.records() if hasattr(r, "decision_id")][-1]

    assert (ours["class"], theirs["class"]) == ("legit", "fraud")
    assert records[ours["decision_id"]].project == "default/fraud"
    assert records[theirs["decision_id"]].project == "other/fraud"
    assert records[theirs["decision_id"]].key == "theirs"
    assert (outcome.tenant, outcome.key) == ("other", "theirs")


@pytest.mark.parametrize(
    ("settings", "predicts", "pins"),
    [
        ({"loopback": True}, 200, 200),
        ({"loopback": False, "insecure": True}, 200, 403),
        ({"loopback": False}, 401, 401),
    ],
)
def test_a_gateway_without_keys(world, settings, predicts, pins):
    """Open on loopback; elsewhere only if told so, and then without pins."""
    world.publish([world.project({"champion": "legit"})])
    worker = world.worker(**settings)

    assert call(worker, PREDICT)[0] == predicts
    assert call(worker, PINNED)[0] == pins
    assert call(worker, VERSION)[0] == pins


@pytest.mark.parametrize("settings", [{"loopback": True}, {"loopback": False, "insecure": True}])
def test_revoking_the_last_key_opens_nothing(world, settings):
    """A table that ever had keys is closed without them, also as the last known good."""
    world.publish([world.project({"champion": "legit"})], keyed=True)
    worker = world.worker(**settings)

    assert {call(worker, what)[0] for what in CALLS.values()} == {401}
    assert {call(worker, what, "secret-infer")[0] for what in CALLS.values()} == {401}


def test_the_last_key_is_revoked_while_serving(world):
    """The manifest that takes the key away keeps the gateway closed."""
    world.start_controller()
    table = world.project({"champion": "legit"})
    world.publish([table], 1, data_keys=KEYS[:1], keyed=True)
    worker = world.worker()
    before = call(worker, PREDICT, "secret-infer")[0]
    world.publish([table], 2, keyed=True)
    until = time.monotonic() + 10
    while worker.report()["table"] < 2 and time.monotonic() < until:
        time.sleep(0.05)

    assert before == 200
    assert call(worker, PREDICT, "secret-infer")[0] == 401
    assert call(worker, PINNED)[0] == 401


@pytest.mark.parametrize("name", CALLS)
def test_an_open_gateway_does_not_overlook_an_unknown_key(open_worker, name):
    """Whoever sends a key counts on it being looked at: no other answer than everywhere else."""
    assert call(open_worker, CALLS[name], "secret-infer")[0] == 401
    assert call(open_worker, CALLS[name], "secret-infer", "Basic")[0] == 401
    assert call(open_worker, CALLS[name])[0] in {200, 202, 503}


FOREIGN = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost.evil.example"},
    {"origin": "http://localhost:8700@evil.example"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site", "origin": "http://localhost:3000"},
    {"host": "evil.example:8700"},
    {"host": "192.168.7.7"},
    {"host": "127.0.0.1.evil.example"},
]
OWN = [
    {"host": "127.0.0.1:8700"},
    {"host": "[::1]:8700"},
    {"host": "LOCALHOST"},
    {"origin": "http://127.0.0.1:8700", "sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "none"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("what", [PINNED, INFER, DECIDE, FEEDBACK], ids=lambda what: what[1])
def test_an_open_gateway_does_not_answer_pages_of_elsewhere(open_worker, what, headers):
    """On both lanes; neither sent across sites nor under a name that was made to point here."""
    _, path, body = what
    status, _, content = open_worker.post(path, body, headers)

    assert (status, json.loads(content)["kind"]) == (403, "forbidden")


@pytest.mark.parametrize("headers", OWN)
@pytest.mark.parametrize("what", [PINNED, FEEDBACK], ids=lambda what: what[1])
def test_an_open_gateway_answers_programs_and_its_own_machine(open_worker, what, headers):
    """Whatever name of loopback they use."""
    _, path, body = what
    assert open_worker.post(path, body, headers)[0] in {200, 202}


def test_with_a_key_it_does_not_matter_what_page_it_is(worker):
    """No page knows a key that nobody gave it."""
    secret = {"authorization": "Bearer secret-infer"}
    assert worker.post(*PREDICT[1:], secret | FOREIGN[0] | {"host": "ml.example"})[0] == 200


def test_an_insecure_gateway_is_addressed_by_any_name_but_not_by_pages(world):
    """Its operator chose who can connect; their browsers' pages nobody chose."""
    world.publish([world.project({"champion": "legit"})])
    worker = world.worker(loopback=False, insecure=True)

    assert worker.post(*PREDICT[1:], {"host": "pointsman:8700"})[0] == 200
    assert worker.post(*PREDICT[1:], {"origin": "http://pointsman:8700"})[0] == 403


@pytest.mark.parametrize(
    ("secret", "seen"),
    [("metrics", {"default/fraud"}), ("scraper", {"default/fraud", "other/fraud"})],
)
def test_metrics_of_a_tenant_are_for_its_own_keys(worker, secret, seen):
    """What is about no project is for every scraper; a key of all tenants is for the operator's."""
    text = call(worker, METRICS, f"secret-{secret}")[2].decode()

    assert set(re.findall(r'project="([^"]+)"', text)) == seen
    assert "pointsman_ready{" in text


def test_a_gateway_without_a_table_answers_nobody(world):
    """It does not know the keys yet, so neither loopback nor anybody else may leave anything."""
    worker = world.worker(wait=False, loopback=True)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            if worker.get("/v2/health/live")[0] == 200:
                break
        time.sleep(0.05)

    for name in ("feedback", "feedback state", "metrics"):
        status, headers, content = call(worker, CALLS[name], "secret-infer")
        assert status == 503, name
        assert headers["retry-after"] == "1"
        assert b"no table is loaded yet" in content
    assert not worker.records()


def test_every_route_declares_its_permission():
    """And a route that does not stops the start."""
    check(ROUTES)
    bare = Route("GET", "/new", ROUTES[0].action)

    with pytest.raises(PointsmanError, match="GET /new"):
        Router((*ROUTES, bare))


def test_only_what_tells_nothing_is_public():
    """The list of public routes is short and deliberate."""
    public = {route.pattern for route in ROUTES if route.permission is Permission.PUBLIC}

    assert public == {"/v2/health/live", "/v2/health/ready", "/v2/?"}
