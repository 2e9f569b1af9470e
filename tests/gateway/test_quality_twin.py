"""What a gateway makes of any row, held to a slow and obvious twin, by both protocols."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.decide.table import load
from pointsman.domain.errors import PointsmanError
from pointsman.domain.quality import FeatureQuality, Quality
from pointsman.domain.table import Feature, FeatureType, ProjectTable, Rule, Runtime, Variant
from pointsman.gateway import mending
from pointsman.gateway.counters import Counters
from pointsman.gateway.quality import Door
from pointsman.gateway.schema import Schema
from pointsman.gateway.served import Served
from pointsman.gateway.settings import Limits

KINDS = ("long", "double", "string", "boolean")
GOOD = {"long": 20, "double": 12.5, "string": "b", "boolean": True}
VALUES = {
    "long": st.sampled_from([20, 5, 99]),
    "double": st.sampled_from([12.5, -7.0, 1e5, 13]),
    "string": st.sampled_from(["a", "b", "z"]),
    "boolean": st.booleans(),
}
WRONG = {"long": "x", "double": "x", "string": 7, "boolean": "x"}
DATATYPES = {"long": "INT64", "double": "FP64", "string": "BYTES", "boolean": "BOOL"}
ANSWERS = st.sampled_from(["reject", "impute", "fallback", "warn"])
NO_WARN = st.sampled_from(["reject", "impute", "fallback"])


@st.composite
def expectations(draw):
    """Features and what is expected of them."""
    features, expected = [], []
    for place in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(KINDS))
        needed = draw(st.integers(0, 2)) == 0
        ranged = kind in {"long", "double"} and draw(st.booleans())
        listed = kind in {"long", "string"} and draw(st.booleans())
        features.append(Feature(f"f:{place}", FeatureType(kind), required=needed))
        expected.append(
            FeatureQuality(
                f"f:{place}",
                draw(NO_WARN) if needed else draw(st.none() | ANSWERS),
                draw(NO_WARN),
                draw(ANSWERS),
                draw(ANSWERS),
                10.0 if ranged else None,
                50.0 if ranged else None,
                ((20, 5) if kind == "long" else ("a", "b")) if listed else (),
                GOOD[kind],
            )
        )
    whole = st.sampled_from(["reject", "fallback", "warn"])
    return tuple(features), Quality(draw(whole), draw(whole), tuple(expected))


@st.composite
def rows(draw, features):
    """Rows with anything wrong that can be."""
    found = []
    for _ in range(draw(st.integers(1, 3))):
        row = {}
        bare = draw(st.integers(0, 3)) == 0  # nothing but what must be there, all of it sound
        for feature in features:
            how = draw(st.sampled_from(["value", "value", "value", "absent", "null", "wrong"]))
            if bare:
                how = "sound" if feature.required else "absent"
            if how == "value":
                row[feature.name] = draw(VALUES[feature.type.value])
            elif how == "sound":
                row[feature.name] = GOOD[feature.type.value]
            elif how == "null":
                row[feature.name] = None
            elif how == "wrong":
                row[feature.name] = WRONG[feature.type.value]
        if draw(st.booleans()) and draw(st.booleans()):
            row["extra"] = 1
        found.append(row)
    return found


def problem_of(feature, own, value):
    """The one problem of a value and its answer, as the guide says it; ("", None) where none."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    right = {
        "long": number and isinstance(value, int),
        "double": number,
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
    }[feature.type.value]
    if value is None:
        return "missing", own.missing
    if not right:
        return "type", own.type
    if own.low is not None and (value < own.low or value > own.high):
        return "range", own.range
    if len(own.values) > 0 and value not in own.values:
        return "unseen", own.unseen
    return "", None


def twin(features, quality, row):
    """(values, notes, whether diverted, whether refused) of one row, said as the guide says it."""
    values, notes = [], []
    for feature, own in zip(features, quality.features, strict=True):
        value = row.get(feature.name)
        problem, answer = problem_of(feature, own, value)
        if answer is not None:
            notes.append(f"{feature.name}:{problem}:{answer}")
        if answer == "impute":
            value = own.value
        elif problem == "type":
            value = None
        values.append(value)
    optional = [feature.name for feature in features if not feature.required]
    if len(optional) >= 2 and all(row.get(name) is None for name in optional):
        notes.append(f"*:allNull:{quality.all_null}")
    if "extra" in row:
        notes.append(f"extra:extra:{quality.extra}")
    answers = [noted.rsplit(":", 1)[1] for noted in notes]
    return tuple(values), tuple(notes), "fallback" in answers, "reject" in answers


def tensors(features, given_rows):
    """The same rows as tensors; a tensor has every row's value or is not there at all."""
    inputs = []
    for name in dict.fromkeys(key for row in given_rows for key in row):
        kind = next((f.type.value for f in features if f.name == name), "long")
        data = [row.get(name) for row in given_rows]
        inputs.append(
            {"name": name, "shape": [len(data)], "datatype": DATATYPES[kind], "data": data}
        )
    return json.dumps({"inputs": inputs}).encode()


@pytest.fixture(scope="module")
def counters():
    with tempfile.TemporaryDirectory() as directory:
        made = Counters(Path(directory) / "0.counters")
        yield made
        made.close()


def project(features, quality):
    """A project of one constant."""
    return ProjectTable(
        tenant="default", project="p", revision="r" * 64, number=1, classes=("no", "yes"),
        positive="yes", unit="", context=(), features=features,
        variants=(Variant("champion", "constant", "", "", Runtime.CONSTANT, constant="no"),),
        rules=(Rule("all", None, "champion", None, "s", 0, "h", (), (), 1),),
        deadline_ms=1000, quality=quality,
    )  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whatever_comes_is_read_as_the_guide_says(counters, data):
    """Values, notes, and who is asked; refused only for what the twin refuses."""
    features, quality = data.draw(expectations())
    given_rows = data.draw(rows(features))
    table = project(features, quality)
    served = Served(load(table), Schema(table), {}, {}, counters)
    door = Door(table, quality, {})
    body = json.dumps({"features": given_rows}).encode()

    def predict():
        return mending.read_predict(served, door, body, Limits())

    def infer():
        return mending.read_infer(served, door, tensors(features, given_rows), None, Limits())

    for protocol, read in (("predict", predict), ("infer", infer)):
        if protocol == "infer":
            if not any(given_rows):
                continue  # no tensor at all: there are no rows to speak of
            if any("extra" in row for row in given_rows):  # a tensor is there for all rows
                given_rows = [row | {"extra": 1} for row in given_rows]
            if len(features) == 1 and all(set(row) <= {"extra"} for row in given_rows):
                continue  # the one tensor there is stands for all features
        expected = [twin(features, quality, row) for row in given_rows]
        if any(refused for *_, refused in expected):
            with pytest.raises(PointsmanError):
                read()
            continue
        asked = read()
        marks = asked.marks or {}
        assert asked.rows == [values for values, *_ in expected]
        assert [json.loads(one) for one in asked.features] == [
            dict(zip([f.name for f in features], values, strict=True)) for values, *_ in expected
        ]
        assert [
            (marks[place].notes, marks[place].diverted) if place in marks else ((), False)
            for place in range(len(expected))
        ] == [(notes, diverted) for _, notes, diverted, _ in expected]
