"""Figures of a variant are of its present version, in the rule's present epoch."""

from typing import Any

from control_process import project as document
from pointsman.controller import figures
from pointsman.decide.allocation import initial
from pointsman.domain.evidence import Moments
from pointsman.domain.table import ProjectTable, Rule, Runtime, Variant
from pointsman.spec.models import Project
from pointsman.store.overview import Line

CHAMPION = Variant("champion", "2", "models:/loan/2", "a" * 64, Runtime.ONNX)
CHALLENGER = Variant("challenger", "3", "models:/loan/3", "b" * 64, Runtime.ONNX)
RULE = Rule(
    name="default",
    when=None,
    use="",
    allocation=initial({"champion": 1, "challenger": 1}),
    salt="s",
    holdout=0,
    holdout_salt="h",
    shadows=(),
    fallback=(),
    epoch=2,
)
TABLE = ProjectTable(
    tenant="default",
    project="loan",
    revision="r" * 64,
    number=1,
    classes=("no", "yes"),
    positive="yes",
    unit="account",
    context=(),
    features=(),
    variants=(CHAMPION, CHALLENGER),
    rules=(RULE,),
    deadline_ms=2000,
)


DECLARED = Project.model_validate(document("loan"))


def line(**changes: Any) -> Line:
    usual = {
        "rule": "default",
        "epoch": 2,
        "assigned": "challenger",
        "served": "challenger",
        "version": "3",
        "reason": "SPLIT",
        "action": "allow",
        "decisions": 10,
        "labelled": 5,
        "rewarded": 0,
    }
    return Line(**{**usual, **changes})


LINES = [
    line(),
    line(served="", version="", action="", decisions=10, labelled=0),
    line(epoch=1, version="2", action="deny", decisions=1000, labelled=1000),
    line(epoch=1, served="champion", version="2", decisions=500, labelled=0),
]


def test_what_another_version_did_is_not_counted() -> None:
    """The name stayed, the model did not: neither its answers nor its failures are this one's."""
    found = figures.of_variant(DECLARED, TABLE, LINES, {}, CHALLENGER)

    assert sum(one.decisions for one in figures.served_by(LINES, CHALLENGER)) == 10
    assert (found["denied"]["value"], found["denied"]["n"]) == (0.0, 10)
    assert (found["errors"]["value"], found["errors"]["n"]) == (0.5, 20)
    assert figures.coverage(LINES, CHALLENGER)["value"] == 0.5


def test_a_rate_to_compare_by_knows_that_units_are_sticky() -> None:
    """Units that ask often and are always denied say less than as many independent decisions."""
    denied = Moments()
    for unit in range(64):
        for _ in range(50):
            denied.observe(unit, float(unit % 2))
    (sticky,) = [figures.of_arm(DECLARED, TABLE, {"denied": denied})["denied"]]
    (alike,) = [
        figures.of_variant(
            DECLARED,
            TABLE,
            [line(action="deny", decisions=1600), line(decisions=1600)],
            {},
            CHALLENGER,
        )["denied"]
    ]

    assert (sticky["value"], sticky["n"]) == (alike["value"], alike["n"]) == (0.5, 3200)
    assert "between unit buckets" in sticky["method"]
    assert "as independent" in alike["method"]
    assert sticky["high"] - sticky["low"] > 3 * (alike["high"] - alike["low"])


def test_rare_events_keep_the_exact_interval_and_say_what_it_takes_for_granted() -> None:
    """Below 50 errors the variance between buckets is not worth much."""
    errors = Moments()
    for unit in range(3200):
        errors.observe(unit, float(unit < 5))
    found = figures.of_arm(DECLARED, TABLE, {"error": errors})["errors"]

    assert found["value"] == 5 / 3200
    assert "as independent" in found["method"]


def test_a_declared_event_is_shown_of_first_exposures_and_said_to_be_missing_elsewhere() -> None:
    """Each under the name the project gave it."""
    body = document("loan")
    body["spec"]["metrics"] = {
        "unreadable": {"kind": "operational", "event": "malformed"},
        "sure": {"kind": "decision", "event": "score > 0.9"},
    }
    found = Moments()
    for unit in range(10):
        found.observe(unit, float(unit == 0))
    payloads = {"first/malformed": found}
    shown = figures.of_arm(Project.model_validate(body), TABLE, payloads)

    assert (shown["unreadable"]["value"], shown["unreadable"]["n"]) == (0.1, 10)
    assert "a unit once an epoch" in shown["sure"]["missing"]
