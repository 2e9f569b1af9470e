"""Trained models as they were logged: loaded with their own libraries, asked for probabilities.

Runs only in the preparation subprocess and in the model runner's children: loading may execute code
that came with the model. Heavy libraries are imported where they are needed.
"""

import os
import pickle
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import Feature, FeatureType
from pointsman.runtime.formats import Description
from pointsman.runtime.rows import Row

KNOWN_TYPES: Final = frozenset(
    {
        # Beyond what skops itself trusts: plain data, and boosters in their libraries' own formats.
        "collections.OrderedDict",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
    }
)
_MAGIC_ZIP: Final = b"PK\x03\x04"


class Original:
    """A loaded model. `predict` gives its probabilities in its own class order.

    estimator: the library's object
    classes: its own labels by output column; None while unknown
    needs_code: whether loading it could execute code
    """

    def __init__(
        self,
        estimator: Any,
        classes: Sequence[Any] | None,
        predict: Callable[[Any], Any],
        *,
        as_array: bool,
        needs_code: bool = False,
    ) -> None:
        self.needs_code = needs_code
        self.estimator = estimator
        self.classes = classes
        self._predict = predict
        self._as_array = as_array

    def predict(self, rows: Sequence[Row], features: Sequence[Feature]) -> NDArray[np.float64]:
        """Probabilities [n, K]. rows: values in the order of `features`.

        Raises PointsmanError(INVALID) where the model returns something else than one probability
        for each class; whatever the model itself raises passes through.
        """
        table = frame(rows, features)
        if self._as_array:
            table = table.to_numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = self._predict(table)
        if hasattr(answer, "columns") and hasattr(answer, "to_numpy"):
            # Sorted by name, so that the order cannot depend on the call.
            names = sorted(map(str, answer.columns))
            answer = answer.set_axis(list(map(str, answer.columns)), axis=1)[names]
            self.classes = names
            answer = answer.to_numpy()
        scores = np.asarray(answer)
        if scores.ndim != 2 or scores.shape[1] < 2 or not np.issubdtype(scores.dtype, np.number):
            raise PointsmanError(
                Kind.INVALID,
                f"the model returns {scores.dtype} of shape {list(scores.shape)}, "
                "not a probability for each class",
                hint="log it so that it returns probabilities, such as "
                "mlflow.sklearn.log_model(..., pyfunc_predict_fn='predict_proba')",
            )
        return scores.astype(np.float64)


def frame(rows: Sequence[Row], features: Sequence[Feature]) -> Any:
    """The rows as the DataFrame MLflow would hand to the model: columns by name, typed."""
    import pandas as pd

    columns = {}
    for i, feature in enumerate(features):
        values = [row[i] for row in rows]
        columns[feature.name] = pd.Series(_typed(values, feature.type))
    return pd.DataFrame(columns, index=range(len(rows)))


def _typed(values: list[Any], kind: FeatureType) -> NDArray[Any]:
    missing = None in values
    match kind:
        case FeatureType.STRING:
            return np.array(values, dtype=object)
        case FeatureType.BOOLEAN:
            return np.array(values, dtype=object if missing else np.bool_)
        case FeatureType.FLOAT:
            return np.array(values, dtype=np.float32)
        case FeatureType.LONG | FeatureType.INTEGER if not missing:
            return np.array(values, dtype=np.int64 if kind is FeatureType.LONG else np.int32)
        case _:
            return np.array(values, dtype=np.float64)


def load(directory: Path, description: Description, *, trusted: bool) -> Original:
    """The model as logged.

    trusted: whether files that can execute code may be loaded
    Raises PointsmanError: FORBIDDEN for code that is not trusted, INVALID where it does not load.
    """
    if description.needs_code and not trusted:
        raise refused(f"the model is a {description.format} file", description.format)
    try:
        if trusted and description.options.get("code"):
            sys.path.insert(0, str(directory / str(description.options["code"])))
        match description.flavor:
            case "pyfunc":
                return _pyfunc(directory, description)
            case "xgboost" if description.format == "xgboost":
                return _xgboost(directory / description.data, description)
            case "lightgbm" if description.format == "lightgbm":
                return _lightgbm(directory / description.data, description)
            case _:
                return _estimator(directory / description.data, description, trusted=trusted)
    except (PointsmanError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - the model's own code runs here
        raise PointsmanError(
            Kind.INVALID,
            f"the model does not load: {type(error).__name__}: {str(error)[:300]}",
            hint="load it with MLflow in this environment to see why; versions of its libraries "
            "may differ from those it was trained with",
        ) from None


def refused(why: str, form: str) -> PointsmanError:
    """The refusal of code from a registry that is not trusted. form: as a description's."""
    no_skops = form in {"pyfunc", "skops"}
    hint = "log it as ONNX" if no_skops else "log it as ONNX or in the skops format"
    return PointsmanError(
        Kind.FORBIDDEN,
        f"{why}, which can execute code when loaded, and its registry is not trusted for that",
        hint=f"{hint}, or have the operator trust the registry: --trust-registry NAME",
    )


def _estimator(path: Path, description: Description, *, trusted: bool) -> Original:
    needs_code = description.needs_code
    if description.format == "skops":
        estimator, needs_code = _skops(path, description, trusted=trusted)
    else:
        with path.open("rb") as file:
            estimator = pickle.load(file)  # noqa: S301 - only from registries trusted by name
    predict = getattr(estimator, "predict_proba", None)
    if predict is None:
        raise PointsmanError(
            Kind.INVALID,
            f"{type(estimator).__name__} has no probabilities",
            hint="wrap it, for example in sklearn.calibration.CalibratedClassifierCV",
        )
    _single_threaded(estimator)
    classes = [*estimator.classes_] if hasattr(estimator, "classes_") else None
    as_array = description.tensor is not None
    return Original(estimator, classes, predict, as_array=as_array, needs_code=needs_code)


def _skops(path: Path, description: Description, *, trusted: bool) -> tuple[Any, bool]:
    """The object, and whether it holds types beyond those known to be plain data."""
    from skops import io

    with path.open("rb") as file:
        if file.read(4) != _MAGIC_ZIP:
            raise PointsmanError(
                Kind.INVALID,
                f"{path.name} is not a skops file",
                hint="its content is something else under that name; log the model again",
            )
    unknown = set(io.get_untrusted_types(file=path)) - KNOWN_TYPES
    if unknown and not trusted:
        raise refused(f"the skops file holds the types {', '.join(sorted(unknown))}", "skops")
    pinned = description.options.get("skops_trusted_types") if trusted else None
    allowed = KNOWN_TYPES | {str(name) for name in pinned or ()}
    return io.load(path, trusted=sorted(allowed)), bool(unknown)


def _xgboost(path: Path, description: Description) -> Original:
    import xgboost

    if str(description.options.get("model_class", "")).endswith("XGBClassifier"):
        model = xgboost.XGBClassifier(n_jobs=1)
        model.load_model(path)
        return Original(model, [*model.classes_], model.predict_proba, as_array=False)
    booster = xgboost.Booster({"nthread": 1}, model_file=str(path))
    names = booster.feature_names

    def predict(table: Any) -> Any:
        return both(booster.predict(xgboost.DMatrix(table[names] if names else table)))

    return Original(booster, None, predict, as_array=False)


def _lightgbm(path: Path, description: Description) -> Original:
    import lightgbm

    booster = lightgbm.Booster(model_file=str(path), params={"num_threads": 1})
    del description

    def predict(table: Any) -> Any:
        return both(booster.predict(table, num_threads=1))

    return Original(booster, None, predict, as_array=False)


def both(scores: Any) -> Any:
    """A booster's answer as [n, K]: of two classes it returns the second alone."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim == 1:
        if not ((scores >= 0) & (scores <= 1)).all():
            raise PointsmanError(
                Kind.INVALID,
                "the booster returns no probabilities",
                hint="train it with the objective binary:logistic, binary, multi:softprob or "
                "multiclass",
            )
        return np.stack([1 - scores, scores], axis=1)
    return scores


def _pyfunc(directory: Path, description: Description) -> Original:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(str(directory), suppress_warnings=True)
    as_array = description.tensor is not None
    return Original(model, None, model.predict, as_array=as_array, needs_code=True)


def _single_threaded(estimator: Any) -> None:
    """One thread: the runner has a process for each model, and small batches lose by splitting."""
    for name in estimator.get_params(deep=True) if hasattr(estimator, "get_params") else ():
        if name == "n_jobs" or name.endswith("__n_jobs"):
            try:
                estimator.set_params(**{name: 1})
            except (ValueError, TypeError):
                continue  # a parameter of something that is not there to be set
