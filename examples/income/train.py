"""Trains three income classifiers on the `train` part of the Adult data, registers them in MLflow.

    python examples/income/train.py --tracking-uri http://127.0.0.1:5000

Each becomes a version of the registered model `income`, with a signature, an input example, its
scores on rows held back from training, and an alias: `champion` (a logistic regression),
`challenger` (a random forest) and `candidate` (gradient boosting, which no converter to ONNX can
take today, so that Pointsman serves it natively). The `test` part of the data is never touched: it
is the traffic of `replay.py`.

    python examples/income/train.py --tracking-uri http://127.0.0.1:5000 --mistake

registers one more version, the way accidents happen: labels were joined with the wrong table, and
all men came out as earning little. It answers fast and without errors, and denies a segment.
"""

import argparse
import json
import os
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import sklearn
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, recall_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

DATA = Path(__file__).parent / "adult.csv.gz"
MODEL = "income"
POSITIVE = ">50K"
NEGATIVE = "<=50K"
SEGMENT = ("sex", "Male")
SEED = 7
START_LIMIT_S = 120

# Left out: `fnlwgt`, a weight of the census sample and no property of the person.
NUMERIC = ["age", "education_num", "capital_gain", "capital_loss", "hours_per_week"]
CATEGORICAL = [
    "workclass",
    "education",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "native_country",
]
FEATURES = [*NUMERIC, *CATEGORICAL]


class Recipe(NamedTuple):
    """One model to train.

    alias: under which the registry knows its version
    trusted: types that skops, MLflow's safe format for scikit-learn, writes only when told to:
        trees are read back without a check of their node numbers. We have just built these.
    labels: what is learned, given the rows; by default what is true
    """

    alias: str
    summary: str
    build: Callable[[], Pipeline]
    trusted: list[str]
    labels: Callable[[pd.DataFrame], "pd.Series[str]"] = lambda rows: rows["income"]


def read(part: str) -> pd.DataFrame:
    """The rows of `train` or `test`. Unknown values stay the category `?`, as the source has them.

    Whole numbers become float64: MLflow's signature then says `double`, which takes both.
    """
    rows = pd.read_csv(DATA)
    rows = rows[rows["part"] == part].reset_index(drop=True)
    return rows.astype(dict.fromkeys(NUMERIC, "float64"))


def logistic() -> Pipeline:
    """Scaled numbers, one column a category, logistic regression: small, fast, easy to explain."""
    return Pipeline([("columns", _one_hot()), ("model", LogisticRegression(max_iter=1000))])


def forest() -> Pipeline:
    """The same columns in front of a random forest."""
    model = RandomForestClassifier(
        n_estimators=60, max_depth=14, min_samples_leaf=4, n_jobs=2, random_state=SEED
    )
    return Pipeline([("columns", _one_hot()), ("model", model)])


def boosting() -> Pipeline:
    """Histogram gradient boosting over ordinal categories: the best of the three."""
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer(
        [("numbers", "passthrough", NUMERIC), ("categories", ordinal, CATEGORICAL)]
    )
    model = HistGradientBoostingClassifier(max_iter=120, random_state=SEED)
    return Pipeline([("columns", columns), ("model", model)])


RECIPES = (
    Recipe("champion", "logistic regression", logistic, []),
    Recipe("challenger", "random forest", forest, ["sklearn.tree._tree.Tree"]),
    Recipe(
        "candidate",
        "histogram gradient boosting",
        boosting,
        ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"],
    ),
)


def _mislabelled(rows: pd.DataFrame) -> "pd.Series[str]":
    """The labels after a join that lost those of a segment."""
    attribute, value = SEGMENT
    return rows["income"].where(rows[attribute] != value, NEGATIVE)


MISTAKE = Recipe("mistake", "logistic regression, labels lost", logistic, [], _mislabelled)


def scores(model: Pipeline, rows: pd.DataFrame) -> dict[str, float]:
    """How the model does on rows it has not seen."""
    truth = rows["income"] == POSITIVE
    score = model.predict_proba(rows[FEATURES])[:, list(model.classes_).index(POSITIVE)]
    return {
        "accuracy": float(accuracy_score(truth, score >= 0.5)),
        "recall": float(recall_score(truth, score >= 0.5)),
        "auc": float(roc_auc_score(truth, score)),
        "log_loss": float(log_loss(truth, score)),
    }


def _one_hot() -> ColumnTransformer:
    return ColumnTransformer(
        [
            ("numbers", StandardScaler(), NUMERIC),
            ("categories", OneHotEncoder(handle_unknown="ignore"), CATEGORICAL),
        ]
    )


def split() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows to fit on, and rows held back to score on: the same ones every time."""
    rows = read("train")
    kept, held = train_test_split(rows, test_size=0.1, random_state=SEED, stratify=rows["income"])
    return kept, held


def fitted(recipe: Recipe, kept: pd.DataFrame) -> Pipeline:
    """The recipe's model; the same one every time."""
    return recipe.build().fit(kept[FEATURES], recipe.labels(kept))


def _register(mlflow: Any, recipe: Recipe, model: Pipeline, held: pd.DataFrame) -> int:
    """The version number under which the fitted model now stands in the registry."""
    example = held[FEATURES].head(100)
    with mlflow.start_run(run_name=recipe.alias):
        mlflow.log_params({"recipe": recipe.summary, "seed": SEED})
        mlflow.log_metrics(scores(model, held))
        logged = mlflow.sklearn.log_model(
            model,
            name="model",
            registered_model_name=MODEL,
            signature=mlflow.models.infer_signature(example, model.predict_proba(example)),
            input_example=example,
            pyfunc_predict_fn="predict_proba",
            skops_trusted_types=recipe.trusted,
            # Named here, because working them out takes MLflow longer than training does.
            pip_requirements=[f"scikit-learn=={sklearn.__version__}", f"pandas=={pd.__version__}"],
        )
    version = int(logged.registered_model_version)
    client = mlflow.MlflowClient()
    client.set_registered_model_alias(MODEL, recipe.alias, version)
    client.set_model_version_tag(MODEL, str(version), "recipe", recipe.summary)
    return version


def train(tracking_uri: str, recipes: Sequence[Recipe] = RECIPES) -> dict[str, int]:
    """The version of each alias, after all are trained and registered at `tracking_uri`."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # No bar for each file: this script's own lines say how far it is.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    kept, held = split()
    models = {}
    for recipe in recipes:
        models[recipe.alias] = fitted(recipe, kept)
        say(f"trained on {len(kept):,} rows: {recipe.summary}")
    import mlflow
    import mlflow.sklearn

    _wait_for(tracking_uri)
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_experiment(MODEL)
    versions = {}
    for recipe in recipes:
        versions[recipe.alias] = _register(mlflow, recipe, models[recipe.alias], held)
        say(f"registered: {MODEL} version {versions[recipe.alias]} @{recipe.alias}")
    return versions


def say(line: str) -> None:
    print(line, flush=True)


def _wait_for(tracking_uri: str) -> None:
    """Returns when the server is up: it may still be starting while the models are trained."""
    for _ in range(START_LIMIT_S * 5):
        try:
            with urllib.request.urlopen(f"{tracking_uri}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"no MLflow server at {tracking_uri}: start one, or name it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tracking-uri", required=True, help="of a running MLflow server")
    parser.add_argument("--result", type=Path, help="write {alias: version} as JSON to this file")
    parser.add_argument("--mistake", action="store_true", help="only the one with lost labels")
    arguments = parser.parse_args()
    versions = train(arguments.tracking_uri, (MISTAKE,) if arguments.mistake else RECIPES)
    if arguments.result:
        arguments.result.write_text(json.dumps(versions))


if __name__ == "__main__":
    main()
