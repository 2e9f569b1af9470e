"""ONNX models: graphs from outside checked as such, answers checked before they leave."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from model_directories import CLASSES, NUMBERS, NUMERIC, columns, describe, job, people
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression

from pointsman.domain.artifact import ArtifactInput, ArtifactManifest, Cell, Encoding
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import Feature, FeatureType, Runtime
from pointsman.runtime.jobs import GRAPH
from pointsman.runtime.onnx import OnnxModel
from pointsman.runtime.prepare import run
from pointsman.runtime.rows import RowEncoder

ROWS = people(200)


def fitted() -> LogisticRegression:
    scaled = (ROWS[list(NUMERIC)] / [90.0, 1e5, 60.0]).to_numpy()
    return LogisticRegression().fit(scaled, ROWS["label"])


def graph_of(model: Any, **options: Any) -> onnx.ModelProto:
    types = [("x", FloatTensorType([None, 3]))]
    return to_onnx(model, initial_types=types, target_opset={"": 21, "ai.onnx.ml": 3}, **options)


def logged(tmp_path: Path, graph: onnx.ModelProto | bytes, signature: Any = NUMBERS) -> Path:
    """An ONNX flavor model as MLflow writes it."""
    directory = describe(
        tmp_path / "model",
        {"onnx": {"data": "model.onnx"}},
        signature={"inputs": json.dumps(columns(signature))},
    )
    content = graph if isinstance(graph, bytes) else graph.SerializeToString()
    (directory / "model.onnx").write_bytes(content)
    return directory


@pytest.mark.parametrize("zipmap", [True, False])
def test_an_onnx_model_is_served_as_it_is(tmp_path: Path, zipmap: Any) -> None:
    """Also with the list of dictionaries skl2onnx wraps its probabilities in by default."""
    model = fitted()
    graph = graph_of(model, options={id(model): {"zipmap": zipmap}})
    manifest = run(
        job(logged(tmp_path, graph), tmp_path / "s", classes=("yes", "no"), trusted=False)
    )
    served = OnnxModel(manifest, (tmp_path / "s" / GRAPH).read_bytes(), NUMBERS)
    rows = np.random.default_rng(0).random((20, 3))

    assert manifest.flavor == "onnx"
    assert manifest.order == (1, 0)
    np.testing.assert_allclose(
        served.score(rows.tolist()), model.predict_proba(rows)[:, ::-1], atol=1e-6
    )


def test_an_onnx_model_with_one_input_a_feature(tmp_path: Path) -> None:
    """Inputs named after features are filled by name, whatever their order in the project."""
    model = fitted()
    types = [(name, FloatTensorType([None, 1])) for name in NUMERIC]
    inner = graph_of(model, options={id(model): {"zipmap": False}})
    graph = inner.graph
    del graph.input[:]
    for name, _ in types:
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]))
    graph.node.insert(0, helper.make_node("Concat", list(NUMERIC), ["x"], axis=1))
    project = NUMBERS[::-1]
    manifest = run(job(logged(tmp_path, inner), tmp_path / "s", features=project))
    served = OnnxModel(manifest, (tmp_path / "s" / GRAPH).read_bytes(), project)
    rows = np.random.default_rng(0).random((5, 3))

    np.testing.assert_allclose(
        served.score(rows[:, ::-1].tolist()), model.predict_proba(rows), atol=1e-6
    )


def _external(graph: onnx.ModelProto) -> onnx.ModelProto:
    big = numpy_helper.from_array(np.zeros((3, 2), np.float32), "w")
    onnx.external_data_helper.set_external_data(big, "../../../etc/passwd")
    big.ClearField("raw_data")
    graph.graph.initializer.append(big)
    return graph


def _custom(graph: onnx.ModelProto) -> onnx.ModelProto:
    graph.graph.node.append(helper.make_node("Evil", ["x"], ["y"], domain="com.example"))
    graph.opset_import.append(helper.make_opsetid("com.example", 1))
    return graph


@pytest.mark.parametrize(
    ("graph", "kind", "said"),
    [
        (lambda: _external(graph_of(fitted())), Kind.FORBIDDEN, "from another file"),
        (lambda: _custom(graph_of(fitted())), Kind.FORBIDDEN, "com.example"),
        (lambda: pickle.dumps(fitted()), Kind.INVALID, "not an ONNX model"),
        (lambda: b"", Kind.INVALID, "not an ONNX model"),
        (lambda: b"\x08\x09" * 4096, Kind.INVALID, "not an ONNX model"),
    ],
)
def test_graphs_that_are_refused(tmp_path: Path, graph: Any, kind: Kind, said: str) -> None:
    """Files, operator libraries, and other formats under the name of ONNX."""
    with pytest.raises(PointsmanError) as raised:
        run(job(logged(tmp_path, graph()), tmp_path / "s", trusted=False))

    assert raised.value.kind is kind
    assert said in raised.value.message
    assert raised.value.hint


def test_a_graph_of_another_width_than_its_signature(tmp_path: Path) -> None:
    """Columns that cannot be matched by name are not matched by position."""
    with pytest.raises(PointsmanError, match="cannot be matched"):
        run(job(logged(tmp_path, graph_of(fitted()), NUMBERS[:2]), tmp_path / "s"))


def model_that_returns(values: list[list[float]], **changes: Any) -> OnnxModel:
    """A model whose answer is a constant times ones, whatever it is asked."""
    table = np.array(values)
    nodes = [
        helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["sum", "zero"], ["zeros"]),
        helper.make_node("Add", ["zeros", "table"], ["p"]),
    ]
    constants = {"axis": np.array([1]), "zero": np.array(0.0), "table": table}
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, [None, 1])],
        [helper.make_tensor_value_info("p", TensorProto.DOUBLE, [None, None])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    given: dict[str, Any] = {
        "source": "models:/people/1",
        "origin": "",
        "flavor": "onnx",
        "runtime": Runtime.ONNX,
        "reason": "",
        "features": NUMBERS,
        "inputs": (ArtifactInput("x", "float64", ("age",)),),
        "classes": CLASSES,
        "order": (0, 1),
        "files": (),
        "parity": None,
        "probabilities": "p",
    }
    return OnnxModel(ArtifactManifest(**given | changes), proto.SerializeToString(), NUMBERS)


@pytest.mark.parametrize(
    "values",
    [
        [[0.5, 0.6]],
        [[float("nan"), 1.0]],
        [[float("inf"), 0.0]],
        [[1.5, -0.5]],
        [[1.0]],
        [[0.2, 0.3, 0.5]],
    ],
)
@pytest.mark.parametrize("count", [1, 5])
def test_answers_that_are_no_probabilities(values: list[list[float]], count: int) -> None:
    """NaN, infinity, sums away from one and other shapes never leave the model."""
    with pytest.raises(PointsmanError) as raised:
        model_that_returns(values).score([(1.0, 2.0, 3.0)] * count)

    assert raised.value.kind is Kind.BACKEND_FAILED
    assert "models:/people/1" in raised.value.message


def test_rounding_below_zero_is_cut_off() -> None:
    """Trees compute one probability as 1 - p, which may round to just below zero."""
    scores = model_that_returns([[-1e-7, 1.0000001]]).score([(1.0, 2.0, 3.0)])

    assert scores.tolist() == [[0.0, 1.0]]


def test_golden_rows_must_be_met() -> None:
    """A model that answers differently on this machine is not swapped in."""
    good = model_that_returns(
        [[0.25, 0.75]], probe_rows=({"age": 1.0},), probe_probabilities=((0.25, 0.75),)
    )
    good.warm()
    bad = model_that_returns(
        [[0.25, 0.75]], probe_rows=({"age": 1.0},), probe_probabilities=((0.26, 0.74),)
    )
    with pytest.raises(PointsmanError, match="golden rows"):
        bad.warm()


def test_a_model_that_reads_what_the_project_lacks() -> None:
    """Every missing column is named."""
    with pytest.raises(PointsmanError, match="height, weight"):
        model_that_returns(
            [[0.5, 0.5]], inputs=(ArtifactInput("x", "float64", ("height", "age", "weight")),)
        )


ENCODED = ArtifactInput(
    "x",
    "float64",
    ("age", "gain"),
    positions=(3, 0),
    fills=(None, 7.0),
    encodings=(
        Encoding("work", (Cell("a", 1), Cell("b", 2), Cell(None, 1, 0.0)), Cell(None, 1, 0.0)),
        Encoding("land", (Cell("x", 4, 0.5), Cell(None, 4, None))),
    ),
    width=5,
)
PEOPLE = (
    *NUMBERS[:2],
    Feature("work", FeatureType.STRING),
    Feature("land", FeatureType.STRING),
)


def test_rows_become_tensors() -> None:
    """Numbers where they belong, missing ones filled, categories as the cells they set."""
    encoder = RowEncoder(ENCODED, PEOPLE)
    rows = [(1.5, 2, "a", "x"), (None, None, "b", "x"), (0.5, 1.0, "?", None)]
    nan = float("nan")

    expected = [[2, 1, 0, 1.5, 0.5], [7, 0, 1, nan, 0.5], [1, 0, 0, 0.5, nan]]
    np.testing.assert_array_equal(encoder.encode(rows), expected)
    for row, one in zip(rows, expected, strict=True):
        np.testing.assert_array_equal(encoder.encode([row]), [one])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ((1.0, 2.0, "a", "y"), "feature land: .* refuse 'y'"),
        (("old", 2.0, "a", "x"), "feature age: .* 'old'"),
        (([1.0], 2.0, "a", "x"), "feature age"),
    ],
)
def test_values_a_model_cannot_take(row: Any, said: str) -> None:
    """The error names the feature and the value."""
    with pytest.raises(PointsmanError, match=said) as raised:
        RowEncoder(ENCODED, PEOPLE).encode([row])

    assert raised.value.kind is Kind.INVALID


def test_words_and_whole_numbers_go_in_as_they_are() -> None:
    """Inputs of other types than floats: strings, integers, booleans."""
    words = ArtifactInput("w", "string", ("work",))
    whole = ArtifactInput("n", "int64", ("age",))

    assert RowEncoder(words, PEOPLE).encode([(1, 2, None, "x")]).tolist() == [[""]]
    assert RowEncoder(whole, PEOPLE).encode([(2**53 - 1, 2, "a", "x")]).tolist() == [[2**53 - 1]]
    with pytest.raises(PointsmanError, match=r"age.*missing"):
        RowEncoder(whole, PEOPLE).encode([(None, 2, "a", "x")])
