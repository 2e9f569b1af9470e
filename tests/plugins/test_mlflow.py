"""The MLflow registry against a real MLflow server, and against one that lies."""

import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mlflow_server import MlflowServerProcess
from pointsman import ports
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.plugins.mlflow import MlflowRegistry, MlflowServer
from pointsman.plugins.mlflow_webhook import WebhookVerifier

SECRET = "a-secret-only-this-test-knows"


class Registered:
    """A model in the server: two versions, aliases, and the run that logged the first."""

    def __init__(self, server: MlflowServerProcess) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
        import mlflow
        import mlflow.sklearn
        import numpy as np
        import pandas as pd
        from sklearn.linear_model import LogisticRegression

        self.name = "registry-test"
        mlflow.set_tracking_uri(server.url)
        rows = pd.DataFrame({"a": np.linspace(0, 1, 20), "b": np.linspace(1, 0, 20)})
        model = LogisticRegression().fit(rows, np.repeat(["no", "yes"], 10))
        for _ in range(2):
            with mlflow.start_run() as run:
                info = mlflow.sklearn.log_model(
                    model,
                    name="model",
                    registered_model_name=self.name,
                    input_example=rows.head(3),
                    pip_requirements=["scikit-learn"],
                )
        self.run_id = run.info.run_id
        self.model_id = info.model_id
        self.client = mlflow.MlflowClient()
        self.client.set_registered_model_alias(self.name, "champion", "1")
        self.client.set_model_version_tag(self.name, "1", "validated", "true")


@pytest.fixture(scope="module")
def registered(mlflow_server: MlflowServerProcess) -> Registered:
    return Registered(mlflow_server)


@pytest.fixture
def registry(mlflow_server: MlflowServerProcess) -> MlflowRegistry:
    return MlflowRegistry(MlflowServer("models", mlflow_server.url))


def test_an_alias_is_pinned_to_its_version(
    registry: MlflowRegistry, registered: Registered
) -> None:
    """An alias becomes a version number, with the version's tags and the place of its files."""
    found = registry.resolve(f"models:/{registered.name}@champion")

    assert found.uri == f"models:/{registered.name}/1"
    assert found.version == "1"
    assert found.registry == "models"
    assert found.tags == {"validated": "true"}
    assert found.download.startswith("mlflow-artifacts:/")
    assert not found.trusted


@pytest.mark.parametrize(
    "form", ["models:/{0.name}/2", "models:/{0.model_id}", "runs:/{0.run_id}/model"]
)
def test_every_form_of_uri_leads_to_the_files(
    registry: MlflowRegistry, registered: Registered, form: str, tmp_path: Path
) -> None:
    """By version, by logged model and by run: the same files arrive, complete."""
    version = registry.resolve(form.format(registered))
    registry.download(version, tmp_path)

    names = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert {"MLmodel", "model.skops", "input_example.json"} <= names
    assert (tmp_path / "model.skops").read_bytes()[:2] == b"PK"


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("models:/registry-test@nobody", Kind.NOT_FOUND),
        ("models:/registry-test/99", Kind.NOT_FOUND),
        ("models:/no-such-model@champion", Kind.NOT_FOUND),
        ("models:/no-such-model/1", Kind.NOT_FOUND),
        ("models:/m-" + "0" * 32, Kind.NOT_FOUND),
        ("runs:/" + "0" * 32 + "/model", Kind.NOT_FOUND),
        ("models:/registry-test/latest", Kind.INVALID),
        ("models:/registry-test", Kind.INVALID),
        ("models:/a/../../b", Kind.INVALID),
        ("s3://bucket/model", Kind.INVALID),
        ("file:///etc/passwd", Kind.INVALID),
        ("http://169.254.169.254/latest", Kind.INVALID),
    ],
)
def test_what_is_not_there_and_what_is_no_model_uri(
    registry: MlflowRegistry, registered: Registered, uri: str, kind: Kind
) -> None:
    """MLflow answers 400 for an unknown alias; to us it is not found, with a hint."""
    with pytest.raises(PointsmanError) as raised:
        registry.resolve(uri)

    assert raised.value.kind is kind
    assert raised.value.hint


def test_a_run_path_cannot_leave_the_run(registry: MlflowRegistry, registered: Registered) -> None:
    """`..` in a run's path is refused before anything is asked for."""
    with pytest.raises(PointsmanError) as raised:
        registry.resolve(f"runs:/{registered.run_id}/../../other")

    assert raised.value.kind is Kind.FORBIDDEN


def test_an_alias_and_tags_are_written_back(
    registry: MlflowRegistry, registered: Registered
) -> None:
    """Twice is as good as once, and only a registered version can have an alias."""
    source = f"models:/{registered.name}/2"
    for _ in range(2):
        registry.write_back(
            source, "proved", {"pointsman.verdict": "succeeded", "long": "x" * 9000}
        )

    found = registered.client.get_model_version_by_alias(registered.name, "proved")
    assert str(found.version) == "2"
    assert found.tags["pointsman.verdict"] == "succeeded"
    assert len(found.tags["long"]) == 4000
    with pytest.raises(PointsmanError) as refused:
        registry.write_back(f"models:/{registered.model_id}", "proved", {})
    assert refused.value.kind is Kind.INVALID
    with pytest.raises(PointsmanError) as missing:
        registry.write_back("models:/nobody/1", "proved", {})
    assert missing.value.kind is Kind.NOT_FOUND
    registered.client.delete_registered_model_alias(registered.name, "proved")


def test_polling_sees_alias_moves_and_new_versions(
    registry: MlflowRegistry, registered: Registered
) -> None:
    """One request a model tells the aliases and the newest version, within milliseconds."""
    before = registry.poll([registered.name, "no-such-model"])
    registered.client.set_registered_model_alias(registered.name, "challenger", "2")
    started = time.monotonic()
    after = registry.poll([registered.name])
    elapsed_s = time.monotonic() - started

    assert before == {registered.name: ports.Registered({"champion": "1"}, "2")}
    assert after == {registered.name: ports.Registered({"champion": "1", "challenger": "2"}, "2")}
    assert elapsed_s < 2.0
    registered.client.delete_registered_model_alias(registered.name, "challenger")


class Clock:
    def __init__(self, at_ms: int | None = None) -> None:
        self.at_ms = at_ms

    def now_ms(self) -> int:
        return self.at_ms if self.at_ms is not None else time.time_ns() // 1_000_000


class Sink(BaseHTTPRequestHandler):
    """Keeps what MLflow delivers."""

    deliveries: ClassVar[list[tuple[dict[str, str], bytes]]] = []
    arrived = threading.Event()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.deliveries.append((dict(self.headers), body))
        self.send_response(204)
        self.end_headers()
        self.arrived.set()

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def sink() -> Iterator[str]:
    Sink.deliveries.clear()
    Sink.arrived.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_mlflows_own_webhook_is_verified(registered: Registered, sink: str) -> None:
    """A delivery signed by MLflow itself is accepted once, and not when anything in it changes."""
    from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent

    created = WebhookEvent(WebhookEntity.MODEL_VERSION_ALIAS, WebhookAction.CREATED)
    hook = registered.client.create_webhook("ours", sink, [created], secret=SECRET)
    try:
        # MLflow remembers for a second that nobody listened.
        for _ in range(10):
            registered.client.set_registered_model_alias(registered.name, "hooked", "2")
            if Sink.arrived.wait(2):
                break
    finally:
        registered.client.delete_webhook(hook.webhook_id)
    headers, body = Sink.deliveries[0]
    verifier = WebhookVerifier(SECRET, Clock())
    event = verifier.verify(headers, body)

    assert (event.entity, event.action) == ("model_version_alias", "created")
    assert (event.model, event.alias, event.version) == (registered.name, "hooked", "2")
    assert verifier.verify(headers, body) == event
    late = WebhookVerifier(SECRET, Clock(int(headers["X-MLflow-Timestamp"]) * 1000 + 301_000))
    for checker, sent, content in (
        (WebhookVerifier(SECRET + "x", Clock()), headers, body),
        (verifier, headers, body + b" "),
        (verifier, {**headers, "X-MLflow-Delivery-Id": "another"}, body),
        (verifier, {k: v for k, v in headers.items() if k != "X-MLflow-Signature"}, body),
        (verifier, {**headers, "X-MLflow-Timestamp": "²"}, body),
        (late, headers, body),
    ):
        with pytest.raises(PointsmanError) as raised:
            checker.verify(sent, content)
        assert raised.value.kind is Kind.UNAUTHENTICATED


class Liar(BaseHTTPRequestHandler):
    """A registry gone bad: answers whatever the test put into `says`, by path prefix."""

    says: ClassVar[dict[str, tuple[int, bytes]]] = {}

    def do_GET(self) -> None:
        for prefix, (status, content) in self.says.items():
            if self.path.startswith(prefix):
                body = content
                self.send_response(status)
                if status in {301, 302}:
                    self.send_header("Location", body.decode())
                    body = b""
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return
        self.send_error(404)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def liar() -> Iterator[MlflowRegistry]:
    Liar.says = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield MlflowRegistry(MlflowServer("bad", f"http://127.0.0.1:{server.server_port}", timeout_s=2))
    server.shutdown()
    server.server_close()


def _version_at(location: str) -> None:
    version = {"model_version": {"name": "m", "version": "1", "status": "READY", "source": "x"}}
    Liar.says = {
        "/api/2.0/mlflow/model-versions/get?": (200, json.dumps(version).encode()),
        "/api/2.0/mlflow/model-versions/get-download-uri": (
            200,
            json.dumps({"artifact_uri": location}).encode(),
        ),
    }


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc",
        "/etc",
        "file:///etc/../root",
        "file://elsewhere/etc",
        "s3://bucket/key",
        "http://169.254.169.254/latest/meta-data",
        "mlflow-artifacts://169.254.169.254/x",
        "mlflow-artifacts://2852039166/x",
        "mlflow-artifacts:/../../etc",
        "mlflow-artifacts:/a/../../../etc",
    ],
)
def test_a_registry_cannot_send_us_elsewhere(liar: MlflowRegistry, location: str) -> None:
    """Locations outside of what the operator allowed are refused before a byte is fetched."""
    _version_at(location)
    with pytest.raises(PointsmanError) as raised:
        liar.resolve("models:/m/1")

    assert raised.value.kind in {Kind.FORBIDDEN, Kind.INVALID}


def test_a_file_location_the_operator_allows(liar: MlflowRegistry, tmp_path: Path) -> None:
    """A root that is allowed is read, links inside of it are not."""
    model = tmp_path / "root" / "model"
    model.mkdir(parents=True)
    (model / "MLmodel").write_text("flavors: {}")
    _version_at(f"file://{model}")
    allowing = MlflowRegistry(
        MlflowServer("files", liar._client.url, file_roots=(tmp_path / "root",))
    )
    into = tmp_path / "into"
    into.mkdir()
    allowing.download(allowing.resolve("models:/m/1"), into)
    assert (into / "MLmodel").read_text() == "flavors: {}"
    (model / "passwd").symlink_to("/etc/passwd")

    with pytest.raises(PointsmanError, match="link"):
        allowing.download(allowing.resolve("models:/m/1"), tmp_path / "other")


@pytest.mark.parametrize("name", ["../evil", "..", "a/b", "a\\b", "", ".", "nul\0"])
def test_file_names_from_the_registry_stay_in_the_directory(
    liar: MlflowRegistry, name: str, tmp_path: Path
) -> None:
    """A listed name that is more than a name is refused."""
    _version_at("mlflow-artifacts:/1/models/m")
    version = liar.resolve("models:/m/1")
    files = {"files": [{"path": name, "is_dir": False, "file_size": 1}]}
    Liar.says["/api/2.0/mlflow-artifacts/artifacts"] = (200, json.dumps(files).encode())
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(PointsmanError) as raised:
        liar.download(version, into)

    assert raised.value.kind is Kind.FORBIDDEN
    assert list(tmp_path.rglob("*")) == [into]


def test_directories_without_end_are_refused(liar: MlflowRegistry, tmp_path: Path) -> None:
    """A listing that always holds another directory stops at a fixed depth."""
    _version_at("mlflow-artifacts:/1/models/m")
    version = liar.resolve("models:/m/1")
    files = {"files": [{"path": "deeper", "is_dir": True}]}
    Liar.says["/api/2.0/mlflow-artifacts/artifacts"] = (200, json.dumps(files).encode())
    with pytest.raises(PointsmanError) as raised:
        liar.download(version, tmp_path)

    assert raised.value.kind is Kind.TOO_LARGE


@pytest.mark.parametrize(
    "answer",
    [
        (302, b"http://127.0.0.1:1/"),
        (500, b"boom"),
        (401, b""),
        (200, b"<html>"),
        (200, b"[" * 100_000),
        (200, b"{}"),
        (200, b'{"model_version": 7}'),
        (200, b" " * (5 << 20)),
    ],
)
def test_nonsense_from_the_registry_is_named_as_such(
    liar: MlflowRegistry, answer: tuple[int, bytes]
) -> None:
    """Redirects, errors, HTML, deep or endless JSON: the backend failed, and nothing crashes."""
    Liar.says = {"/api/2.0/mlflow/registered-models/alias": answer}
    with pytest.raises(PointsmanError) as raised:
        liar.resolve("models:/m@champion")

    assert raised.value.kind in {Kind.BACKEND_FAILED, Kind.TOO_LARGE}


def test_a_registry_that_is_down(tmp_path: Path) -> None:
    """Nobody listening is an ordinary failure of the backend."""
    registry = MlflowRegistry(MlflowServer("down", "http://127.0.0.1:9", timeout_s=1))
    with pytest.raises(PointsmanError) as raised:
        registry.poll(["m"])

    assert raised.value.kind is Kind.BACKEND_FAILED


@pytest.mark.parametrize("url", ["ftp://x", "nonsense", "http://user:pw@host", "http://"])
def test_addresses_that_are_none(url: str) -> None:
    """An address is checked when the registry is configured."""
    with pytest.raises(PointsmanError) as raised:
        MlflowRegistry(MlflowServer("x", url))

    assert raised.value.kind is Kind.INVALID
    assert "pw" not in raised.value.message
