"""Preparing a model in a process of its own: what comes out, and what malicious models achieve."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from model_directories import CLASSES, NUMBERS, NUMERIC, people, save, scripted, version
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlflow_server import MlflowServerProcess
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import Runtime
from pointsman.plugins.mlflow import MlflowRegistry, MlflowServer
from pointsman.runtime.blobs import BlobStore
from pointsman.runtime.onnx import OnnxModel
from pointsman.runtime.preparation import (
    Limits,
    Request,
    fetch_and_prepare,
    load_manifest,
    prepare,
)

ROWS = people(200)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def plain() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(
        ROWS[list(NUMERIC)], ROWS["label"]
    )


class Bad:
    """Unpickles into a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def code(tmp_path: Path, payload: Any) -> Path:
    return save(tmp_path / "model", payload, NUMBERS, form="pickle")


def test_a_model_becomes_blobs_once(tmp_path: Path, blobs: BlobStore) -> None:
    """Manifest and graph are stored by digest; the same model for a project is made once."""
    directory = save(tmp_path / "model", plain(), NUMBERS, example=ROWS.head(20))
    first = prepare(Request(version(), directory, CLASSES), blobs)
    started = time.monotonic()
    again = prepare(Request(version(), directory, CLASSES), blobs)
    elapsed_s = time.monotonic() - started

    assert again == first
    assert elapsed_s < 0.5
    assert load_manifest(first.digest, blobs) == first.manifest
    assert set(first.blobs) == set(blobs)
    assert first.manifest.runtime is Runtime.ONNX
    assert not first.manifest.needs_code
    model = OnnxModel.load(first.manifest, blobs, first.manifest.features)
    np.testing.assert_allclose(
        model.score(ROWS[list(NUMERIC)].to_numpy().tolist()),
        plain().predict_proba(ROWS[list(NUMERIC)]),
        atol=1e-9,
    )


@pytest.mark.parametrize("form", ["pickle", "cloudpickle"])
def test_code_from_registries_without_trust_is_never_loaded(
    tmp_path: Path, blobs: BlobStore, form: str
) -> None:
    """Refused from its declaration alone: no process is started, nothing in it runs."""
    marker = tmp_path / "marker"
    directory = save(tmp_path / "model", Bad(os.system, f"touch {marker}"), NUMBERS, form=form)
    with pytest.raises(PointsmanError, match="not trusted") as raised:
        prepare(Request(version(trusted=False), directory, CLASSES), blobs)

    assert raised.value.kind is Kind.FORBIDDEN
    assert "skops" in raised.value.hint
    assert f"--trust-registry {version().registry}" in raised.value.hint
    assert not marker.exists()


def test_a_pickle_that_says_it_is_skops(tmp_path: Path, blobs: BlobStore) -> None:
    """Name and declaration say skops, the bytes say pickle: refused, not tried."""
    marker = tmp_path / "marker"
    directory = save(tmp_path / "model", plain(), NUMBERS)
    (directory / "model.skops").write_bytes(pickle.dumps(Bad(os.system, f"touch {marker}")))
    with pytest.raises(PointsmanError, match="not a skops file"):
        prepare(Request(version(), directory, CLASSES), blobs)

    assert not marker.exists()


def test_skops_with_unknown_types_needs_trust(tmp_path: Path, blobs: BlobStore) -> None:
    """Types nobody vouches for are refused even where the file lists them as trusted."""
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(3, random_state=0).fit(ROWS[list(NUMERIC)], ROWS["label"])
    directory = save(tmp_path / "model", model, NUMBERS)
    with pytest.raises(PointsmanError, match=r"sklearn\.tree\._tree\.Tree") as raised:
        prepare(Request(version(trusted=False), directory, CLASSES), blobs)

    assert raised.value.kind is Kind.FORBIDDEN


@pytest.mark.parametrize(
    ("payload", "kind", "said"),
    [
        (Bad(os._exit, 3), Kind.BACKEND_FAILED, "ended with status 3"),
        (Bad(os.kill, 0, signal.SIGSEGV), Kind.BACKEND_FAILED, "SIGSEGV"),
        (Bad(bytearray, 1 << 44), Kind.INVALID, "memory"),
        (Bad(exec, "raise RuntimeError('no ' + 'luck')"), Kind.INVALID, "RuntimeError: no luck"),
        (Bad(print, '{"manifest": null}'), Kind.INVALID, "no probabilities"),
        (Bad(exec, "import os; os.write(1, b'{}' * 9)"), Kind.INVALID, "no probabilities"),
    ],
)
def test_models_that_break_the_process(
    tmp_path: Path, blobs: BlobStore, payload: Any, kind: Kind, said: str
) -> None:
    """Whatever a trusted model does while it loads, the controller gets an error in words."""
    directory = code(tmp_path, payload)
    with pytest.raises(PointsmanError) as raised:
        prepare(Request(version(), directory, CLASSES), blobs, Limits(timeout_s=60))

    assert raised.value.kind is kind
    assert said in raised.value.message
    assert list(blobs) == []


def test_an_endless_load_is_ended_with_all_it_started(tmp_path: Path, blobs: BlobStore) -> None:
    """At the time limit the whole session goes, children of the model included."""
    started = tmp_path / "pid"
    script = (
        "import subprocess, time\n"
        f"p = subprocess.Popen(['sleep', '600']); open({str(started)!r}, 'w').write(str(p.pid))\n"
        "time.sleep(600)"
    )
    directory = code(tmp_path, Bad(exec, script))
    with pytest.raises(PointsmanError, match="longer than 15 s") as raised:
        prepare(Request(version(), directory, CLASSES), blobs, Limits(timeout_s=15))

    assert raised.value.kind is Kind.TIMEOUT
    status = Path(f"/proc/{started.read_text()}/status")
    assert not status.exists() or "State:\tZ" in status.read_text()


def test_nothing_of_our_environment_reaches_the_model(
    tmp_path: Path, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials in the controller's environment are not in the model's."""
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    directory = code(tmp_path, Bad(exec, "import os; raise RuntimeError(sorted(os.environ))"))
    with pytest.raises(PointsmanError) as raised:
        prepare(Request(version(), directory, CLASSES), blobs)

    assert "HOME" in raised.value.message
    assert "PASSWORD" not in raised.value.message


def test_native_artifacts_hold_the_models_own_files(tmp_path: Path, blobs: BlobStore) -> None:
    """What cannot be compiled is stored as it came, marked as code where it is."""
    directory = save(tmp_path / "model", scripted(), NUMBERS, form="cloudpickle")
    prepared = prepare(Request(version(), directory, CLASSES), blobs)

    assert prepared.manifest.runtime is Runtime.NATIVE
    assert prepared.manifest.needs_code
    assert [file.path for file in prepared.manifest.files] == ["MLmodel", "model.pkl"]
    assert blobs.read(prepared.manifest.files[1].digest) == (directory / "model.pkl").read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pickled_model": "../../etc/passwd"}, "outside of the model"),
        ({"pickled_model": "/etc/passwd"}, "outside of the model"),
        ({"pickled_model": "missing.skops"}, "is missing"),
        ({"pickled_model": "link.skops"}, "symbolic link"),
        ({"serialization_format": "brand-new"}, "not known"),
    ],
)
def test_mlmodel_files_that_lie(
    tmp_path: Path, blobs: BlobStore, change: dict[str, str], said: str
) -> None:
    """Paths out of the model and unknown formats are refused before a process is started."""
    directory = save(tmp_path / "model", plain(), NUMBERS)
    (directory / "link.skops").symlink_to("/etc/passwd")
    document = yaml.safe_load((directory / "MLmodel").read_text())
    document["flavors"]["sklearn"] |= change
    (directory / "MLmodel").write_text(yaml.safe_dump(document))
    with pytest.raises(PointsmanError) as raised:
        prepare(Request(version(), directory, CLASSES), blobs)

    assert said in raised.value.message


@pytest.mark.parametrize(
    "text", ["", "[]", "flavors: 7", "flavors: {spark: {}}", "a: [b", "\x00", "x: " + "[" * 5000]
)
def test_mlmodel_files_that_are_none(tmp_path: Path, blobs: BlobStore, text: str) -> None:
    """Malformed descriptions are refused with a hint."""
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(PointsmanError) as raised:
        prepare(Request(version(), tmp_path, CLASSES), blobs)

    assert raised.value.kind is Kind.INVALID
    assert raised.value.hint


def test_links_in_a_model_are_refused(tmp_path: Path, blobs: BlobStore) -> None:
    """A link beside the model would be stored as what it points to."""
    directory = save(tmp_path / "model", plain(), NUMBERS)
    (directory / "extra").symlink_to("/etc/passwd")
    with pytest.raises(PointsmanError, match="extra, which is not a plain file"):
        prepare(Request(version(), directory, CLASSES), blobs)


def test_from_a_real_registry_to_a_warm_model(
    mlflow_server: MlflowServerProcess, blobs: BlobStore
) -> None:
    """Logged with MLflow, resolved by alias, downloaded, compiled, proved, loaded, asked."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    import mlflow
    import mlflow.sklearn

    mlflow.set_tracking_uri(mlflow_server.url)
    numbers = ROWS[list(NUMERIC)]
    model = plain()
    with mlflow.start_run():
        mlflow.sklearn.log_model(
            model,
            name="model",
            registered_model_name="prepared",
            signature=mlflow.models.infer_signature(numbers, model.predict_proba(numbers)),
            input_example=numbers.head(30),
            pip_requirements=["scikit-learn"],
        )
    mlflow.MlflowClient().set_registered_model_alias("prepared", "champion", "1")
    registry = MlflowRegistry(MlflowServer("models", mlflow_server.url))
    found = registry.resolve("models:/prepared@champion")
    prepared = fetch_and_prepare(registry, found, ("yes", "no"), (), blobs)
    served = OnnxModel.load(prepared.manifest, blobs, prepared.manifest.features)

    assert prepared.manifest.source == "models:/prepared/1"
    assert prepared.manifest.parity is not None
    assert prepared.manifest.parity.real_rows == 30
    assert prepared.manifest.order == (1, 0)
    np.testing.assert_allclose(
        served.score(numbers.to_numpy().tolist()),
        model.predict_proba(numbers)[:, ::-1],
        atol=1e-9,
    )


def test_gateways_import_nothing_that_trains() -> None:
    """The in-process runtime costs a gateway numpy and onnxruntime, and nothing else heavy."""
    script = (
        "import sys, pointsman.runtime.onnx, pointsman.runtime.runner_client;"
        "print([m for m in ('sklearn', 'mlflow', 'pandas', 'skl2onnx', 'pydantic', 'sqlalchemy', "
        "'onnx', 'scipy', 'yaml') if m in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )

    assert said.stdout.strip() == "[]"
