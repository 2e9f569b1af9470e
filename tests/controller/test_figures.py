"""Figures of a variant are of its present version, in the rule's present epoch."""

from typing import Any

from control_process import project as document
from pointsman.controller import figures
from pointsman.decide.allocation import initial
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
