"""Several registries, some behind a login: which one a reference means, and what nobody may see."""

import base64
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from control_process import ControlProcess, running
from mlflow_server import MlflowServerProcess
from registered_models import Models

TOKEN = "canary-5d1c-token"
LOGIN = "ann:canary-77ab-password"
HOOK = "canary-90ff-webhook-secret"
NAME = "shared-model"


class Guard:
    """A reverse proxy that lets in only who sends the header it wants."""

    def __init__(self, behind: str, wanted: str) -> None:
        self.wanted = wanted
        guard = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.headers.get("authorization") != guard.wanted:
                    self._answer(401, b"", "text/plain")
                    return
                try:
                    with urllib.request.urlopen(behind + self.path, timeout=30) as found:
                        kind = found.headers.get("content-type", "")
                        self._answer(found.status, found.read(), kind)
                except urllib.error.HTTPError as error:
                    self._answer(error.code, error.read(), "application/json")

            def _answer(self, status: int, body: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def guards(mlflow_server: MlflowServerProcess) -> Iterator[tuple[Guard, Guard]]:
    models = Models(mlflow_server)
    models.register(NAME)
    login = "Basic " + base64.b64encode(LOGIN.encode()).decode()
    found = Guard(mlflow_server.url, f"Bearer {TOKEN}"), Guard(mlflow_server.url, login)
    yield found
    for guard in found:
        guard.close()


@pytest.fixture(scope="module")
def login_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secrets") / "login"
    path.write_text(LOGIN + "\n")
    return path


@pytest.fixture(scope="module")
def control(
    tmp_path_factory: pytest.TempPathFactory, guards: tuple[Guard, Guard], login_file: Path
) -> Iterator[ControlProcess]:
    with running(
        tmp_path_factory.mktemp("registries"),
        POINTSMAN_REGISTRIES=f"main={guards[0].url},spare={guards[1].url}",
        POINTSMAN_REGISTRY_TOKENS="main=${env:MAIN_TOKEN}",
        POINTSMAN_REGISTRY_LOGINS=f"spare=${{file:{login_file}}}",
        POINTSMAN_WEBHOOK_SECRETS="main=${env:HOOK_SECRET}",
        POINTSMAN_LOG_LEVEL="debug",
        POINTSMAN_POLL_S="0.5",
        MAIN_TOKEN=TOKEN,
        HOOK_SECRET=HOOK,
    ) as found:
        yield found


def document(name: str, **models: str) -> dict[str, Any]:
    return {
        "apiVersion": "pointsman/v1",
        "kind": "Project",
        "metadata": {"name": name},
        "spec": {
            "classes": ["no", "yes"],
            "variants": {variant: {"model": model} for variant, model in models.items()},
        },
    }


def test_a_reference_that_several_registries_know_is_refused(control: ControlProcess) -> None:
    """All of them are named, and how to say which one is meant."""
    found = control.apply(document("unclear", champion=f"models:/{NAME}@champion"))

    (violation,) = found.json()["violations"]
    assert found.status_code == 422
    assert violation["path"] == "spec.variants.champion.model"
    assert violation["message"] == f"models:/{NAME}@champion: 2 registries have it: main, spare"
    assert violation["hint"] == f"name the one you mean: models://main/{NAME}@champion"


def test_an_unknown_registry_is_refused(control: ControlProcess) -> None:
    found = control.apply(document("unknown", champion=f"models://mian/{NAME}/1"))

    (violation,) = found.json()["violations"]
    assert violation["message"] == f"models://mian/{NAME}/1: there is no registry 'mian'"
    assert violation["hint"] == "did you mean 'main'?"


def test_each_variant_comes_from_the_registry_it_names(control: ControlProcess) -> None:
    """The pin names it too, in status and in the decision's table."""
    found = control.apply(
        document(
            "both",
            champion=f"models://main/{NAME}@champion",
            challenger=f"models://spare/{NAME}/2",
        )
    )
    assert found.status_code == 200, found.text
    status = control.call("GET", "/v1/tenants/default/projects/both/status").json()

    assert {v["name"]: v["source"] for v in status["variants"]} == {
        "champion": f"models://main/{NAME}/1",
        "challenger": f"models://spare/{NAME}/2",
    }


def test_a_new_password_is_heeded_without_a_restart(
    control: ControlProcess, guards: tuple[Guard, Guard], login_file: Path
) -> None:
    """The check-up says whose credentials are refused, and says no more of them."""
    guards[1].wanted = "Basic " + base64.b64encode(b"ann:another-canary").decode()
    refused = checks(control)["registry spare"]
    login_file.write_text("ann:another-canary")
    accepted = checks(control)["registry spare"]

    assert (refused["state"], accepted["state"]) == ("warning", "ok")
    assert "refused our credentials (401)" in refused["detail"]
    assert checks(control)["registry main"]["state"] == "ok"


def test_secrets_are_nowhere_to_be_seen(control: ControlProcess) -> None:
    """Not in answers, logs, arguments or files of the data directory, even when all goes wrong."""
    control.call("POST", "/v1/webhooks/mlflow/main", b"{}", headers={"x-mlflow-signature": "x"})
    seen = [
        control.call("GET", path).text
        for path in ("/v1/doctor", "/v1/version", "/v1/audit", "/v1/openapi.json")
    ]
    seen.append(Path(f"/proc/{control.process.pid}/cmdline").read_bytes().decode())
    time.sleep(1)
    seen += [
        path.read_bytes().decode("latin-1") for path in control.data.rglob("*") if path.is_file()
    ]

    assert any("registry main" in text for text in seen)
    assert [text[:200] for text in seen if "canary" in text.lower()] == []
    for login in (LOGIN, "ann:another-canary"):
        encoded = base64.b64encode(login.encode()).decode()
        assert not [text for text in seen if encoded in text]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "--webhook-secret", "main=canary"], "given in plain text"),
        (["serve", "--registry-token", "main=canary"], "given in plain text"),
        (["controller", "--registry-login", "main=ann:canary"], "given in plain text"),
        (["serve", "--registry", "main=http://ann:canary@host"], "holds a password"),
        (["serve", "--registry-token", "main=${env:NOT_SET}"], "there is no such variable"),
        (["serve", "--registry-token", "main=${file:/nowhere}"], "No such file"),
        (["serve", "--registry-login", "main=${env:CANARY}"], "not of the form USER:PASSWORD"),
        (["serve", "--registry-token", "main=${env:CANARIES}"], "printable ASCII"),
        (["serve", "--registry-token", "main=${env:EMPTY}"], "it is empty"),
        (["gateway", "--gateway-token", "canary"], "among the arguments"),
    ],
)
def test_a_secret_in_the_wrong_place_is_refused_and_not_repeated(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    command = [sys.executable, "-m", "pointsman.cli", *arguments, "--data", str(tmp_path)]
    if "--registry" not in arguments and arguments[0] != "gateway":
        command += ["--registry", "main=http://127.0.0.1:1"]
    environment = {"CANARY": "canary", "CANARIES": "canary\ncanary", "EMPTY": "\n"}

    done = subprocess.run(
        command, capture_output=True, timeout=30, check=False, env={**os.environ, **environment}
    )
    said = (done.stdout + done.stderr).decode()

    assert done.returncode == 1
    assert words in said
    assert "canary" not in said


def checks(control: ControlProcess) -> dict[str, Any]:
    return {check["name"]: check for check in control.call("GET", "/v1/doctor").json()["checks"]}
