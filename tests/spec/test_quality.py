"""The block `quality`: what cannot be is told with its line, and what can be is settled."""

import msgspec
import pytest

from pointsman.decide.compile import ProjectState, compile_project
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.quality import FeatureQuality, Quality
from pointsman.domain.table import Feature, FeatureType, ProjectTable, Runtime, Variant, encode
from pointsman.spec.canonical import canonical, parse
from pointsman.spec.load import load_text

HEAD = """\
apiVersion: pointsman/v1
kind: Project
metadata: {name: loan}
spec:
  classes: ["no", "yes"]
"""
VARIANTS = """\
  variants: {champion: {model: "models:/loan/1"}, safe: {constant: "no"}}
"""
FEATURES = """\
  features:
    - {name: age, type: long}
    - {name: amount, type: double}
    - {name: country, type: string}
    - {name: vip, type: boolean, required: false}
"""
RULES = "  rules: [{name: all, use: champion, fallback: [safe]}]\n"
SOUND = """\
  quality:
    onMissing: fallback
    onExtra: warn
    features:
      age: {range: [18, 100], value: 40, onMissing: impute, onRange: reject}
      amount: {range: [0, 1e6], value: 10, onType: impute}
      country: {values: [DE, FR], onUnseen: fallback}
      vip: {onMissing: warn}
"""
MODEL = Variant("champion", "1", "models:/loan/1", "a" * 64, Runtime.ONNX)


def told(quality, features=FEATURES, rules=RULES):
    """Every violation as `line: path: message`."""
    with pytest.raises(PointsmanError) as caught:
        load_text(HEAD + VARIANTS + features + rules + quality)
    return [f"{one.line}: {one.path}: {one.message}" for one in caught.value.violations]


def block(text):
    return "  quality:\n" + "".join(f"    {line}\n" for line in text.splitlines())


def signature(**kinds):
    return tuple(Feature(name, FeatureType(kind)) for name, kind in kinds.items())


def test_a_sound_block_is_settled_for_every_feature_in_order():
    """Own answers win, numbers are of their feature's type, optional features keep quiet."""
    (project,) = load_text(HEAD + VARIANTS + FEATURES + RULES + SOUND)
    features = project.spec.declared_features
    table = compile_project(project, ProjectState(1, (MODEL,), features))

    assert table.quality == Quality(
        extra="warn",
        all_null="warn",
        features=(
            FeatureQuality("age", "impute", range="reject", low=18.0, high=100.0, value=40),
            FeatureQuality("amount", "fallback", "impute", low=0.0, high=1e6, value=10.0),
            FeatureQuality("country", "fallback", unseen="fallback", values=("DE", "FR")),
            FeatureQuality("vip", "warn"),
        ),
    )
    assert type(table.quality.features[1].value) is float
    assert parse(canonical(project)) == project


def test_without_the_block_a_table_says_nothing_and_older_tables_are_read():
    """What was written before the block existed is a project without it."""
    (project,) = load_text(HEAD + VARIANTS + FEATURES)
    table = compile_project(project, ProjectState(1, (MODEL,), project.spec.declared_features))
    older = msgspec.json.decode(encode(table))
    del older["quality"]

    assert table.quality is None
    assert msgspec.json.decode(msgspec.json.encode(older), type=ProjectTable) == table


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("onMissing: warn", ["quality.onMissing: no model can go on without a feature"]),
        ("onType: warn", ["quality.onType: a value of another type cannot be shown to a model"]),
        ("onExtra: impute", ["quality.onExtra: is about a row"]),
        ("onAllNull: impute", ["quality.onAllNull: is about a row"]),
        ("onMissing: impute", ["quality.onMissing: `impute` needs a value for age, amount, count"]),
        ("onMissing: drop", ["quality.onMissing: must be one of reject, impute, fallback, warn"]),
        ("onGone: warn", ["quality.onGone: unknown key 'onGone'"]),
        ("features: {agee: {value: 1}}", ["features.agee: there is no feature named 'agee'"]),
        ("features: {age: {range: [9, 1]}}", ["features.age.range: no value is from 9 to 1"]),
        ("features: {age: {range: [9]}}", ["features.age.range: must have at least 2 entries"]),
        ("features: {country: {range: [1, 9]}}", ["features.country.range: a string has no range"]),
        ("features: {vip: {values: [true]}}", ["features.vip.values: a boolean is true or false"]),
        ("features: {amount: {values: [0.1]}}", ["features.amount.values: fractions are seldom"]),
        ("features: {age: {values: [1, old]}}", ["values[1]: is not a value of type long"]),
        ("features: {age: {values: [1, 1]}}", ["values[1]: 1 is given twice"]),
        ("features: {age: {onRange: warn}}", ["age.onRange: there is no `range`"]),
        ("features: {age: {onUnseen: warn}}", ["age.onUnseen: there are no `values`"]),
        ("features: {age: {onMissing: warn}}", ["age.onMissing: the models need it"]),
        ("features: {age: {onMissing: impute}}", ["age.onMissing: `impute` needs a value"]),
        ("features: {age: {onType: warn}}", ["age.onType: a value of another type"]),
        ("features: {age: {value: 1.5}}", ["age.value: is not a value of type long"]),
        ("features: {age: {value: true}}", ["age.value: is not a value of type long"]),
        ("features: {age: {value: 9, range: [18, 99]}}", ["age.value: is itself out of the range"]),
        ("features: {country: {value: X, values: [Y]}}", ["country.value: is itself not one of"]),
        (
            "onType: warn\nfeatures: {age: {value: old}, vip: {range: [0, 1]}}",
            ["quality.onType: ", "age.value: is not", "vip.range: a boolean has no range"],
        ),
    ],
)
def test_what_cannot_be_is_an_error_in_its_line(text, expected):
    """All of them, each at its place."""
    found = told(block(text))

    assert len(found) == len(expected), found
    for violation, part in zip(found, expected, strict=True):
        assert part in violation
        assert int(violation.partition(":")[0]) > 12


def test_who_is_to_fall_back_needs_somebody_behind():
    """A rule whose variant has no other behind it is named."""
    alone = "  rules: [{name: all, use: champion}]\n"
    (found,) = told(block("onExtra: fallback"), rules=alone)
    assert "spec.rules[0]: rows with problems are to go to fallbacks, and 'champion' has" in found

    (found,) = told(block("onExtra: fallback"), rules="")
    assert "'champion' has none" in found


def test_features_of_a_signature_are_checked_once_they_are_known():
    """Lint cannot know them; whoever compiles the table says it in the same words."""
    named = '  features: {from: "models:/loan/1"}\n'
    (project,) = load_text(HEAD + VARIANTS + named + RULES + SOUND)
    with pytest.raises(PointsmanError) as caught:
        compile_project(project, ProjectState(1, (MODEL,), signature(age="string", vip="double")))

    assert caught.value.kind is Kind.INVALID
    assert [f"{one.path}: {one.message}" for one in caught.value.violations] == [
        "spec.quality.features.age.range: a string has no range",
        "spec.quality.features.age.value: is not a value of type string",
        "spec.quality.features.amount: there is no feature named 'amount'",
        "spec.quality.features.country: there is no feature named 'country'",
        "spec.quality.features.vip.onMissing: the models need it: none can go on without",
    ]
