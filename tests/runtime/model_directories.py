"""Model directories as MLflow writes them, made by hand: quicker than importing MLflow."""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import skops.io
import yaml

from pointsman.domain.table import Feature, FeatureType
from pointsman.ports import ModelVersion
from pointsman.runtime.jobs import Job

NUMERIC = ("age", "gain", "hours")
WORDS = ("work", "land")
FEATURES = (
    *(Feature(name, FeatureType.DOUBLE) for name in NUMERIC),
    *(Feature(name, FeatureType.STRING) for name in WORDS),
)
NUMBERS = FEATURES[:3]
CLASSES = ("no", "yes")


def people(count: int = 400, seed: int = 0) -> pd.DataFrame:
    """Rows with numbers of very different sizes, words, and a class that depends on both."""
    dice = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {
            "age": dice.integers(17, 90, count).astype(float),
            "gain": dice.choice([0.0, 2174.0, 14084.0, 99999.0], count) + dice.random(count),
            "hours": dice.normal(40, 12, count).round(2),
            "work": dice.choice(["private", "state", "self", "?"], count),
            "land": dice.choice([f"land-{i}" for i in range(12)], count),
        }
    )
    score = (rows["age"] - 45) / 15 + (rows["work"] == "self") + dice.normal(0, 1, count)
    rows["label"] = np.where(score > 0, "yes", "no")
    return rows


def save(
    directory: Path,
    model: Any,
    features: Sequence[Feature] | None = FEATURES,
    *,
    form: str = "skops",
    example: pd.DataFrame | None = None,
    extra: dict[str, Any] | None = None,
) -> Path:
    """A scikit-learn flavor model. extra: further top-level keys of MLmodel."""
    directory.mkdir(parents=True)
    if form == "skops":
        (directory / "model.skops").write_bytes(skops.io.dumps(model))
        data = "model.skops"
    else:
        dump = cloudpickle.dumps if form == "cloudpickle" else pickle.dumps
        (directory / "model.pkl").write_bytes(dump(model))
        data = "model.pkl"
    trusted = skops.io.get_untrusted_types(file=directory / data) if form == "skops" else []
    flavor = {
        "pickled_model": data,
        "serialization_format": form,
        "skops_trusted_types": trusted,
        "code": None,
    }
    document: dict[str, Any] = {"flavors": {"sklearn": flavor}, **(extra or {})}
    if features is not None:
        document["signature"] = {"inputs": json.dumps(columns(features))}
    if example is not None:
        kept = example[[f.name for f in features or ()]]
        (directory / "input_example.json").write_text(kept.to_json(orient="split", index=False))
        document["saved_input_example_info"] = {
            "artifact_path": "input_example.json",
            "type": "dataframe",
            "pandas_orient": "split",
        }
    (directory / "MLmodel").write_text(yaml.safe_dump(document))
    return directory


def columns(features: Sequence[Feature]) -> list[dict[str, Any]]:
    return [{"name": f.name, "type": f.type.value, "required": f.required} for f in features]


def describe(directory: Path, flavors: dict[str, Any], **extra: Any) -> Path:
    """Writes an MLmodel file into the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "MLmodel").write_text(yaml.safe_dump({"flavors": flavors, **extra}))
    return directory


def job(directory: Path, staging: Path, **changes: Any) -> Job:
    staging.mkdir(parents=True, exist_ok=True)
    given: dict[str, Any] = {
        "directory": str(directory),
        "staging": str(staging),
        "source": "models:/people/1",
        "origin": "0" * 64,
        "tags": {},
        "trusted": True,
        "classes": CLASSES,
        "features": (),
        "tolerance": 1e-5,
        "memory_bytes": 8 << 30,
        "cpu_s": 60,
        "file_bytes": 1 << 30,
    }
    return Job(**given | changes)


def version(*, trusted: bool = True, tags: dict[str, str] | None = None) -> ModelVersion:
    return ModelVersion(
        "models:/people/1", "models:/people@champion", "1", "ours", trusted, "", tags or {}
    )


def scripted() -> Any:
    """A classifier that does what its feature `age` says.

    0..1: that probability; -1: exit; -2: endless sleep; -3: raises; -4: NaN; -5: one column. Its
    class is local, so it is pickled by value and the model's process need not import this file.
    """

    class Script:
        classes_ = np.array(["no", "yes"])

        def predict_proba(self, rows: Any) -> Any:
            import os
            import time

            asked = rows["age"].to_numpy()
            if (asked == -1).any():
                os._exit(7)
            if (asked == -2).any():
                time.sleep(3600)
            if (asked == -3).any():
                raise ValueError("asked to raise")
            if (asked == -5).any():
                return asked[:, None]
            asked = np.where(asked == -4, np.nan, np.clip(asked, 0, 1))
            return np.stack([1 - asked, asked], axis=1)

    return Script()
