"""The stored form: one for each meaning, and the meaning comes back."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.spec.canonical import canonical, document, parse, revision
from pointsman.spec.load import load_text
from pointsman.spec.scalars import (
    format_decimal,
    format_duration,
    format_size,
    parse_decimal,
    parse_duration,
    parse_size,
)

LONG = """\
apiVersion: pointsman/v1
kind: Project
metadata: {tenant: default, name: x, labels: {}}
spec:
  classes: [a, b]
  unit: id
  context: {n: {type: int}, id: {type: string}}
  variants:
    challenger: {model: "models:/m@challenger", cost: {per_request: 0}}
    champion: {model: "models:/m@champion"}
  rules:
    - {name: default, split: {challenger: 0.50, champion: 99.5}, holdout: 0, shadow: []}
  deadline: 2000ms
  retention: {hot: 14d, maxBytes: 1000MB}
  metrics: {}
"""
SHORT = """\
apiVersion: pointsman/v1
kind: Project
metadata: {name: x}
spec:
  classes: [a, b]
  unit: id
  context: {id: string, n: int}
  variants:
    champion: {model: "models:/m@champion"}
    challenger: {model: "models:/m@challenger"}
  rules: [{name: default, split: {champion: "99.5", challenger: 0.5}}]
  deadline: 2s
  retention: {maxBytes: 1GB}
"""


def test_two_files_that_mean_the_same_are_one_revision() -> None:
    """Comments, order, short forms, units and written-out defaults do not matter."""
    (long,), (short,) = load_text(LONG), load_text("# a comment\n" + SHORT)

    assert canonical(long) == canonical(short)


def test_the_stored_form_is_the_same_in_every_release() -> None:
    """A changed hash means that stored revisions would change their meaning: do not update it
    without a new apiVersion."""
    (project,) = load_text(SHORT)

    assert canonical(project) == (
        b'{"apiVersion":"pointsman/v1","kind":"Project","metadata":{"name":"x"},"spec":{"classes":'
        b'["a","b"],"context":{"id":{"type":"string"},"n":{"type":"int"}},"deadline":"2s",'
        b'"retention":{"maxBytes":"1GB"},"rules":[{"name":"default","split":{"challenger":"0.5",'
        b'"champion":"99.5"}}],"unit":"id","variants":{"challenger":{"model":'
        b'"models:/m@challenger"},"champion":{"model":"models:/m@champion"}}}}'
    )
    assert revision(project) == "ab60f5f3f6702979da2faeb54ebf50e08f4ff123bbe61c5c72aaf990d40672c2"


def test_the_stored_form_can_be_shown_and_applied_again() -> None:
    (project,) = load_text(LONG)
    shown = json.dumps(document(project))

    assert (project,) == load_text(shown)


@pytest.mark.parametrize("stored", [b"", b"[]", b"{}", b"\xff", canonical(*load_text(SHORT))[:-1]])
def test_a_damaged_stored_form_is_said_to_be_damaged(stored: bytes) -> None:
    with pytest.raises(PointsmanError) as caught:
        parse(stored)

    assert caught.value.kind is Kind.INTERNAL


weights = st.decimals(min_value=0, max_value=999_999, places=4, allow_nan=False)
names = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
labels = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


@st.composite
def projects(draw: st.DrawFn) -> dict[str, Any]:
    """A sound project as JSON values, its mappings in any order."""
    classes = draw(st.lists(labels, min_size=2, max_size=4, unique=True))
    others = draw(st.sets(names.filter(lambda name: name != "champion"), max_size=4))
    variants: dict[str, Any] = {"champion": {"model": "models:/m@champion"}}
    for name in sorted(others):
        variants[name] = draw(
            st.sampled_from([{"constant": classes[0]}, {"model": f"models:/m@{name}"}])
        )
    arms = {name: draw(weights) for name in variants}
    arms["champion"] += 1
    split = {name: float(weight) for name, weight in arms.items() if not 0 < weight < 1}
    rule = {"name": "default", "split": split, "holdout": draw(st.integers(0, 99))}
    spec: dict[str, Any] = {
        "classes": classes,
        "positive": draw(st.sampled_from(classes)),
        "decision": {"threshold": draw(st.floats(0.001, 0.999))},
        "variants": dict(draw(st.permutations(sorted(variants.items())))),
        "rules": [rule],
        "deadline": f"{draw(st.integers(1, 60_000))}ms",
        "features": draw(
            st.dictionaries(labels, st.sampled_from(["double", "string"]), min_size=1).filter(
                lambda found: set(found) != {"from"}
            )
        ),
    }
    return {
        "apiVersion": "pointsman/v1",
        "kind": "Project",
        "metadata": {"name": draw(names), "labels": draw(st.dictionaries(labels, labels))},
        "spec": spec,
    }


@given(projects())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_storing_and_reading_back_changes_nothing(body: dict[str, Any]) -> None:
    """The project, its bytes and its revision survive; so does the order of features."""
    (project,) = load_text(json.dumps(body, ensure_ascii=False))
    again = parse(canonical(project))

    assert project == again
    assert canonical(project) == canonical(again)
    assert project.spec.declared_features == again.spec.declared_features
    assert list(project.spec.rules[0].split or ()) == list(again.spec.rules[0].split or ())


@given(st.integers(0, 10**11))
def test_a_duration_survives_its_normal_form(milliseconds: int) -> None:
    assert milliseconds == parse_duration(format_duration(milliseconds))


@given(st.integers(0, 10**12))
def test_a_size_survives_its_normal_form(size_bytes: int) -> None:
    assert size_bytes == parse_size(format_size(size_bytes))


@given(st.decimals(min_value=0, max_value=10**8, places=9, allow_nan=False))
def test_a_weight_is_never_rounded(weight: Decimal) -> None:
    assert weight == parse_decimal(format_decimal(weight))


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_weight_written_as_a_fraction_is_the_decimal_that_was_written(
    whole: int, parts: int
) -> None:
    """`0.1` is one tenth, not the binary fraction next to it."""
    text = f"{whole}.{parts:06}"

    assert Decimal(text) == parse_decimal(float(text))
