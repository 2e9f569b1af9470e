"""What a downloaded model says about itself: its `MLmodel` file, read without loading anything.

Everything here is decided from file names and declarations alone, so it may run in the controller's
own process. Whether the declarations are true is for the preparation subprocess to find out.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec
import yaml

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import Feature, FeatureType

MAX_MLMODEL_BYTES: Final = 1 << 20
CODE_FORMATS: Final = ("pickle", "cloudpickle", "joblib")
_FLAVORS: Final = {  # in this order: the first that a model has is used
    "onnx": "onnx",
    "sklearn": "sklearn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "python_function": "pyfunc",
}
_TYPES: Final = {
    "string": FeatureType.STRING,
    "double": FeatureType.DOUBLE,
    "float": FeatureType.FLOAT,
    "long": FeatureType.LONG,
    "integer": FeatureType.INTEGER,
    "boolean": FeatureType.BOOLEAN,
}
_NUMPY_TYPES: Final = {
    "float64": FeatureType.DOUBLE,
    "float32": FeatureType.FLOAT,
    "int64": FeatureType.LONG,
    "int32": FeatureType.INTEGER,
    "bool": FeatureType.BOOLEAN,
    "str": FeatureType.STRING,
    "object": FeatureType.STRING,
}


class Description(msgspec.Struct, frozen=True):
    """A model directory as described by its own files and by the registry's tags.

    flavor: the one we use: `onnx`, `sklearn`, `xgboost`, `lightgbm`, `pyfunc`
    data: the model file or directory, relative; empty for pyfunc, which has a loader of its own
    format: `onnx`, `skops`, `pickle`, `cloudpickle`, `xgboost`, `lightgbm`, `pyfunc`
    options: the flavor's own section
    features: by the signature; empty where it has no named columns
    tensor: the signature is one tensor without column names, of this type and width
    classes: names declared for the model's classes 0..K-1, by tag or metadata
    columns: names declared for a tensor's columns, by tag or metadata
    example: file of logged input rows, relative; empty where there is none
    """

    flavor: str
    data: str
    format: str
    options: dict[str, Any]
    features: tuple[Feature, ...]
    tensor: tuple[FeatureType, int] | None
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    example: str

    @property
    def needs_code(self) -> bool:
        """Whether merely loading it can execute code (skops files: if they hold unknown types)."""
        return self.format in {*CODE_FORMATS, "pyfunc"}


def describe(directory: Path, tags: Mapping[str, str]) -> Description:
    """What the model says about itself. Raises PointsmanError(INVALID) where it cannot be used."""
    document = _document(directory)
    flavors = document.get("flavors")
    if not isinstance(flavors, dict) or not flavors:
        raise _invalid("MLmodel names no flavors", "log the model again with MLflow")
    key = next((name for name in _FLAVORS if isinstance(flavors.get(name), dict)), None)
    if key is None:
        raise _invalid(
            f"none of the model's flavors can be served: {', '.join(map(str, flavors))}",
            f"log it with one of {', '.join(_FLAVORS)}",
        )
    options = flavors[key]
    flavor = _FLAVORS[key]
    data = _relative(str(options.get(_DATA_KEY.get(flavor, "data")) or ""), directory)
    metadata = document.get("metadata")
    declared = metadata if isinstance(metadata, dict) else {}
    features, tensor = _signature(document.get("signature"))
    return Description(
        flavor=flavor,
        data="" if flavor == "pyfunc" else data,
        format=_format(flavor, options, data),
        options=options,
        features=features,
        tensor=tensor,
        classes=_names("classes", tags, declared),
        columns=_names("features", tags, declared),
        example=_example(document.get("saved_input_example_info"), directory),
    )


def features_of(mlmodel: bytes) -> tuple[Feature, ...]:
    """Named columns of a model's signature, from its `MLmodel` file; empty where it has none.

    Raises PointsmanError(INVALID) where it cannot be read.
    """
    return _signature(_parsed(mlmodel).get("signature"))[0]


_DATA_KEY: Final = {"sklearn": "pickled_model"}


def _document(directory: Path) -> dict[str, Any]:
    path = directory / "MLmodel"
    if path.is_symlink() or not path.is_file():
        raise _invalid("there is no MLmodel file", "point at a model directory written by MLflow")
    if path.stat().st_size > MAX_MLMODEL_BYTES:
        raise _invalid("MLmodel is larger than 1 MiB", "log the model again with MLflow")
    return _parsed(path.read_bytes())


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        document = yaml.safe_load(content.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise _invalid(f"MLmodel is not YAML: {str(error)[:200]}", "log the model again") from None
    if not isinstance(document, dict):
        raise _invalid("MLmodel is not a mapping", "log the model again with MLflow")
    return document


def _format(flavor: str, options: dict[str, Any], data: str) -> str:
    said = str(options.get("serialization_format") or "")
    match flavor:
        case "sklearn":
            # Older MLflow wrote no format: that was cloudpickle.
            form = said or "cloudpickle"
        case "xgboost" | "lightgbm":
            suffix = PurePosixPath(data).suffix
            native = {".json", ".ubj", ".xgb", ".lgb", ".txt"}
            form = flavor if suffix in native else (said if suffix == ".skops" else "pickle")
        case _:
            form = flavor
    if form == "skops" and not data.endswith(".skops"):
        raise _invalid(
            f"MLmodel says {data} is a skops file, but it is not named so", "log the model again"
        )
    if form not in {"onnx", "skops", "xgboost", "lightgbm", "pyfunc", *CODE_FORMATS}:
        raise _invalid(
            f"serialization format {form!r} is not known", "log the model in the format skops"
        )
    return form


def _relative(text: str, directory: Path) -> str:
    """The path, checked to be plain, relative and below the directory."""
    if not text:
        return ""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or "\0" in text or "\\" in text:
        raise _invalid(
            f"MLmodel points outside of the model: {text!r}", "log the model again with MLflow"
        )
    here = directory
    for part in path.parts:
        here = here / part
        if here.is_symlink():
            raise _invalid(f"{text} is a symbolic link", "put the file itself in its place")
    if not here.exists():
        raise _invalid(f"MLmodel names {text}, which is missing", "log the model again")
    return str(path)


def _signature(section: Any) -> tuple[tuple[Feature, ...], tuple[FeatureType, int] | None]:
    if not isinstance(section, dict) or not section.get("inputs"):
        return (), None
    try:
        inputs = json.loads(section["inputs"])
    except (TypeError, ValueError, RecursionError):
        raise _invalid("the signature's inputs are not JSON", "log the model again") from None
    if not isinstance(inputs, list) or not all(isinstance(item, dict) for item in inputs):
        raise _invalid("the signature's inputs are not a list of columns", "log the model again")
    if len(inputs) == 1 and inputs[0].get("type") == "tensor" and not inputs[0].get("name"):
        return (), _tensor(inputs[0])
    problems = []
    features = []
    for item in inputs:
        name, kind = item.get("name"), _column_type(item)
        if not isinstance(name, str) or not name:
            problems.append("a column without a name")
        elif kind is None:
            problems.append(f"{name} ({str(item.get('type'))[:40]})")
        else:
            features.append(Feature(name, kind, bool(item.get("required", True))))
    if problems:
        raise _invalid(
            f"columns of the signature cannot be used: {', '.join(problems)}",
            f"use named columns of the types {', '.join(_TYPES)}",
        )
    return tuple(features), None


def _column_type(item: dict[str, Any]) -> FeatureType | None:
    if item.get("type") != "tensor":
        return _TYPES.get(str(item.get("type")))
    spec = item.get("tensor-spec") or {}
    # A named tensor of shape [n] or [n, 1] is a column by another name.
    if spec.get("shape") in ([-1], [-1, 1]):
        return _NUMPY_TYPES.get(str(spec.get("dtype")))
    return None


def _tensor(item: dict[str, Any]) -> tuple[FeatureType, int]:
    spec = item.get("tensor-spec") or {}
    kind, shape = _NUMPY_TYPES.get(str(spec.get("dtype"))), spec.get("shape")
    if kind is None or not isinstance(shape, list) or len(shape) != 2 or shape[1] < 1:
        raise _invalid(
            f"the signature's tensor cannot be used: {str(spec)[:120]}",
            "use named columns, or one tensor of shape [-1, number of columns]",
        )
    return kind, int(shape[1])


def _names(key: str, tags: Mapping[str, str], metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Names declared by the tag (a JSON list, or comma-separated), else by the metadata."""
    said: Any = tags.get(f"pointsman.{key}") or tags.get(key) or metadata.get(key)
    if isinstance(said, str):
        try:
            said = json.loads(said) if said.lstrip().startswith("[") else re.split(r"\s*,\s*", said)
        except (ValueError, RecursionError):
            said = None
    if said is None:
        return ()
    if not isinstance(said, list) or not all(isinstance(n, str | int | bool) for n in said):
        raise _invalid(
            f"the model's `{key}` are not a list of names", f'write them as JSON: {key} = ["a"]'
        )
    return tuple(str(name) for name in said)


def _example(section: Any, directory: Path) -> str:
    if not isinstance(section, dict) or section.get("type") != "dataframe":
        return ""
    path = str(section.get("artifact_path") or "")
    return _relative(path, directory) if path.endswith(".json") else ""


def _invalid(message: str, hint: str) -> PointsmanError:
    return PointsmanError(Kind.INVALID, message, hint=hint)
