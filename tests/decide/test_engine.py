"""`decide()`: kill switch, pin, rules in order, holdout, split; and nothing else."""

from bisect import bisect_right
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman.decide.allocation import initial, intervals_of, widths_of
from pointsman.decide.engine import decide
from pointsman.decide.hashing import hash32
from pointsman.decide.table import load
from pointsman.domain.decision import NOTHING_LIVE, Decision, Live, Reason
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import SPACE, Allocation

UNITS = [f"unit-{i}" for i in range(2000)]
fixtures_are_pure = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


def one_wide(at, arm="challenger"):
    """A split in which this arm owns exactly one point."""
    parts = [(0, "champion"), (at, arm), (at + 1, "champion")]
    kept = [(cut, owner) for cut, owner in parts if cut < SPACE]
    if at == 0:
        kept = kept[1:]
    return Allocation(tuple(cut for cut, _ in kept), tuple(owner for _, owner in kept))


def slow_fallbacks(table, live, reason, assigned):
    """The twin for fallbacks, one rule: a pin that is heeded has none, all else has the rule's."""
    if reason is Reason.PINNED:
        return ()
    gone = {assigned, *(set(live.out) - {"champion"})}
    return tuple(name for name in table.rules[0].fallback if name not in gone)


def slow_decide(table, live, request):
    """The twin for rules without conditions: reason, assigned and probabilities by definition."""
    if live.killed:
        return Reason.KILLED, "champion", {"champion": Fraction(1)}
    out = set(live.out) - {"champion"}
    if request.pin is not None:
        found = (Reason.KILLED, "champion") if request.pin in out else (Reason.PINNED, request.pin)
        return *found, {found[1]: Fraction(1)}
    rule = table.rules[0]
    unit = request.id if request.unit is None else request.unit
    if rule.use:
        found = (Reason.KILLED, "champion") if rule.use in out else (Reason.RULE, rule.use)
        return *found, {found[1]: Fraction(1)}
    held = Fraction(rule.holdout, SPACE)
    chances = {"champion": held}
    for arm, points in widths_of(rule.allocation).items():
        goes_to = "champion" if arm in out else arm
        chances[goes_to] = chances.get(goes_to, 0) + (1 - held) * Fraction(points, SPACE)
    chances = {arm: chance for arm, chance in chances.items() if chance}
    if hash32(rule.holdout_salt, unit) < rule.holdout:
        return Reason.HOLDOUT, "champion", chances
    at = hash32(rule.salt, unit)
    arm = next(a for start, end, a in intervals_of(rule.allocation) if start <= at < end)
    return (Reason.KILLED, "champion", chances) if arm in out else (Reason.SPLIT, arm, chances)


lives = st.builds(
    Live,
    killed=st.booleans(),
    out=st.lists(
        st.sampled_from(["champion", "challenger", "night", "rules-only"]), unique=True
    ).map(tuple),
)
weightings = st.fixed_dictionaries(
    {"champion": st.integers(0, 9), "challenger": st.integers(0, 9), "night": st.integers(0, 9)}
).filter(lambda weights: any(weights.values()))
holdouts = st.sampled_from([0, 1, SPACE // 3, SPACE - 1, SPACE])


@given(
    live=lives,
    weights=weightings,
    holdout=holdouts,
    use=st.sampled_from([None, "night", "champion"]),
    pin=st.sampled_from([None, None, "challenger", "night"]),
    unit=st.none() | st.text(),
    chain=st.permutations(["champion", "challenger", "night", "rules-only"]).map(tuple),
    length=st.integers(0, 4),
)
@fixtures_are_pure
def test_decide_agrees_with_its_definition(
    make, live, weights, holdout, use, pin, unit, chain, length
):
    """Assigned, reason, fallbacks and every probability are those of the slow definition."""
    fields = {"use": use} if use else {"allocation": initial(weights)}
    table = make.table(make.rule(holdout=holdout, fallback=chain[:length], **fields))
    request = make.request(unit=unit, pin=pin)
    reason, assigned, chances = slow_decide(table, live, request)

    found = decide(load(table), live, request)

    assert (found.reason, found.assigned) == (reason, assigned)
    assert found.fallbacks == slow_fallbacks(table, live, reason, assigned)
    assert dict(found.propensities) == {arm: float(chance) for arm, chance in chances.items()}
    assert found.propensity == float(chances[assigned])
    assert sum(chances.values()) == 1


@given(live=lives, weights=weightings, holdout=holdouts)
@fixtures_are_pure
def test_propensities_are_what_happens(make, live, weights, holdout):
    """Frequencies over many units are within five standard errors of the logged propensities."""
    project = load(make.table(make.rule(allocation=initial(weights), holdout=holdout)))
    made = [decide(project, live, make.request(unit=unit)) for unit in UNITS]

    for arm, chance in made[0].propensities:
        share = sum(decision.assigned == arm for decision in made) / len(made)
        assert abs(share - chance) <= 5 * (chance * (1 - chance) / len(made)) ** 0.5 + 1e-9
    assert {decision.assigned for decision in made} <= dict(made[0].propensities).keys()


def test_ninety_ten_is_ninety_ten_everywhere(make):
    """A 90/10 split is within binomial bounds, and the same for every project loaded from it."""
    table = make.table(make.rule())
    first, second = load(table), load(table)
    units = [f"account-{i}" for i in range(20_000)]
    taken = [decide(first, NOTHING_LIVE, make.request(unit=unit)) for unit in units]

    assert taken == [decide(second, NOTHING_LIVE, make.request(unit=unit)) for unit in units]
    challengers = sum(decision.assigned == "challenger" for decision in taken)
    assert abs(challengers - 2000) < 4 * (20_000 * 0.1 * 0.9) ** 0.5


@pytest.mark.parametrize("unit", [*UNITS[:200], "", "a\0b", "Zürich", "日本", "x" * 256])
def test_a_one_wide_interval_around_a_unit(make, unit):
    """Exactly one point decides: a unit is in the arm that owns its point, and in no other."""
    at = hash32("default/p/default#split", unit)
    assigned = []
    for point in (at - 1, at, at + 1):
        project = load(make.table(make.rule(allocation=one_wide(point % SPACE))))
        assigned.append(decide(project, NOTHING_LIVE, make.request(unit=unit)).assigned)

    assert assigned == ["champion", "challenger", "champion"]


@pytest.mark.parametrize("arm", ["champion", "challenger", "night"])
def test_zero_is_zero_and_all_is_all(make, arm):
    """An arm with all the weight gets every unit; arms with a weight of 0 get none."""
    weights = {"champion": 0, "challenger": 0, "night": 0} | {arm: 1}
    project = load(make.table(make.rule(allocation=initial(weights))))
    made = {decide(project, NOTHING_LIVE, make.request(unit=unit)).assigned for unit in UNITS}

    assert made == {arm}


@pytest.mark.parametrize("unit", UNITS[:100])
def test_holdout_ends_exactly_at_its_cut(make, unit):
    """A unit is held out if its own holdout hash is below the cut, not at it."""
    at = hash32("default/p#holdout", unit)
    reasons = [
        decide(
            load(make.table(make.rule(holdout=cut))), NOTHING_LIVE, make.request(unit=unit)
        ).reason
        for cut in (0, at, at + 1, SPACE)
    ]

    assert reasons == [Reason.SPLIT, Reason.SPLIT, Reason.HOLDOUT, Reason.HOLDOUT]


@pytest.mark.parametrize("unit", UNITS[:100])
def test_shadows_end_exactly_at_their_cut(make, unit):
    """A unit is shadowed if its hash under the shadow's own salt is below the cut."""
    at = hash32("own", unit)
    shadows = [
        decide(
            load(make.table(make.rule(shadows=(make.shadow("night", cut, "own"),)))),
            NOTHING_LIVE,
            make.request(unit=unit),
        ).shadows
        for cut in (0, at, at + 1, SPACE)
    ]

    assert shadows == [(), (), ("night",), ("night",)]


def test_holdout_and_split_are_independent_draws(make):
    """Who is held out says nothing about the arm: the draws have salts of their own."""
    half = initial({"champion": 1, "challenger": 1})
    project = load(make.table(make.rule(holdout=SPACE // 2, allocation=half)))
    made = [decide(project, NOTHING_LIVE, make.request(unit=unit)) for unit in UNITS]
    held = [d.bucket < SPACE // 2 for d in made if d.reason is Reason.HOLDOUT]

    assert abs(len(held) - 1000) < 4 * 500**0.5
    assert abs(sum(held) - len(held) / 2) < 4 * (len(held) / 4) ** 0.5


def test_a_request_without_unit_draws_on_its_id(make):
    """Without a unit the request's own id is hashed; an empty unit is a unit like any other."""
    project = load(make.table(make.rule()))
    salt = "default/p/default#split"

    assert decide(project, NOTHING_LIVE, make.request(unit=None, id="d-9")).bucket == hash32(
        salt, "d-9"
    )
    assert decide(project, NOTHING_LIVE, make.request(unit="", id="d-9")).bucket == hash32(salt, "")


def test_the_first_rule_that_is_met_decides(make):
    """Rules are asked in order; the first whose condition holds decides, alone."""
    project = load(
        make.table(
            make.rule("embargo", when='request.country == "KP"', use="rules-only"),
            make.rule("big", when="request.amount > 100.0", use="champion"),
            make.rule("default", use="challenger"),
        )
    )

    def rule_for(**context):
        found = decide(project, NOTHING_LIVE, make.request(**context))
        return found.rule, found.assigned, found.reason, found.bucket, found.epoch

    assert rule_for(country="KP", amount=500.0) == ("embargo", "rules-only", Reason.RULE, -1, 7)
    assert rule_for(amount=500.0) == ("big", "champion", Reason.RULE, -1, 7)
    assert rule_for() == ("default", "challenger", Reason.RULE, -1, 7)


@pytest.mark.parametrize("missing", [{"country": None}, {"country": 3}])
def test_a_condition_that_errors_ends_in_the_champion(make, missing):
    """It never falls through to a later rule, so no embargo is skipped for want of a value."""
    project = load(
        make.table(
            make.rule("embargo", when='request.country == "KP"', use="rules-only"),
            make.rule("default", use="challenger"),
        )
    )
    found = decide(project, NOTHING_LIVE, make.request(**missing))

    assert (found.assigned, found.reason, found.rule) == ("champion", Reason.DEFAULT, "")
    assert found.propensities == (("champion", 1.0),)
    assert found.error.startswith("rule embargo: attribute 'country' is ")


def test_where_no_rule_is_met_the_champion_decides(make):
    """A table whose last rule has a condition still answers: champion, reason DEFAULT."""
    project = load(make.table(make.rule("big", when="request.amount > 100.0", use="night")))

    assert decide(project, NOTHING_LIVE, make.request()) == Decision(
        "", "champion", (), (), Reason.DEFAULT, 1.0, (("champion", 1.0),), 0, -1
    )


def test_constant_conditions_are_settled_when_loading(make):
    """A condition that reads nothing is never evaluated again; its rule still has its place."""
    project = load(
        make.table(
            make.rule("never", when="1 > 2", use="night"),
            make.rule("always", when="true", use="challenger"),
            make.rule("default"),
        )
    )

    assert decide(project, NOTHING_LIVE, make.request()).rule == "always"


def test_a_constant_condition_that_reads_a_value_still_needs_it(make):
    """`false && request.amount > 1.0` is always false, and still an error without an amount."""
    project = load(
        make.table(make.rule("odd", when="false && request.amount > 1.0", use="night"), make.rule())
    )

    assert decide(project, NOTHING_LIVE, make.request()).rule == "default"
    assert decide(project, NOTHING_LIVE, make.request(amount=None)).error


@pytest.mark.parametrize("pin", ["challenger", "challenger:3"])
def test_a_pin_passes_by_the_rules(make, pin):
    """A pin, by name or by label, is served as it is: no rule, no draw, nothing beside it."""
    project = load(make.table(make.rule(fallback=("champion",), holdout=SPACE)))

    assert decide(project, NOTHING_LIVE, make.request(pin=pin)) == Decision(
        "", "challenger", (), (), Reason.PINNED, 1.0, (("challenger", 1.0),), 0, -1
    )


@pytest.mark.parametrize("pin", ["nobody", "challenger:4", "", "challenger:"])
def test_a_pin_of_nothing_is_not_found(make, pin):
    """A pin that names no variant, or another version of one, is the caller's mistake."""
    project = load(make.table(make.rule()))

    with pytest.raises(PointsmanError) as caught:
        decide(project, NOTHING_LIVE, make.request(pin=pin))
    assert caught.value.kind is Kind.NOT_FOUND
    assert "challenger:3" in caught.value.hint


def test_a_kill_switch_wins_over_a_pin(make):
    """Nothing is sent to a variant that is out, whoever asks."""
    project = load(make.table(make.rule()))
    found = decide(project, Live(out=("challenger",)), make.request(pin="challenger:3"))

    assert (found.assigned, found.reason, found.propensity) == ("champion", Reason.KILLED, 1.0)


def test_a_killed_project_is_all_champion(make):
    """Rules, pins, holdouts and conditions that err have no say in a killed project."""
    project = load(make.table(make.rule(when="request.amount > 1.0", use="night")))

    for request in (make.request(), make.request(amount=None), make.request(pin="nobody")):
        assert decide(project, Live(killed=True, out=("night",)), request) == Decision(
            "", "champion", (), (), Reason.KILLED, 1.0, (("champion", 1.0),), 0, -1
        )


def test_only_draws_of_the_killed_variant_say_killed(make):
    """A variant that is out leaves its share to the champion; who was there already stays."""
    split = initial({"champion": 50, "challenger": 30, "night": 20})
    project = load(make.table(make.rule(allocation=split)))
    live = Live(out=("night",))

    for unit in UNITS[:500]:
        before = decide(project, NOTHING_LIVE, make.request(unit=unit))
        found = decide(project, live, make.request(unit=unit))
        if before.assigned == "night":
            assert (found.assigned, found.reason) == ("champion", Reason.KILLED)
        else:
            assert (found.assigned, found.reason) == (before.assigned, Reason.SPLIT)
        assert found.bucket == before.bucket


def test_fallbacks_are_only_those_declared_that_can_answer(make):
    """Fallbacks keep their order, without the assigned variant and those that are out; where none
    is declared there is none."""
    chain = ("night", "challenger", "champion", "rules-only")
    everyone = initial({"challenger": 1})
    project = load(make.table(make.rule(allocation=everyone, fallback=chain)))
    bare = load(make.table(make.rule()))

    def fallbacks(live):
        return decide(project, live, make.request()).fallbacks

    assert fallbacks(NOTHING_LIVE) == ("night", "champion", "rules-only")
    assert fallbacks(Live(out=("night",))) == ("champion", "rules-only")
    assert fallbacks(Live(out=("challenger",))) == ("night", "rules-only")
    assert decide(bare, NOTHING_LIVE, make.request()).fallbacks == ()


def test_fallbacks_stand_by_whatever_sent_a_request_to_the_champion(make):
    """A kill switch, a condition that errs or no match must not cost the declared fallbacks: those
    of the rule that was asked, or of the last rule where none was."""
    project = load(
        make.table(
            make.rule("embargo", when='request.country == "KP"', fallback=("rules-only", "night")),
            make.rule("big", when="request.amount > 100.0", fallback=("champion", "night")),
            make.rule(
                "late", when="request.amount > 9.0", fallback=("night", "champion", "rules-only")
            ),
        )
    )
    killed, night_out = Live(killed=True), Live(out=("night",))

    def found(live=NOTHING_LIVE, **request):
        made = decide(project, live, make.request(**request))
        return made.assigned, made.reason, made.fallbacks

    assert found(killed) == ("champion", Reason.KILLED, ("night", "rules-only"))
    assert found(killed, country=None) == found(killed, pin="night") == found(killed)
    assert found(Live(killed=True, out=("night",))) == ("champion", Reason.KILLED, ("rules-only",))
    assert found(night_out, pin="night") == ("champion", Reason.KILLED, ("rules-only",))
    assert found() == ("champion", Reason.DEFAULT, ("night", "rules-only"))
    assert found(night_out) == ("champion", Reason.DEFAULT, ("rules-only",))
    assert found(country=None) == ("champion", Reason.DEFAULT, ("rules-only", "night"))
    assert found(night_out, country=None) == ("champion", Reason.DEFAULT, ("rules-only",))
    assert found(amount=None) == ("champion", Reason.DEFAULT, ("night",))
    assert found(pin="night") == ("night", Reason.PINNED, ())


def test_shadows_are_never_the_assigned_variant_nor_out(make):
    """A shadow watches another variant's answer; one that is out is not called at all."""
    shadows = tuple(make.shadow(name, SPACE, name) for name in ("challenger", "night"))
    project = load(make.table(make.rule(use="challenger", shadows=shadows)))

    assert decide(project, NOTHING_LIVE, make.request()).shadows == ("night",)
    assert decide(project, Live(out=("night",)), make.request()).shadows == ()
    killed = decide(project, Live(out=("challenger",)), make.request())
    assert (killed.assigned, killed.shadows, killed.bucket) == ("champion", ("night",), -1)


def test_the_champion_cannot_be_out(make):
    """It is what everything falls back to, so a switch on it alone is not heeded."""
    project = load(make.table(make.rule(fallback=("champion",))))
    live = Live(out=("champion",))

    for unit in UNITS[:200]:
        request = make.request(unit=unit)
        assert decide(project, live, request) == decide(project, NOTHING_LIVE, request)


def test_live_states_do_not_leak_into_each_other(make):
    """Whatever was decided before, under however many live states, a decision is the same."""
    project = load(make.table(make.rule()))
    lives_seen = [Live(out=("challenger", f"x{i}")) for i in range(200)]
    fresh = load(make.table(make.rule()))

    for live in [NOTHING_LIVE, *lives_seen, NOTHING_LIVE, Live(), Live(out=("challenger",))]:
        for unit in UNITS[:20]:
            request = make.request(unit=unit)
            assert decide(project, live, request) == decide(load(fresh.table), live, request)


def test_the_bucket_is_the_units_point(make):
    """The recorded bucket finds the arm again in the recorded allocation."""
    project = load(make.table(make.rule(holdout=SPACE // 4)))
    allocation = project.table.rules[0].allocation
    for unit in UNITS[:200]:
        found = decide(project, NOTHING_LIVE, make.request(unit=unit))
        assert found.bucket == hash32("default/p/default#split", unit)
        if found.reason is Reason.SPLIT:
            arm = allocation.arms[bisect_right(allocation.cuts, found.bucket) - 1]
            assert found.assigned == arm
