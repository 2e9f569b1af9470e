"""Python-function models, saved by MLflow itself: native, trusted or refused, aligned by name."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from model_directories import CLASSES, NUMBERS, NUMERIC, job, people, version

from pointsman.domain import artifact
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import Runtime
from pointsman.runtime.blobs import BlobStore
from pointsman.runtime.frames import Load
from pointsman.runtime.model_process import open_model
from pointsman.runtime.preparation import Request, prepare
from pointsman.runtime.prepare import run

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
ROWS = people(60)[list(NUMERIC)]


def saved(directory: Path, answer: Any) -> Path:
    """A model whose `predict` is `answer(rows)`."""
    import mlflow.pyfunc
    from mlflow.models import ModelSignature, infer_signature

    class Custom(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
            return answer(model_input)

    signature: ModelSignature = infer_signature(ROWS)
    mlflow.pyfunc.save_model(
        str(directory), python_model=Custom(), signature=signature, pip_requirements=[]
    )
    return directory


def named(rows: pd.DataFrame) -> pd.DataFrame:
    share = np.clip(rows["age"] / 100, 0, 1)
    return pd.DataFrame({"yes": share, "no": 1 - share})


def test_columns_of_a_data_frame_are_matched_by_name(tmp_path: Path) -> None:
    """The model puts `yes` first, the project `no`: the answer comes in the project's order."""
    directory = saved(tmp_path / "model", named)
    manifest = run(job(directory, tmp_path / "staging"))
    load = Load(artifact.encode(manifest), str(directory), 0)
    predict, _ = open_model(load)

    assert manifest.runtime is Runtime.NATIVE
    assert manifest.needs_code
    assert manifest.loader == "pyfunc"
    assert manifest.reason == "native: a Python function cannot be compiled"
    np.testing.assert_allclose(predict([[25.0, 0.0, 1.0]]), [[0.75, 0.25]])


def test_a_bare_array_needs_the_names_of_its_columns(tmp_path: Path) -> None:
    """An array has no names: refused, until the tag `classes` gives them."""
    directory = saved(tmp_path / "model", lambda rows: named(rows).to_numpy())
    with pytest.raises(PointsmanError, match="what its classes are called"):
        run(job(directory, tmp_path / "refused"))
    manifest = run(job(directory, tmp_path / "staging", tags={"classes": "yes, no"}))

    assert manifest.order == (1, 0)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda rows: ["yes"] * len(rows), "not a probability for each class"),
        (lambda rows: named(rows)["yes"].to_numpy(), "not a probability for each class"),
        (lambda rows: named(rows) * 2, "do not add up to 1"),
        (lambda rows: named(rows).rename(columns={"yes": "maybe"}), "the project lacks 'maybe'"),
        (lambda rows: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_answers_that_cannot_be_served(tmp_path: Path, answer: Any, said: str) -> None:
    """Labels, lone scores, numbers that are no probabilities, other classes, exceptions."""
    directory = saved(tmp_path / "model", answer)
    with pytest.raises(PointsmanError) as raised:
        run(job(directory, tmp_path / "staging"))

    assert raised.value.kind is Kind.INVALID
    assert said in raised.value.message
    assert raised.value.hint


def test_functions_from_registries_without_trust_are_refused(tmp_path: Path) -> None:
    """Loading one is running it, so it is not loaded."""
    directory = saved(tmp_path / "model", named)
    with pytest.raises(PointsmanError, match="not trusted") as raised:
        prepare(
            Request(version(trusted=False), directory, CLASSES, NUMBERS),
            BlobStore(tmp_path / "blobs"),
        )

    assert raised.value.kind is Kind.FORBIDDEN
