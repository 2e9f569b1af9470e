"""skl2onnx and onnxmltools, as we use them: the only file that knows their interfaces."""

import warnings
from functools import cache
from typing import Any

from onnx import ModelProto, TensorProto


def to_graph(
    steps: list[Any], width: int, *, single: bool, opsets: dict[str, int]
) -> tuple[bytes, str]:
    """An ONNX model with one input `x` [n, width], and the name of its only output [n, K].

    single: the input is float32 rather than float64
    Raises whatever the converters raise.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        final = steps[-1]
        if type(final).__name__ == "Booster":
            if len(steps) > 1:
                raise TypeError("a booster is converted alone")
            model = _booster(final, width)
        else:
            model = _pipeline(steps, width, single=single, opsets=opsets)
    output = _probabilities(model)
    for other in [o for o in model.graph.output if o.name != output]:
        model.graph.output.remove(other)  # the label: onnxruntime drops what computes it
    return model.SerializeToString(), output


def _pipeline(steps: list[Any], width: int, *, single: bool, opsets: dict[str, int]) -> ModelProto:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
    from sklearn.pipeline import Pipeline

    final = steps[-1]
    register(type(final).__name__)
    if type(final).__name__ == "XGBClassifier":
        # The converter reads feature numbers out of the names f0, f1, ...
        final.get_booster().feature_names = None
    whole = final if len(steps) == 1 else Pipeline([(f"s{i}", s) for i, s in enumerate(steps)])
    tensor = FloatTensorType if single else DoubleTensorType
    model: ModelProto = to_onnx(
        whole,
        initial_types=[("x", tensor([None, width]))],
        options={id(whole): {"zipmap": False}},
        target_opset=opsets,
    )
    return model


def _booster(booster: Any, width: int) -> ModelProto:
    from onnxmltools import convert_lightgbm, convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    types = [("x", FloatTensorType([None, width]))]
    if type(booster).__module__.startswith("xgboost"):
        booster.feature_names = None
        model: ModelProto = convert_xgboost(booster, initial_types=types)
    else:
        model = convert_lightgbm(booster, initial_types=types, zipmap=False)
    return model


def _probabilities(model: ModelProto) -> str:
    floats = [
        o.name
        for o in model.graph.output
        if o.type.WhichOneof("value") == "tensor_type"
        and o.type.tensor_type.elem_type in {TensorProto.FLOAT, TensorProto.DOUBLE}
    ]
    named = [name for name in floats if "prob" in name.lower()]
    if len(named or floats) != 1:
        raise TypeError(f"no single output of probabilities among {floats}")
    return str((named or floats)[0])


@cache
def register(classifier: str) -> None:
    """Teaches skl2onnx a classifier of XGBoost or LightGBM, also inside pipelines.

    Each library takes a second to import, so only the one that is needed is.
    """
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes

    options: dict[str, Any] = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    if classifier == "XGBClassifier":
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
        from xgboost import XGBClassifier

        known, alias, convert = XGBClassifier, "XGBoostXGBClassifier", convert_xgboost
    elif classifier == "LGBMClassifier":
        from lightgbm import LGBMClassifier
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

        known, alias, convert = LGBMClassifier, "LightGbmLGBMClassifier", convert_lightgbm
        options |= {"raw_scores": [True, False], "split": [int, type(None)]}
    else:
        return
    update_registered_converter(
        known, alias, calculate_linear_classifier_output_shapes, convert, options=options
    )
