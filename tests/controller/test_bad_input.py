"""What is not right is refused: with the exact status, in the one error shape, changing nothing."""

from typing import Any

import pytest

from control_process import ControlProcess, project


def path(name: str, verb: str = "") -> str:
    return f"/v1/tenants/default/projects/{name}{verb}"


MALFORMED: list[tuple[str, Any, int, str]] = [
    ("not JSON or YAML", b"{", 422, "body"),
    ("not UTF-8", b"\xff\xfe", 400, "UTF-8"),
    ("nothing", b"", 422, "project"),
    ("a list", b"[]", 422, "body"),
    ("another name", project("other"), 422, "path names"),
    ("two documents", b"a: 1\n---\nb: 2\n", 422, "body"),
    ("unknown key", project("bad", None, colour="red"), 422, "body"),
    ("weights of 0", project("bad", {"champion": 0, "challenger": 0}), 422, "body"),
    ("negative weight", project("bad", {"champion": -1, "challenger": 2}), 422, "body"),
    ("unknown variant", project("bad", {"champion": 1, "nobody": 2}), 422, "body"),
    ("no champion", project("bad", variants={"challenger": {"constant": "fraud"}}), 422, "body"),
    ("one class", project("bad", classes=["legit"]), 422, "body"),
    (
        "no registry",
        project(
            "bad",
            variants={"champion": {"model": "models:/a@b"}},
            rules=[{"name": "default", "use": "champion"}],
        ),
        422,
        "could be found",
    ),
    ("later", project("bad", cache={"ttl": "30s"}), 422, "available"),
]


@pytest.mark.parametrize(
    ("body", "status", "words"), [case[1:] for case in MALFORMED], ids=[c[0] for c in MALFORMED]
)
def test_a_bad_project_is_refused_with_reasons(
    control: ControlProcess, body: Any, status: int, words: str
) -> None:
    answer = control.call("PUT", path("bad"), body, headers={"if-match": '"0"'})

    problem = answer.json()
    assert answer.status_code == status, problem
    assert problem["title"] in {"invalid", "malformed", "not_available_yet"}
    text = answer.text
    assert words in text
    assert control.call("GET", path("bad")).status_code == 404


BAD_CALLS: list[tuple[str, str, bytes | None, dict[str, str], int]] = [
    ("PUT", path("x"), b"{}", {"if-match": '"abc"'}, 400),
    ("POST", path("x", ":undo"), b"{", {}, 400),
    ("POST", path("x", ":undo"), b'{"to": "one"}', {}, 400),
    ("POST", path("x", ":undo"), b'{"surprise": 1}', {}, 400),
    ("POST", path("x", ":kill"), b'{"variant": "No Name"}', {}, 422),
    ("POST", path("x", ":kill"), b"{}", {}, 404),
    ("POST", path("x", ":dance"), b"{}", {}, 405),
    ("GET", path("x", "/status"), None, {}, 404),
    ("GET", path("x", "/history"), None, {}, 404),
    ("GET", path("x", "/diff?from=1"), None, {}, 422),
    ("GET", path("x", "/diff?from=0&to=1"), None, {}, 422),
    ("GET", path("x", "/revisions/one"), None, {}, 422),
    ("GET", path("x", "/proposals"), None, {}, 404),
    ("POST", path("x", "/proposals/1:accept"), None, {}, 404),
    ("GET", "/v1/decisions/unknown:explain", None, {}, 404),
    ("GET", "/v1/decisions/unknown/1:explain", None, {}, 404),
    ("GET", "/v1/feedback/unknown", None, {}, 404),
    ("GET", "/v1/nowhere", None, {}, 404),
    ("POST", "/v1/keys", b'{"name": 1}', {}, 400),
    ("POST", "/v1/keys", b'{"name": "k", "permissions": ["rule"]}', {}, 422),
    ("POST", "/v1/keys", b'{"name": "k", "tenant": "No"}', {}, 422),
    ("POST", "/v1/keys/none:revoke", None, {}, 404),
    ("POST", "/v1/tokens", b'{"name": "t", "role": "king"}', {}, 400),
    ("POST", "/v1/tokens/none:revoke", None, {}, 404),
    ("POST", "/v1/webhooks/mlflow/none", b"{}", {}, 404),
    ("GET", "/v1/audit?limit=0", None, {}, 422),
]


@pytest.mark.parametrize(
    ("method", "where", "body", "headers", "status"),
    BAD_CALLS,
    ids=[f"{case[0]} {case[1].rsplit('/', 1)[-1]} {case[2]!r}" for case in BAD_CALLS],
)
def test_a_bad_call_gets_a_problem_document(
    control: ControlProcess,
    method: str,
    where: str,
    body: bytes | None,
    headers: dict[str, str],
    status: int,
) -> None:
    answer = control.call(method, where, body, headers=headers)

    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]
