"""What registry models become: compiled where the proof holds, native with a reason where not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from model_directories import CLASSES, FEATURES, NUMBERS, NUMERIC, WORDS, job, people, save
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier

from pointsman.domain.artifact import ArtifactManifest
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import Feature, FeatureType, Runtime
from pointsman.runtime.jobs import GRAPH
from pointsman.runtime.onnx import OnnxModel
from pointsman.runtime.prepare import run

ROWS = people()


def columns(numbers: Any, words: Any, *, words_first: bool = False) -> ColumnTransformer:
    parts = [("n", numbers, list(NUMERIC)), ("w", words, list(WORDS))]
    return ColumnTransformer(parts[::-1] if words_first else parts)


def hot(**options: Any) -> OneHotEncoder:
    return OneHotEncoder(**{"handle_unknown": "ignore", **options})


def logistic() -> LogisticRegression:
    return LogisticRegression(max_iter=300)


def forest() -> RandomForestClassifier:
    return RandomForestClassifier(20, max_depth=8, random_state=0)


COMPILED: dict[str, Callable[[], Any]] = {
    "logistic": lambda: make_pipeline(columns(StandardScaler(), hot()), logistic()),
    "forest behind a scaler": lambda: make_pipeline(columns(StandardScaler(), hot()), forest()),
    "words first": lambda: make_pipeline(
        columns(StandardScaler(), hot(), words_first=True), logistic()
    ),
    "dense, first category dropped": lambda: make_pipeline(
        columns("passthrough", hot(drop="first", sparse_output=False)), logistic()
    ),
    "rare categories together": lambda: make_pipeline(
        columns(StandardScaler(), hot(handle_unknown="infrequent_if_exist", min_frequency=40)),
        logistic(),
    ),
    "imputers in both branches": lambda: make_pipeline(
        columns(
            make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
            make_pipeline(SimpleImputer(strategy="most_frequent", missing_values=None), hot()),
        ),
        logistic(),
    ),
    "ordinal words, trees": lambda: make_pipeline(
        columns(
            "passthrough",
            OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        ),
        GradientBoostingClassifier(n_estimators=15, random_state=0),
    ),
    "target encoder": lambda: make_pipeline(
        columns(MinMaxScaler(), TargetEncoder(random_state=0)), logistic()
    ),
    "steps between": lambda: make_pipeline(
        columns(StandardScaler(), hot(sparse_output=False)), PCA(5), logistic()
    ),
    "nested pipelines": lambda: Pipeline(
        [
            ("pre", Pipeline([("columns", columns(StandardScaler(), hot()))])),
            ("model", Pipeline([("scale", "passthrough"), ("clf", logistic())])),
        ]
    ),
    "calibrated": lambda: make_pipeline(
        columns(StandardScaler(), hot(sparse_output=False)),
        CalibratedClassifierCV(DecisionTreeClassifier(max_depth=3, random_state=0), cv=2),
    ),
    "lightgbm in a pipeline": lambda: make_pipeline(
        columns(StandardScaler(), hot()), LGBMClassifier(n_estimators=10, n_jobs=1, verbose=-1)
    ),
}


def prepared(tmp_path: Path, model: Any, signature: Any = FEATURES, **changes: Any) -> Any:
    """The manifest, and the compiled model where there is one."""
    directory = save(tmp_path / "model", model, signature, example=changes.pop("example", None))
    manifest = run(job(directory, tmp_path / "staging", **changes))
    if manifest.runtime is not Runtime.ONNX:
        return manifest, None
    graph = (tmp_path / "staging" / GRAPH).read_bytes()
    return manifest, OnnxModel(manifest, graph, manifest.features)


def reference(model: Any, rows: pd.DataFrame) -> np.ndarray:
    return np.asarray(model.predict_proba(rows[[f.name for f in FEATURES]]))


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_models_answer_as_the_original(tmp_path: Path, name: str) -> None:
    """On rows that took no part in the proof, one by one and in batches, unknown words included."""
    model = COMPILED[name]().fit(ROWS[[f.name for f in FEATURES]], ROWS["label"])
    manifest, compiled = prepared(tmp_path, model, example=ROWS.head(50))
    fresh = people(100, seed=9)
    fresh.loc[::7, "land"] = "atlantis"
    if name == "dense, first category dropped":
        fresh.loc[::5, "work"] = "unheard of"
    rows = fresh[[f.name for f in FEATURES]].to_numpy().tolist()
    expected = reference(model, fresh)

    assert compiled is not None, manifest.reason
    assert manifest.parity.passed
    assert manifest.parity.rows >= 1_000
    assert manifest.parity.real_rows == 50
    assert len(manifest.inputs) == 1
    np.testing.assert_allclose(compiled.score(rows), expected, atol=1e-6)
    np.testing.assert_allclose(compiled.score(rows[:1]), expected[:1], atol=1e-6)
    compiled.warm()


def test_float64_preprocessing_then_float32_trees(tmp_path: Path) -> None:
    """A forest behind a scaler is exact to 2e-7, on thresholds and right beside them too."""
    model = COMPILED["forest behind a scaler"]().fit(
        ROWS[[f.name for f in FEATURES]], ROWS["label"]
    )
    manifest, _ = prepared(tmp_path, model)

    assert manifest.parity.max_difference <= 5e-7
    assert "float64 columns, float32 trees" in manifest.reason


def test_missing_values_go_the_way_they_did_in_training(tmp_path: Path) -> None:
    """Optional features may be null: imputers and encoders treat them as the original does."""
    optional = tuple(Feature(f.name, f.type, required=False) for f in FEATURES)
    model = COMPILED["imputers in both branches"]().fit(
        ROWS[[f.name for f in FEATURES]], ROWS["label"]
    )
    _, compiled = prepared(tmp_path, model, optional)
    rows: list[list[Any]] = ROWS[[f.name for f in FEATURES]].head(6).to_numpy().tolist()
    for i in range(5):
        rows[i][i] = None
    asked = pd.DataFrame(rows, columns=[f.name for f in FEATURES])
    asked[list(NUMERIC)] = asked[list(NUMERIC)].astype(float)

    np.testing.assert_allclose(compiled.score(rows), reference(model, asked), atol=1e-9)


def test_an_encoder_that_refuses_unknown_words_still_does(tmp_path: Path) -> None:
    """What the original raises on, the compiled model refuses, naming feature and value."""
    model = make_pipeline(columns(StandardScaler(), OneHotEncoder()), logistic())
    model.fit(ROWS[[f.name for f in FEATURES]], ROWS["label"])
    _, compiled = prepared(tmp_path, model)
    row = ROWS[[f.name for f in FEATURES]].to_numpy().tolist()[0]
    with pytest.raises(PointsmanError, match=r"land.*'atlantis'") as raised:
        compiled.score([row, [*row[:4], "atlantis"]])

    assert raised.value.kind is Kind.INVALID


@pytest.mark.parametrize(
    ("final", "why"),
    [
        (HistGradientBoostingClassifier(max_iter=5), "HistGradientBoostingClassifier"),
        (None, "CountVectorizer"),
    ],
)
def test_what_has_no_compiled_form_stays_native(tmp_path: Path, final: Any, why: str) -> None:
    """Native, with the reason in words, and golden rows all the same."""
    words = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    transformer: Any = columns("passthrough", words)
    if final is None:
        text = CountVectorizer(token_pattern=r"[^-]+")
        transformer = ColumnTransformer([("n", "passthrough", list(NUMERIC)), ("t", text, "land")])
    model = make_pipeline(transformer, final or logistic())
    model.fit(ROWS[[f.name for f in FEATURES]], ROWS["label"])
    manifest, _ = prepared(tmp_path, model)

    assert manifest.runtime is Runtime.NATIVE
    assert manifest.reason.startswith("native: ")
    assert why in manifest.reason
    assert manifest.loader == "sklearn"
    assert len(manifest.probe_rows) == len(manifest.probe_probabilities) > 8


def test_a_compiled_form_that_fails_the_proof_stays_native(tmp_path: Path) -> None:
    """Float32 trees are not exact to 1e-12; asked for that, the original serves, with figures."""
    model = COMPILED["forest behind a scaler"]().fit(
        ROWS[[f.name for f in FEATURES]], ROWS["label"]
    )
    manifest, _ = prepared(tmp_path, model, tolerance=1e-12)

    assert manifest.runtime is Runtime.NATIVE
    assert not manifest.parity.passed
    assert "differs from the original by up to" in manifest.reason


def test_numbers_as_categories_and_whole_numbers(tmp_path: Path) -> None:
    """Integer and boolean columns are encoded by value; 3 and 3.0 are the same category."""
    rows = pd.DataFrame(
        {
            "room": np.tile([1, 2, 3, 4], 60),
            "paid": np.tile([True, False, False], 80),
            "size": np.linspace(0, 9, 240).astype(np.float32),
        }
    )
    features = (
        Feature("room", FeatureType.LONG),
        Feature("paid", FeatureType.BOOLEAN),
        Feature("size", FeatureType.FLOAT),
    )
    transformer = ColumnTransformer(
        [("c", hot(), ["room", "paid"]), ("n", StandardScaler(), ["size"])]
    )
    model = make_pipeline(transformer, logistic()).fit(
        rows, np.where(rows["room"] * rows["size"] > 9, "yes", "no")
    )
    _, compiled = prepared(tmp_path, model, features)
    asked: list[list[Any]] = [[3, True, 0.1], [3.0, False, 7.7], [9, True, 2.0]]
    frame = pd.DataFrame(
        {"room": [3, 3, 9], "paid": [True, False, True], "size": np.float32([0.1, 7.7, 2.0])}
    )

    np.testing.assert_allclose(compiled.score(asked), model.predict_proba(frame), atol=1e-6)


def test_more_than_two_classes_in_the_projects_order(tmp_path: Path) -> None:
    """The model's classes are sorted, the project's are not: names decide."""
    label = np.where(ROWS["age"] < 30, "low", np.where(ROWS["age"] < 60, "mid", "high"))
    numbers = ROWS[list(NUMERIC)]
    model = make_pipeline(StandardScaler(), logistic()).fit(numbers, label)
    manifest, compiled = prepared(tmp_path, model, NUMBERS, classes=("low", "mid", "high"))
    scores = compiled.score(numbers.head(20).to_numpy().tolist())
    own = model.predict_proba(numbers.head(20))

    assert list(model.classes_) == ["high", "low", "mid"]
    assert manifest.order == (1, 2, 0)
    np.testing.assert_allclose(scores, own[:, [1, 2, 0]], atol=1e-9)


@pytest.mark.parametrize("kind", ["wrapper", "booster"])
@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_boosters_in_their_own_formats(tmp_path: Path, library: str, kind: str) -> None:
    """Boosters know classes by number only: the tag names them, and without it they are refused."""
    numbers = ROWS[list(NUMERIC)]
    label = (ROWS["label"] == "yes").astype(int)
    flavor: dict[str, Any]
    if library == "xgboost":
        wrapper = XGBClassifier(n_estimators=8).fit(numbers, label)
        name = "XGBClassifier" if kind == "wrapper" else "Booster"
        flavor = {"data": "model.ubj", "model_class": f"xgboost.{name}"}
        store: Any = wrapper if kind == "wrapper" else wrapper.get_booster()
    elif kind == "booster":
        wrapper = LGBMClassifier(n_estimators=8, verbose=-1).fit(numbers, label)
        flavor = {"data": "model.lgb", "model_class": "lightgbm.basic.Booster"}
        store = wrapper.booster_
    else:
        wrapper = LGBMClassifier(n_estimators=8, verbose=-1).fit(numbers, label)
        flavor, store = {}, None
    if store is None:
        directory = save(tmp_path / "model", wrapper, NUMBERS)
    else:
        import json

        from model_directories import columns as signature
        from model_directories import describe

        directory = describe(
            tmp_path / "model",
            {library: flavor},
            signature={"inputs": json.dumps(signature(NUMBERS))},
        )
        store.save_model(str(directory / flavor["data"]))
    with pytest.raises(PointsmanError, match="what its classes are called"):
        run(job(directory, tmp_path / "refused"))
    tagged = job(directory, tmp_path / "staging", tags={"classes": '["no", "yes"]'})
    manifest = run(tagged)
    compiled = OnnxModel(manifest, (tmp_path / "staging" / GRAPH).read_bytes(), NUMBERS)

    assert manifest.runtime is Runtime.ONNX
    np.testing.assert_allclose(
        compiled.score(numbers.head(30).to_numpy().tolist()),
        wrapper.predict_proba(numbers.head(30)),
        atol=1e-6,
    )


def test_the_projects_features_decide_what_rows_look_like(tmp_path: Path) -> None:
    """A project may have more features, in another order; the model picks its own by name."""
    numbers = ROWS[list(NUMERIC)]
    model = make_pipeline(StandardScaler(), logistic()).fit(numbers, ROWS["label"])
    project = (
        Feature("hours", FeatureType.LONG),
        Feature("unused", FeatureType.STRING),
        Feature("gain", FeatureType.DOUBLE),
        Feature("age", FeatureType.DOUBLE),
    )
    manifest, compiled = prepared(tmp_path, model, NUMBERS, features=project)
    asked = pd.DataFrame({"age": [30.0], "gain": [5.5], "hours": [40.0]})

    assert manifest.features == project
    assert manifest.model_features == NUMBERS
    np.testing.assert_allclose(
        compiled.score([[40, "x", 5.5, 30.0]]), model.predict_proba(asked), atol=1e-9
    )


def test_a_tensor_signature_needs_names_for_its_columns(tmp_path: Path) -> None:
    """Trained on a bare array: refused, until the tag `features` names the columns in order."""
    array = ROWS[list(NUMERIC)].to_numpy()
    model = make_pipeline(StandardScaler(), logistic()).fit(array, ROWS["label"])
    inputs = '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 3]}}]'
    extra = {"signature": {"inputs": inputs}}
    directory = save(tmp_path / "model", model, None, extra=extra)
    with pytest.raises(PointsmanError, match="does not name its features"):
        run(job(directory, tmp_path / "refused", features=NUMBERS))
    tagged = job(
        directory, tmp_path / "staging", features=NUMBERS, tags={"features": "age, gain, hours"}
    )
    manifest = run(tagged)

    assert manifest.runtime is Runtime.ONNX
    assert [f.name for f in manifest.model_features] == list(NUMERIC)


def _manifest(tmp_path: Path, **changes: Any) -> ArtifactManifest:
    model = make_pipeline(StandardScaler(), logistic()).fit(ROWS[list(NUMERIC)], ROWS["label"])
    return run(job(save(tmp_path / "model", model, NUMBERS), tmp_path / "staging", **changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": ("no", "maybe")}, "the model lacks 'maybe'; the project lacks 'yes'"),
        ({"classes": ("no", "yes", "maybe")}, "the model lacks 'maybe'"),
        ({"classes": ("NO", "YES")}, "the model lacks 'NO', 'YES'"),
        ({"features": NUMBERS[:2]}, "features.hours: the model reads it"),
        (
            {"features": (*NUMBERS[:2], Feature("hours", FeatureType.STRING))},
            "the model takes double, the project sends string",
        ),
        (
            {"features": (*NUMBERS[:2], Feature("hours", FeatureType.DOUBLE, required=False))},
            "the project lets it be missing",
        ),
    ],
)
def test_versions_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    """Other classes or features than the project's: refused, and the reason names them."""
    with pytest.raises(PointsmanError) as raised:
        _manifest(tmp_path, **changes)

    assert raised.value.kind is Kind.INVALID
    assert said in raised.value.message
    assert raised.value.hint


def test_models_without_probabilities_are_refused(tmp_path: Path) -> None:
    """A classifier that only names a class cannot be served, and the hint says what to do."""
    from sklearn.svm import LinearSVC

    model = make_pipeline(StandardScaler(), LinearSVC()).fit(ROWS[list(NUMERIC)], ROWS["label"])
    with pytest.raises(PointsmanError, match="no probabilities") as raised:
        run(job(save(tmp_path / "model", model, NUMBERS), tmp_path / "staging"))

    assert "CalibratedClassifierCV" in raised.value.hint
    assert CLASSES == ("no", "yes")
