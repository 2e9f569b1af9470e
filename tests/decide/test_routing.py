"""Routing past decisions says what deciding them says, and leaves to it what is not plain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.decide.test_forecast import project

from pointsman.decide.allocation import initial
from pointsman.decide.engine import decide
from pointsman.decide.hashing import unit_bytes
from pointsman.decide.routing import route
from pointsman.domain.decision import Live, Request
from pointsman.domain.table import Rule, Shadow

SPLIT = initial({"champion": 60, "challenger": 40})
WATCH = (Shadow("challenger", 1 << 31, "watch"),)
LIVES = (Live(), Live(killed=True), Live(out=("challenger",)), Live(out=("champion",)))
WHENS = (None, "request.amount > 4.0", 'request.country == "FR"', "false", "true")


@st.composite
def rules(draw):
    found = []
    for number in range(draw(st.integers(0, 3))):
        splits = draw(st.booleans())
        found.append(
            Rule(
                name=f"r{number}",
                when=draw(st.sampled_from(WHENS)),
                use="" if splits else draw(st.sampled_from(["champion", "challenger"])),
                allocation=SPLIT if splits else None,
                salt=f"r{number}#split",
                holdout=draw(st.sampled_from([0, 1 << 30, 1 << 32])),
                holdout_salt="loan#holdout",
                shadows=draw(st.sampled_from([(), WATCH])),
                fallback=(),
                epoch=1,
            )
        )
    return found


contexts = st.fixed_dictionaries(
    {}, optional={"country": st.sampled_from(["DE", "FR"]), "amount": st.floats(0, 9)}
)


@given(rules(), st.sampled_from(LIVES), st.text(min_size=1), st.none() | st.text(), contexts)
def test_a_route_is_what_is_decided(declared, live, identifier, unit, context):
    """Rule, variant and reason, under every live state; what errs or meets nothing is handed on."""
    table = project(declared)
    asked = route(table.under(live), unit_bytes(identifier if unit is None else unit), context)
    decided = decide(table, live, Request(identifier, unit, context))

    if asked is None:
        assert live.killed or decided.error or decided.rule == ""
    else:
        assert asked == (decided.rule, decided.assigned, decided.reason)
        assert decided.error == ""


@pytest.mark.parametrize("unit", ["", "é", "\ud83d"])
def test_units_of_any_text_are_routed(unit):
    """As a gateway hashes them."""
    table = project([Rule("r", None, "", SPLIT, "r#split", 0, "h", (), (), 1)])
    asked = route(table.under(Live()), unit_bytes(unit), {})
    assert asked is not None
    assert asked[1] == decide(table, Live(), Request("d", unit, {})).assigned
