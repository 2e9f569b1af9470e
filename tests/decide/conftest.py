"""Tables and requests with everything that a test does not care about filled in."""

from types import SimpleNamespace

import pytest

from pointsman.decide.allocation import initial
from pointsman.domain.decision import Request
from pointsman.domain.table import (
    Attribute,
    AttributeType,
    ProjectTable,
    Rule,
    Runtime,
    Shadow,
    Variant,
)

VARIANTS = ("champion", "challenger", "night", "rules-only")


def rule(name="default", **fields):
    """A rule that splits champion 90, challenger 10, unless told otherwise."""
    if "use" not in fields:
        fields.setdefault("allocation", initial({"champion": 90, "challenger": 10}))
    defaults = {
        "when": None,
        "use": "",
        "allocation": None,
        "salt": f"default/p/{name}#split",
        "holdout": 0,
        "holdout_salt": "default/p#holdout",
        "shadows": (),
        "fallback": (),
        "epoch": 7,
    }
    return Rule(name, **(defaults | fields))


def variant(name, version="3", **fields):
    """A constant variant."""
    return Variant(name, version, "", "", Runtime.CONSTANT, **({"constant": "no"} | fields))


def table(*rules, **fields):
    """A table with these rules and four variants."""
    defaults = {
        "tenant": "default",
        "project": "p",
        "revision": "r",
        "number": 1,
        "classes": ("no", "yes"),
        "positive": "yes",
        "unit": "account_id",
        "context": (
            Attribute("amount", AttributeType.DOUBLE),
            Attribute("country", AttributeType.STRING),
        ),
        "features": (),
        "variants": tuple(variant(name) for name in VARIANTS),
        "rules": rules,
        "deadline_ms": 100,
    }
    return ProjectTable(**(defaults | fields))


def request(unit="u-1", pin=None, id="d-1", **context):  # noqa: A002 - the field's own name
    """A request with an amount of 5 from DE."""
    return Request(id, unit, {"amount": 5.0, "country": "DE"} | context, pin)


@pytest.fixture
def make():
    """The builders above, by name."""
    return SimpleNamespace(rule=rule, table=table, request=request, shadow=Shadow, variant=variant)
