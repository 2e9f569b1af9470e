"""Alias moves in a real MLflow registry: proposed, followed, refused, undone."""

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from control_process import ControlProcess, running
from mlflow_server import MlflowServerProcess
from registered_models import Models

NOTICED_S = 30.0
PREPARED_S = 90.0
SECRET = "a-webhook-secret-of-enough-length"


@pytest.fixture(scope="module")
def models(mlflow_server: MlflowServerProcess) -> Models:
    return Models(mlflow_server)


@pytest.fixture(scope="module")
def control(
    tmp_path_factory: pytest.TempPathFactory, mlflow_server: MlflowServerProcess
) -> Iterator[ControlProcess]:
    with running(
        tmp_path_factory.mktemp("aliases"),
        POINTSMAN_REGISTRIES=f"main={mlflow_server.url}",
        POINTSMAN_WEBHOOK_SECRETS="main=${env:HOOK}",
        HOOK=SECRET,
        POINTSMAN_POLL_S="1",
    ) as found:
        yield found


def path(name: str, verb: str = "") -> str:
    return f"/v1/tenants/default/projects/{name}{verb}"


def document(name: str, *, on_move: str | None = None) -> dict[str, Any]:
    """A project with one variant: where the alias of its own name points to."""
    champion: dict[str, Any] = {"model": f"models:/shared@{name}"}
    if on_move:
        champion["onAliasMove"] = on_move
    return {
        "apiVersion": "pointsman/v1",
        "kind": "Project",
        "metadata": {"name": name},
        "spec": {"classes": ["no", "yes"], "variants": {"champion": champion}},
    }


def until(found: Callable[[], Any], limit_s: float, what: str, control: ControlProcess) -> Any:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        value = found()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"not within {limit_s} s: {what}\n{control.said()[-3000:]}")


def version(control: ControlProcess, name: str) -> str:
    (champion,) = control.call("GET", path(name, "/status")).json()["variants"]
    text: str = champion["version"]
    return text


def told(control: ControlProcess, name: str, action: str) -> str:
    """The sentence of the newest entry of this kind; empty where there is none. What else is in
    the history, the news of versions that arrived among it, comes in whatever order it likes."""
    entries = control.call("GET", path(name, "/history")).json()["entries"]
    found: list[str] = [entry["sentence"] for entry in entries if entry["action"] == action]
    return found[0] if found else ""


def test_apply_pins_the_alias_and_proves_the_compiled_model(
    control: ControlProcess, models: Models
) -> None:
    """A table names versions, never aliases; status says which runtime, why, and how close."""
    models.alias("pinned")

    applied = control.apply(document("pinned"))

    assert applied.status_code == 200, applied.text
    (champion,) = control.call("GET", path("pinned", "/status")).json()["variants"]
    assert (champion["version"], champion["source"]) == ("1", "models://main/shared/1")
    assert champion["runtime"] == "onnx"
    assert champion["parity"]["passed"] is True
    assert champion["parity"]["rows"] >= 1000


def test_a_followed_alias_is_served_after_it_was_prepared(
    control: ControlProcess, models: Models
) -> None:
    """No rollout and no limits: the default is to follow. The history says what happened."""
    models.alias("followed")
    control.apply(document("followed"))

    models.point("shared", "2", "followed")

    until(lambda: version(control, "followed") == "2", PREPARED_S, "version 2", control)
    assert "models://main/shared/1 → models://main/shared/2" in told(control, "followed", "follow")
    assert control.call("GET", path("followed")).json()["number"] == 2


def test_a_version_that_does_not_fit_is_refused_and_the_old_one_stays(
    control: ControlProcess, models: Models
) -> None:
    models.alias("unfit")
    control.apply(document("unfit"))

    models.point("shared", "3", "unfit")

    until(lambda: told(control, "unfit", "refuse"), PREPARED_S, "a refusal", control)
    assert "maybe" in told(control, "unfit", "refuse")
    assert version(control, "unfit") == "1"
    (refused,) = control.call("GET", path("unfit", "/proposals")).json()["proposals"]
    assert (refused["state"], refused["to_version"]) == ("refused", "3")


def test_what_was_undone_is_proposed_and_not_followed_again(
    control: ControlProcess, models: Models
) -> None:
    """The alias still points to the version people went back from: it must not come by itself."""
    models.alias("undone")
    control.apply(document("undone"))
    models.point("shared", "2", "undone")
    until(lambda: version(control, "undone") == "2", PREPARED_S, "version 2", control)

    control.call("POST", path("undone", ":undo"), {"reason": "worse"})

    until(lambda: told(control, "undone", "propose"), NOTICED_S, "a proposal", control)
    time.sleep(2.5)
    assert version(control, "undone") == "1"


def test_a_proposed_move_waits_for_somebody_to_accept_it(
    control: ControlProcess, models: Models
) -> None:
    """Noticed within five seconds; served only once accepted; accepted only once."""
    models.alias("proposed")
    control.apply(document("proposed", on_move="propose"))
    proposals = path("proposed", "/proposals")

    models.point("shared", "2", "proposed")
    (found,) = until(
        lambda: control.call("GET", f"{proposals}?state=open").json()["proposals"],
        NOTICED_S,
        "a proposal",
        control,
    )
    before = version(control, "proposed")
    accepted = control.call("POST", f"{proposals}/{found['id']}:accept", {"reason": "ok"})
    again = control.call("POST", f"{proposals}/{found['id']}:accept")

    assert (found["from_version"], found["to_version"], before) == ("1", "2", "1")
    assert accepted.status_code == 200, accepted.text
    assert again.status_code == 409
    assert version(control, "proposed") == "2"


def test_a_dismissed_move_is_not_proposed_again(control: ControlProcess, models: Models) -> None:
    models.alias("dismissed")
    control.apply(document("dismissed", on_move="propose"))
    proposals = path("dismissed", "/proposals")
    models.point("shared", "2", "dismissed")
    (found,) = until(
        lambda: control.call("GET", f"{proposals}?state=open").json()["proposals"],
        NOTICED_S,
        "a proposal",
        control,
    )

    control.call("POST", f"{proposals}/{found['id']}:dismiss", {"reason": "not yet"})

    time.sleep(2.5)
    (only,) = control.call("GET", proposals).json()["proposals"]
    assert (only["state"], only["note"]) == ("dismissed", "not yet")
    assert version(control, "dismissed") == "1"


def test_reapplying_keeps_the_pin_while_the_reference_stays(
    control: ControlProcess, models: Models
) -> None:
    """A change of something else does not smuggle in an alias move nobody accepted."""
    models.alias("kept")
    wanted = document("kept", on_move="propose")
    control.apply(wanted)
    models.point("shared", "2", "kept")
    wanted["spec"]["deadline"] = "200ms"

    changed = control.apply(wanted, 1)

    assert changed.status_code == 200, changed.text
    assert version(control, "kept") == "1"


def test_a_new_version_is_noticed_and_told(control: ControlProcess, models: Models) -> None:
    """Nobody moved the alias: people hear of the version within five seconds, and no more."""
    models.register("arrived")
    wanted = document("arrived")
    wanted["spec"]["variants"]["champion"]["model"] = "models:/arrived@champion"
    control.apply(wanted)
    time.sleep(2.5)

    models.add("arrived")

    until(lambda: told(control, "arrived", "arrival"), NOTICED_S, "the news", control)
    assert "version 4 of arrived" in told(control, "arrived", "arrival")
    assert version(control, "arrived") == "1"


def test_an_unknown_alias_is_an_error_of_the_file(control: ControlProcess, models: Models) -> None:
    models.alias("lonely")
    wanted = document("lonely")
    wanted["spec"]["variants"]["champion"]["model"] = "models:/shared@nobody"

    answer = control.apply(wanted)

    assert answer.status_code == 422
    (violation,) = answer.json()["violations"]
    assert violation["path"] == "spec.variants.champion.model"
    assert control.call("GET", path("lonely")).status_code == 404


def test_only_signed_deliveries_are_heard(control: ControlProcess) -> None:
    body = msgspec.json.encode(
        {"entity": "model_version_alias", "action": "created", "data": {"name": "x"}}
    )
    stamp = str(int(time.time()))
    mac = hmac.new(SECRET.encode(), b".".join((b"d1", stamp.encode(), body)), hashlib.sha256)
    signed = {
        "x-mlflow-delivery-id": "d1",
        "x-mlflow-timestamp": stamp,
        "x-mlflow-signature": "v1," + base64.b64encode(mac.digest()).decode(),
    }
    hook = "/v1/webhooks/mlflow/main"

    assert control.call("POST", hook, body, token="", headers=signed).status_code == 202
    assert control.call("POST", hook, body + b" ", token="", headers=signed).status_code == 401
    assert control.call("POST", hook, body, token="").status_code == 401
