"""A profile logged beside a model in a real MLflow, and found there by a real controller."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from tests.cli.conftest import CommandLine

from control_process import ControlProcess, running
from mlflow_server import MlflowServerProcess
from pointsman.controller import baseline
from pointsman.domain.errors import PointsmanError
from pointsman.plugins.local import LocalRegistry
from pointsman.plugins.mlflow import MlflowRegistry, MlflowServer
from pointsman.ports import PROFILE_FILE
from pointsman.wiring.sources import Sources

NAME = "profiled"
SEEN_S = 60.0


class Logged(NamedTuple):
    client: Any
    run: str
    file: Path


@pytest.fixture(scope="module")
def logged(mlflow_server: MlflowServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Logged:
    """A model in two versions, and the data it was trained with."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    import mlflow
    import mlflow.sklearn
    import pandas as pd
    from sklearn.linear_model import LogisticRegression

    mlflow.set_tracking_uri(mlflow_server.url)
    draw = np.random.default_rng(3)
    rows = pd.DataFrame({"a": draw.normal(size=400), "b": draw.normal(size=400)})
    labels = np.where(rows.a + draw.normal(size=400) > 0, "yes", "no")
    client = mlflow.MlflowClient()
    with mlflow.start_run() as run:
        mlflow.sklearn.log_model(
            LogisticRegression().fit(rows, labels),
            name="model",
            registered_model_name=NAME,
            signature=mlflow.models.infer_signature(rows, labels),
            pip_requirements=["scikit-learn"],
        )
    # Of the second version only the place matters.
    client.log_text(run.info.run_id, "flavors: {}", "second/MLmodel")
    client.create_model_version(NAME, f"{run.info.artifact_uri}/second", run.info.run_id)
    file = tmp_path_factory.mktemp("data") / "training.csv"
    rows.assign(other=1).to_csv(file, index=False)
    return Logged(client, run.info.run_id, file)


@pytest.fixture(scope="module")
def control(
    tmp_path_factory: pytest.TempPathFactory, mlflow_server: MlflowServerProcess
) -> Iterator[ControlProcess]:
    directory = tmp_path_factory.mktemp("profiles")
    with running(directory, POINTSMAN_REGISTRIES=f"main={mlflow_server.url}") as found:
        yield found


@pytest.fixture(scope="module")
def sources(mlflow_server: MlflowServerProcess) -> Sources:
    return Sources([MlflowRegistry(MlflowServer("main", mlflow_server.url))], LocalRegistry(()))


def test_a_profile_logged_beside_a_version_is_the_reference_of_its_project(
    run: CommandLine, control: ControlProcess, logged: Logged, mlflow_server: MlflowServerProcess
) -> None:
    """Features are those of the model's signature; no project is needed to log it."""
    source = f"models:/{NAME}/1"
    said = run("profile", str(logged.file), "--model", source, "--tracking-uri", mlflow_server.url)
    assert said.code == 0, said.err
    assert f"is logged beside {source}" in said.out

    applied = control.apply(
        {
            "apiVersion": "pointsman/v1",
            "kind": "Project",
            "metadata": {"name": NAME},
            "spec": {"classes": ["no", "yes"], "variants": {"champion": {"model": source}}},
        }
    )
    assert applied.status_code < 300, applied.text
    deadline = time.monotonic() + SEEN_S
    while (found := control.call("GET", f"/v1/tenants/default/projects/{NAME}/drift").json())[
        "reference"
    ] is None:
        assert time.monotonic() < deadline, control.said()
        time.sleep(0.1)

    assert found["reference"]["actor"] == "registry"
    assert found["reference"]["n"] == 400
    assert found["reference"]["source"] == (
        f"training.csv, 400 rows ({PROFILE_FILE} of models://main/{NAME}/1)"
    )
    assert [column["name"] for column in found["columns"]] == ["a", "b"]


def test_one_that_lies_with_a_run_is_found_by_the_tag_of_the_version(
    sources: Sources, logged: Logged, run: CommandLine, control: ControlProcess
) -> None:
    """As a training script may leave it, which cannot write beside a model that is logged."""
    pinned = f"models://main/{NAME}/2"
    assert sources.profile(pinned, "2") is None
    beside = sources.profile(f"models://main/{NAME}/1", "1")
    assert beside is not None
    logged.client.log_text(logged.run, beside.body.decode(), "data/profile.json")
    place = f"runs:/{logged.run}/data/profile.json"
    logged.client.set_model_version_tag(NAME, "2", "pointsman.profile", place)

    found = sources.profile(pinned, "2")

    assert found is not None
    assert (found.body, found.place) == (
        beside.body,
        f"{place}, named by the tag pointsman.profile",
    )
    assert baseline.decoded(found.body).n == 400

    logged.client.set_model_version_tag(NAME, "2", "pointsman.profile", f"{place}.gone")
    assert sources.profile(pinned, "2") is None
    for wrong in (f"runs:/{logged.run}/../../x", "s3://bucket/x", "runs:/nothing"):
        logged.client.set_model_version_tag(NAME, "2", "pointsman.profile", wrong)
        with pytest.raises(PointsmanError):
            sources.profile(pinned, "2")


def test_one_of_a_directory_is_part_of_its_version(tmp_path: Path) -> None:
    """Other files make another version, so a profile that comes later is none of this one."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "MLmodel").write_text("flavors: {}")
    known = Sources([], LocalRegistry((tmp_path,)))
    before = known.resolve(str(model)).version
    assert known.profile(str(model), before) is None

    (model / PROFILE_FILE).write_text("{}")
    after = known.resolve(str(model)).version

    assert known.profile(str(model), before) is None
    found = known.profile(str(model), after)
    assert found is not None
    assert (found.body, found.place) == (b"{}", PROFILE_FILE)


def test_a_version_without_named_columns_needs_a_project(
    run: CommandLine, logged: Logged, mlflow_server: MlflowServerProcess
) -> None:
    """Here the project is named, and its features are taken; without a server it is asked which."""
    said = run(
        "profile", NAME, str(logged.file), "--model", f"models:/{NAME}/2",
        MLFLOW_TRACKING_URI=mlflow_server.url,
    )  # fmt: skip
    assert said.code == 0, said.err

    lost = run("profile", str(logged.file), "--model", f"models:/{NAME}/2", MLFLOW_TRACKING_URI="")
    assert lost.code == 1
    assert "which MLflow server?" in lost.err
