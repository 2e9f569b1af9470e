"""What people read: numbers as they were written, lengths of time in two units."""

from decimal import Decimal

import pytest
from tests.rollout.story import steps_of

from pointsman.rollout import words
from pointsman.rollout.observation import Finding, Role, Unit, Verdict


@pytest.mark.parametrize(
    ("weight", "text"),
    [("5", "5 %"), ("0", "0 %"), ("100", "100 %"), ("0.50", "0.5 %"), ("1E+1", "10 %")],
)
def test_weights_read_as_they_were_written(weight, text):
    """Never 1E+1, never a zero too many or too few."""
    assert words.percent(Decimal(weight)) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (1, "1 s"),
        (59_999, "1 min"),
        (61_000, "1 min 1 s"),
        (7_140_000, "1 h 59 min"),
        (86_400_000 * 3 + 61_000, "3 d 1 min"),
    ],
)
def test_a_length_of_time_is_rounded_up(milliseconds, text):
    """What is nearly over is not over."""
    assert words.span(milliseconds) == text


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (
            Finding(
                Role.GUARDRAIL,
                "deny_rate",
                Verdict.FAIL,
                "country=EU",
                0.031,
                0.01,
                Unit.POINTS,
                4120,
            ),
            "deny_rate of country=EU +3.1 points, bound +1.0, n=4,120",
        ),
        (
            Finding(Role.GUARDRAIL, "cost", Verdict.FAIL, value=0.0001234, bound=-0.5, n=7),
            "cost +0.0001234, bound -0.5, n=7",
        ),
        (
            Finding(Role.GUARDRAIL, "errors", Verdict.PASS, value=-0.2, unit=Unit.PERCENT, n=9),
            "errors -20.0 %, n=9",
        ),
        (
            Finding(Role.GUARDRAIL, "recall", Verdict.NO_DATA, text="no labels yet"),
            "recall: no labels yet",
        ),
        (Finding(Role.GUARDRAIL, "recall", Verdict.NO_DATA), "recall: no data"),
        (
            Finding(Role.EVIDENCE, "", Verdict.INCONCLUSIVE, text="units are lost"),
            "units are lost",
        ),
    ],
)
def test_a_finding_names_metric_value_bound_and_n(found, text):
    """In the unit the bound was declared in."""
    assert words.finding(found) == text


def test_positions_beyond_both_ends_have_names():
    """Nobody has to count from minus one."""
    course = steps_of("5% 10m @ann")

    assert [words.step(course, position) for position in range(-1, 4)] == [
        "before the first step",
        "step 1 of 3 (weight 5 %)",
        "step 2 of 3 (analysis)",
        "step 3 of 3 (approval by ann)",
        "promotion",
    ]
