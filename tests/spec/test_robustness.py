"""Whatever stands in a file, lint answers: projects, or a PointsmanError that names places."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.domain.errors import PointsmanError, Violation
from pointsman.spec.canonical import canonical, parse
from pointsman.spec.load import load_text
from pointsman.spec.models import Project
from pointsman.spec.template import starter

ROOT = Path(__file__).parents[2]
BASES = [
    (Path(__file__).parent / "full.yaml").read_text(encoding="utf-8"),
    (ROOT / "examples" / "income" / "project.yaml").read_text(encoding="utf-8"),
    starter("income"),
]
TOKENS = [
    *("---\n", "...\n", "\t", "\n", "  ", "- ", "? ", ": ", ", ", "{", "}", "[", "]", "'", '"'),
    *("&a ", "*a ", "!!int ", "!x ", "<<: ", "|", ">", "#", "%TAG ! x\n", "~", "null", "@", "`"),
    *(".nan", "-.inf", "1e400", "0x1", "007", "-1", "true", "9" * 30, "2026-12-20", "\x00", "\r"),
    *("request.amount", "&&", "champion", "é", "\u2028", "\x85", "\U0001f600", "\ufeff", "\ud800"),
]
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 2**70, 0.5, "", "x", "champion", "10m", "1e400", "\u0000", [], {}),
    *([None], [[]], [{}], {"": 1}, {"name": None}, {"kind": []}, {"from": 1}, {"[key]": 1}),
    *({"type": "int"}, {"declared": [1]}, {"classifier": {}}, ["champion", 1], {"champion": {}}),
]


def judge(text: str) -> None:
    """The property: sound projects store and come back, all others get places and words."""
    projects: tuple[Project, ...] = ()
    violations: tuple[Violation, ...] = ()
    try:
        projects = load_text(text, "f.yaml")
    except PointsmanError as error:
        violations = error.violations

    assert projects or violations
    for violation in violations:
        assert violation.message
        assert violation.file == "f.yaml"
        assert 1 <= violation.line <= text.count("\n") + text.count("\r") + 2
        assert violation.column >= 1
    for project in projects:
        assert project == parse(canonical(project))


@given(st.integers(0, 2**32))
@settings(max_examples=250, deadline=None, derandomize=True)
def test_a_document_with_its_text_mutated_gets_an_answer(seed: int) -> None:
    """Lines dropped, doubled and swapped; stretches cut; tokens of YAML thrown in."""
    dice = random.Random(seed)
    lines = dice.choice(BASES).splitlines(keepends=True)
    for _ in range(dice.randint(1, 4)):
        at, to = dice.randrange(len(lines)), dice.randrange(len(lines))
        match dice.randrange(6):
            case 0:
                del lines[at]
            case 1:
                lines.insert(to, lines[at])
            case 2:
                lines[at], lines[to] = lines[to], lines[at]
            case 3:
                cut = dice.randint(0, len(lines[at]))
                lines[at] = lines[at][:cut]
            case 4:
                lines[at] = " " * dice.randint(0, 6) + lines[at].lstrip(" ")
            case _:
                cut = dice.randint(0, len(lines[at]))
                lines[at] = lines[at][:cut] + dice.choice(TOKENS) + lines[at][cut:]

    judge("".join(lines))


@given(st.integers(0, 2**32))
@settings(max_examples=250, deadline=None, derandomize=True)
def test_a_document_with_its_values_mutated_gets_an_answer(seed: int) -> None:
    """Well-formed, with values of the wrong kind anywhere."""
    dice = random.Random(seed)
    body = yaml.safe_load(dice.choice(BASES))
    for _ in range(dice.randint(1, 4)):
        _mutate(body, dice)

    judge(json.dumps(body, default=str))


@given(st.text(max_size=300))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_text_at_all_gets_an_answer(text: str) -> None:
    judge(text)


def _mutate(body: Any, dice: random.Random) -> None:
    """Replaces, removes, renames or doubles one value, at a random depth."""
    while True:
        keys = list(body) if isinstance(body, dict) else list(range(len(body)))
        if not keys:
            return
        key = dice.choice(keys)
        inner = body[key]
        if isinstance(inner, dict | list) and inner and dice.random() < 0.8:
            body = inner
            continue
        match dice.randrange(4):
            case 0:
                del body[key]
            case 1 if isinstance(body, dict):
                body[dice.choice(["", "x y", "champion", "when", "<<", str(key) + "s"])] = (
                    copy.deepcopy(inner)
                )
            case 2 if isinstance(body, list):
                body.append(copy.deepcopy(inner))
            case _:
                body[key] = copy.deepcopy(dice.choice(VALUES))
        return
