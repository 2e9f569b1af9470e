"""skl2onnx and onnxmltools, as we use them: the only file that knows their interfaces."""

import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper


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
    if not single and type(final).__name__ == "LGBMClassifier":
        _exact_thresholds(model, final.booster_)
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


def _exact_thresholds(model: ModelProto, booster: Any) -> None:
    """Puts LightGBM's float64 thresholds back into the graph, where it kept them as float32.

    LightGBM compares in float64: behind a scaler, whole numbers often land within float32's
    rounding of a threshold, and fall to the wrong side of a rounded one.
    """
    exact: dict[tuple[int, np.float32], set[float]] = {}
    for feature, threshold in _splits(booster):
        exact.setdefault((feature, np.float32(threshold)), set()).add(threshold)
    for node in model.graph.node:
        if node.op_type != "TreeEnsembleClassifier":
            continue
        given = {attribute.name: attribute for attribute in node.attribute}
        features = given["nodes_featureids"].ints
        inner = [mode != b"LEAF" for mode in given["nodes_modes"].strings]
        values = np.array(given["nodes_values"].floats, dtype=np.float64)
        for i in np.flatnonzero(inner):
            candidates = exact.get((features[i], np.float32(values[i])), set())
            if len(candidates) != 1:
                raise ValueError("two of its thresholds differ by less than float32 can tell")
            (values[i],) = candidates
        for name in ("nodes_values", "nodes_hitrates", "class_weights", "base_values"):
            if name in given:
                numbers = values if name == "nodes_values" else np.array(given[name].floats)
                tensor = numpy_helper.from_array(numbers.astype(np.float64), name)
                node.attribute.remove(given[name])
                node.attribute.append(helper.make_attribute(f"{name}_as_tensor", tensor))
    # Whatever goes in, the trees' probabilities come out as float32.
    del model.graph.value_info[:]
    for output in model.graph.output:
        if output.type.tensor_type.elem_type == TensorProto.DOUBLE:
            output.type.tensor_type.elem_type = TensorProto.FLOAT


def _splits(booster: Any) -> Iterator[tuple[int, float]]:
    trees = [tree["tree_structure"] for tree in booster.dump_model()["tree_info"]]
    while trees:
        node = trees.pop()
        if "split_feature" in node:
            yield int(node["split_feature"]), float(node["threshold"])
            trees += [node["left_child"], node["right_child"]]


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
