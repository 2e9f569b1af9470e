"""Models that are ONNX already: checked as untrusted input, then served as they are.

A graph cannot run code of its own, but it can ask for files (external data) and for operators from
libraries: both are refused. Its inputs and classes must be known by name.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from onnx import ModelProto, TensorProto, ValueInfoProto
from onnx.helper import get_attribute_value

from pointsman.domain.artifact import ArtifactInput
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import Feature, FeatureType
from pointsman.runtime.formats import Description

MAX_BYTES: Final = 1 << 30
_DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
_Dtype = Literal["float32", "float64", "int64", "int32", "string", "bool"]
_DTYPES: Final[dict[int, _Dtype]] = {
    TensorProto.FLOAT: "float32",
    TensorProto.DOUBLE: "float64",
    TensorProto.INT64: "int64",
    TensorProto.INT32: "int32",
    TensorProto.STRING: "string",
    TensorProto.BOOL: "bool",
}
_NUMBERS: Final = frozenset({"float32", "float64", "int64", "int32"})


class Graph(msgspec.Struct, frozen=True):
    """A checked graph. classes: labels found in it, by output column; None where there are none."""

    graph: bytes
    inputs: tuple[ArtifactInput, ...]
    output: str
    classes: tuple[Any, ...] | None


def read(path: Path, description: Description, features: Sequence[Feature]) -> Graph:
    """The graph, checked. Raises PointsmanError(INVALID or FORBIDDEN)."""
    if path.is_dir():
        path = path / "model.onnx"
    if path.is_symlink() or not path.is_file():
        raise _invalid(f"{path.name} is missing", "log the model again")
    if path.stat().st_size > MAX_BYTES:
        raise _invalid("the graph is larger than 1 GiB", "serve it from a model server")
    model = ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except Exception:  # noqa: BLE001 - protobuf's own class depends on its backend
        raise _invalid(
            f"{path.name} is not an ONNX model", "its content is something else under that name"
        ) from None
    if not model.graph.node or not model.graph.output:
        raise _invalid(f"{path.name} is not an ONNX model", "it holds no graph")
    _check(model)
    classes, output = _output(model)
    inputs = _inputs(model, description, features)
    return Graph(model.SerializeToString(), inputs, output, classes)


def _check(model: ModelProto) -> None:
    graphs = [model.graph]
    domains = {entry.domain for entry in model.opset_import}
    while graphs:
        graph = graphs.pop()
        tensors = list(graph.initializer)
        tensors += [t for s in graph.sparse_initializer for t in (s.values, s.indices)]
        for node in graph.node:
            domains.add(node.domain)
            for attribute in node.attribute:
                tensors += [attribute.t, *attribute.tensors]
                graphs += [attribute.g, *attribute.graphs]
        for tensor in tensors:
            if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
                raise PointsmanError(
                    Kind.FORBIDDEN,
                    f"the graph reads the tensor {tensor.name!r} from another file",
                    hint="save the model with its data inside of it",
                )
    unknown = sorted(domains - _DOMAINS)
    if unknown or model.functions:
        raise PointsmanError(
            Kind.FORBIDDEN,
            f"the graph uses operators outside of ONNX: {', '.join(unknown) or 'own functions'}",
            hint="export it with standard operators; libraries of operators are never loaded",
        )


def _output(model: ModelProto) -> tuple[tuple[Any, ...] | None, str]:
    """The classes the graph names and its output of probabilities, the only one left in it."""
    classes = _classes(model)
    floats = []
    for output in model.graph.output:
        if output.type.WhichOneof("value") == "sequence_type":
            # skl2onnx wraps probabilities in a list of dictionaries: take what goes in there.
            zipmap = next((n for n in model.graph.node if output.name in n.output), None)
            if zipmap is not None and zipmap.op_type == "ZipMap":
                found = ValueInfoProto(name=zipmap.input[0])
                found.type.tensor_type.elem_type = TensorProto.FLOAT
                del model.graph.output[:]
                model.graph.output.append(found)
                model.graph.node.remove(zipmap)
                return classes, found.name
        elif output.type.tensor_type.elem_type in {TensorProto.FLOAT, TensorProto.DOUBLE}:
            floats.append(output)
    likely = [o for o in floats if "prob" in o.name.lower()] or floats
    if len(likely) != 1:
        raise _invalid(
            f"cannot tell the output of probabilities: {[o.name for o in model.graph.output]}",
            "export the model with one float output of shape [n, classes]",
        )
    kept = ValueInfoProto()
    kept.CopyFrom(likely[0])
    del model.graph.output[:]
    model.graph.output.append(kept)
    return classes, kept.name


def _classes(model: ModelProto) -> tuple[Any, ...] | None:
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name.startswith(("classlabels_", "classlabels_int64s")):
                labels = get_attribute_value(attribute)
                if labels:
                    return tuple(v.decode() if isinstance(v, bytes) else v for v in labels)
    return None


def _inputs(
    model: ModelProto, description: Description, features: Sequence[Feature]
) -> tuple[ArtifactInput, ...]:
    """How the graph's inputs are filled from features: one tensor for all, or one a feature."""
    given = {tensor.name for tensor in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in given]
    by_name = {feature.name: feature for feature in features}
    found = []
    for entry in inputs:
        dtype = _DTYPES.get(entry.type.tensor_type.elem_type)
        dims = entry.type.tensor_type.shape.dim
        width = dims[1].dim_value if len(dims) == 2 else 0
        if dtype is None or len(dims) != 2:
            raise _invalid(
                f"the graph's input {entry.name} is not a matrix of a type that can be filled",
                "export it with inputs of shape [n, columns] of floats, integers or strings",
            )
        if entry.name in by_name and width in {0, 1}:
            columns: tuple[str, ...] = (entry.name,)
        elif len(inputs) == 1 and width in {0, len(features)}:
            columns = tuple(feature.name for feature in features)
        else:
            raise _invalid(
                f"the graph's input {entry.name} of width {width} cannot be matched with features",
                "name each input after a feature, or use one input for all features; with a tensor "
                "signature, name its columns with the tag `features`",
            )
        _check_types(entry.name, dtype, [by_name[name] for name in columns])
        found.append(ArtifactInput(name=entry.name, dtype=dtype, columns=columns))
    used = {name for source in found for name in source.columns}
    unused = [name for name in by_name if name not in used]
    if unused and description.features:
        raise _invalid(
            f"the signature has features the graph does not take: {', '.join(unused)}",
            "log the model with the signature of its graph",
        )
    return tuple(found)


def _check_types(name: str, dtype: str, features: Sequence[Feature]) -> None:
    for feature in features:
        text = feature.type is FeatureType.STRING
        if text != (dtype == "string") or (dtype == "bool" and feature.type != FeatureType.BOOLEAN):
            raise _invalid(
                f"the graph's input {name} is of {dtype}, feature {feature.name} of "
                f"{feature.type.value}",
                "log the model with the types its graph takes",
            )
        if dtype.startswith("int") and feature.type in {FeatureType.DOUBLE, FeatureType.FLOAT}:
            raise _invalid(
                f"the graph's input {name} is of {dtype}, but feature {feature.name} may have "
                "fractions",
                "declare the feature as long, or export the graph with float inputs",
            )


def _invalid(message: str, hint: str) -> PointsmanError:
    return PointsmanError(Kind.INVALID, message, hint=hint)
