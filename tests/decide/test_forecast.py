"""A forecast is what `decide` says of every decision, one by one, and what the log answers."""

from collections import Counter, defaultdict
from random import Random

import pytest

from pointsman.decide.allocation import initial, reallocate
from pointsman.decide.answers import Answered, Logged
from pointsman.decide.engine import decide
from pointsman.decide.forecast import UNITS_KEPT, Replay
from pointsman.decide.hashing import hash64
from pointsman.decide.table import load
from pointsman.domain.decision import Live, Request
from pointsman.domain.table import (
    Attribute,
    AttributeType,
    ProjectTable,
    Rule,
    Runtime,
    Variant,
)

CLASSES = ("ok", "fraud")


def variant(name, version, threshold=0.5, cost=0.0):
    return Variant(
        name,
        version,
        f"models:/loan/{version}",
        version,
        Runtime.ONNX,
        threshold=threshold,
        deny=("fraud",),
        cost_per_request=cost,
    )


def rule(name, allocation=None, use="", when=None, holdout=0):
    return Rule(name, when, use, allocation, f"{name}#split", holdout, "loan#holdout", (), (), 1)


def project(rules, variants=None, number=1):
    variants = variants or (variant("champion", "1"), variant("challenger", "2"))
    return load(
        ProjectTable(
            tenant="default",
            project="loan",
            revision="",
            number=number,
            classes=CLASSES,
            positive="fraud",
            unit="account",
            context=(
                Attribute("country", AttributeType.STRING),
                Attribute("amount", AttributeType.DOUBLE),
            ),
            features=(),
            variants=tuple(variants),
            rules=tuple(rules),
            deadline_ms=100,
        )
    )


def answer(name, version, score, latency_us=1000):
    return Answered(name, version, (1 - score, score), latency_us)


def traffic(table, n, draw, score, shadow=""):
    """n decisions of a table; score: of the variant that served, by (variant, country)"""
    found = []
    versions = {one.name: one.version for one in table.table.variants}
    for number in range(n):
        unit = f"u{draw.randrange(n // 2 + 1)}"
        context = {"country": draw.choice(["DE", "FR", "US"]), "amount": float(draw.randrange(9))}
        served = decide(table, Live(), Request(f"d{number}", unit, context)).assigned
        answers = [answer(served, versions[served], score(served, context, draw))]
        if shadow and shadow != served:
            answers.append(answer(shadow, versions[shadow], score(shadow, context, draw)))
        found.append(
            Logged(f"d{number}", 1000 + number, unit, hash64("", unit), context, "", tuple(answers))
        )
    return found


def by_country(served, context, draw):
    harmful = served == "challenger" and context["country"] == "FR"
    return 0.9 if draw.random() < (0.8 if harmful else 0.1) else 0.1


@pytest.mark.parametrize("seed", range(12))
def test_moves_are_those_of_deciding_each_request_under_both_tables(seed):
    """Counts, flows, units and value at risk equal a slow count by `decide`."""
    draw = Random(seed)
    allocation = initial({"champion": draw.randint(50, 95), "challenger": 5})
    later = reallocate(allocation, {"champion": draw.randint(1, 60), "challenger": 40})
    before = project([rule("default", allocation)])
    after = project(
        [
            rule("big", use="champion", when=f"request.amount > {draw.randint(0, 8)}.0"),
            rule("default", later, holdout=draw.choice([0, 1 << 29])),
        ]
    )
    live = (Live(), Live(out=("challenger",)) if draw.random() < 0.3 else Live())
    logged = traffic(before, 800, draw, by_country)
    replay = Replay(before, after, ["country"], "amount", live)
    for start in range(0, len(logged), 97):
        replay.feed(logged[start : start + 97])
    found = replay.forecast()

    flows, value, units, slices = Counter(), Counter(), defaultdict(bool), Counter()
    for one in logged:
        request = Request(one.id, one.unit, one.context)
        pair = (decide(before, live[0], request).assigned, decide(after, live[1], request).assigned)
        flows[pair] += 1
        value[pair] += one.context["amount"]
        units[one.unit] |= pair[0] != pair[1]
        slices[f"country={one.context['country']}"] += pair[0] != pair[1]
    assert {(f.before, f.after): f.decisions for f in found.flows} == flows
    assert {(f.before, f.after): f.value for f in found.flows} == value
    assert (found.units, found.units_moved) == (len(units), sum(units.values()))
    assert found.moved == sum(n for (a, b), n in flows.items() if a != b)
    assert {one.name: one.moved for one in found.slices} == slices
    assert found.whole.value_moved == sum(n for (a, b), n in value.items() if a != b)


def test_answers_in_the_log_are_taken_as_they_are():
    """Where the variant a decision moves to shadowed it, the shift is exact and has no interval."""
    before = project([rule("default", use="champion")])
    after = project([rule("default", use="challenger")])
    draw = Random(3)
    logged = traffic(before, 600, draw, by_country, shadow="challenger")
    replay = Replay(before, after, ["country"])
    replay.feed(logged)
    found = replay.forecast()
    for one in (found.whole, *found.slices):
        mine = [r for r in logged if not one.name or one.name == f"country={r.context['country']}"]
        old = sum(r.answers[0].probabilities[1] >= 0.5 for r in mine) / len(mine)
        new = sum(r.answers[1].probabilities[1] >= 0.5 for r in mine) / len(mine)
        assert one.sources.known == len(mine)
        assert one.denied.before == pytest.approx(old)
        assert one.denied.after == pytest.approx(new)
        assert one.denied.low == one.denied.shift == one.denied.high
    assert found.slices[0].name == "country=FR"


def test_without_such_an_answer_the_models_own_mean_in_the_slice_stands_for_it():
    """The segment a challenger denies is worst, with an interval that holds the truth."""
    before = project([rule("default", initial({"champion": 80, "challenger": 20}))])
    after = project([rule("default", use="challenger")])
    held = 0
    for seed in range(40):
        replay = Replay(before, after, ["country"])
        replay.feed(traffic(before, 1500, Random(seed), by_country))
        found = replay.forecast()
        worst = found.slices[0]
        assert worst.name == "country=FR"
        assert worst.sources.averaged > worst.sources.kept > 0
        assert worst.sources.unknown == 0
        # 80 % of its decisions move, from a rate of 0.1 to one of 0.8.
        held += worst.denied.low <= 0.8 * 0.7 <= worst.denied.high
    assert held >= 34


def asked(replay, contexts, score):
    """Asks the versions that are wanted, as a plan does."""
    for want in replay.wanted().values():
        for one in want.drawn:
            likely = score(contexts[one.id])
            replay.scored(one, (1 - likely, likely))


def test_a_version_nobody_has_seen_is_unknown_until_it_was_asked():
    """Nothing is guessed of it; answers to logged features then count, as what they are."""
    before = project([rule("default", use="champion")])
    after = project([rule("default", use="champion")], [variant("champion", "9")])
    logged = traffic(before, 300, Random(1), by_country)
    replay = Replay(before, after, ["country"], sample=100)
    replay.feed(logged)
    found = replay.forecast()
    assert found.moved == 0
    assert (found.whole.denied, found.whole.sources.unknown) == (None, 300)
    (want,) = replay.wanted().values()
    assert (want.decisions, len(want.drawn)) == (300, 100)
    contexts = {one.id: one.context for one in logged}
    asked(replay, contexts, lambda context: 0.9 if context["country"] == "US" else 0.1)
    found = replay.forecast()
    assert found.whole.sources.scored == 300
    assert found.slices[0].name == "country=US"
    assert found.slices[0].denied.after == 1.0
    assert found.whole.denied.low < found.whole.denied.shift < found.whole.denied.high
    assert found.whole.latency_us is None


def test_where_all_are_asked_nothing_is_estimated():
    """The sample holds every decision that moves: the shift is exact and has no width."""
    before = project([rule("default", use="champion")])
    after = project([rule("default", use="challenger")], [variant("champion", "1"), NINTH])
    logged = traffic(before, 300, Random(1), by_country)
    replay = Replay(before, after, sample=1000)
    replay.feed(logged)
    contexts = {one.id: one.context for one in logged}
    asked(replay, contexts, lambda context: context["amount"] / 9)
    whole = replay.forecast().whole
    denied = sum(one.context["amount"] / 9 >= 0.5 for one in logged) / 300
    assert whole.denied.low == whole.denied.shift == whole.denied.high
    assert whole.denied.after == pytest.approx(denied)
    assert whole.score.after == pytest.approx(sum(o.context["amount"] / 9 for o in logged) / 300)


NINTH = variant("challenger", "9")


@pytest.mark.parametrize("seed", range(5))
def test_the_sample_is_of_what_moves_and_drawn_alike(seed):
    """Those of lowest hash among decisions the new table in fact sends there, by a slow count; so
    its first part is the smaller sample, and no other decision of the slice is in it."""
    before = project([rule("default", use="champion")])
    after = project(
        [
            rule("easy", use="champion", when="request.amount < 5.0"),
            rule("default", initial({"champion": 50, "challenger": 50})),
        ],
        [variant("champion", "1"), NINTH],
    )
    logged = traffic(before, 900, Random(seed), by_country)
    replays = [Replay(before, after, sample=most) for most in (40, 4000)]
    for replay in replays:
        replay.feed(logged)
    few, all_of_them = (replay.wanted()["challenger"] for replay in replays)

    moved = [
        one
        for one in logged
        if decide(after, Live(), Request(one.id, one.unit, one.context)).assigned == "challenger"
    ]
    lowest = sorted(moved, key=lambda one: hash64("plan#sample", one.id))
    assert [one.id for one in all_of_them.drawn] == [one.id for one in lowest]
    assert few.drawn == all_of_them.drawn[:40]
    assert few.decisions == all_of_them.decisions == len(moved)


def test_a_variant_that_nothing_of_the_sample_fell_to_is_named_all_the_same():
    """One of two new versions would get a single decision: counted, though not drawn."""
    before = project([rule("default", use="champion")])
    after = project(
        [
            rule("rare", use="challenger", when='request.country == "XX"'),
            rule("default", use="champion"),
        ],
        [variant("champion", "8"), NINTH],
    )
    logged = traffic(before, 400, Random(1), by_country)
    rare = max(logged, key=lambda one: hash64("plan#sample", one.id))
    rare.context["country"] = "XX"
    replay = Replay(before, after, sample=50)
    replay.feed(logged)
    wanted = replay.wanted()
    assert {name: (w.decisions, len(w.drawn)) for name, w in wanted.items()} == {
        "champion": (399, 50),
        "challenger": (1, 0),
    }


def test_a_version_is_asked_where_another_rule_sends_it_decisions():
    """Known under one rule, unknown under the next: its mean there would be of other cases."""
    vip = rule("vip", use="champion", when="request.amount > 6.0")
    split = rule("default", initial({"champion": 50, "challenger": 50}))
    before = project([vip, split])
    after = project(
        [rule("vip", use="challenger", when="request.amount > 6.0"), split],
    )
    logged = traffic(before, 1200, Random(2), by_country)
    replay = Replay(before, after, sample=5000)
    replay.feed(logged)
    contexts = {one.id: one.context for one in logged}
    (want,) = replay.wanted().values()
    assert {contexts[one.id]["amount"] for one in want.drawn} == {7.0, 8.0}
    assert replay.forecast().whole.sources.averaged == want.decisions
    asked(replay, contexts, lambda _: 0.9)
    assert replay.forecast().whole.sources.scored == want.decisions


@pytest.mark.parametrize("seed", range(5))
def test_a_mean_is_over_the_rule_that_decisions_come_from(seed):
    """A rule that keeps the easy cases with the champion makes its mean over the slice too low;
    over the rule whose decisions move it is right."""
    easy = rule("easy", use="champion", when="request.amount < 6.0")
    before = project([easy, rule("default", initial({"champion": 90, "challenger": 10}))])
    after = project([easy, rule("default", initial({"champion": 100, "challenger": 0}))])

    def score(served, context, draw):
        hard = context["amount"] >= 6.0
        return 0.9 if draw.random() < (0.8 if hard else 0.05) else 0.1

    replay = Replay(before, after, ["country"])
    replay.feed(traffic(before, 9000, Random(seed), score))
    found = replay.forecast()
    for one in (found.whole, *found.slices):
        # Both answer alike, so moving back changes nothing, whatever the slice's mean is.
        assert one.denied.low <= 0.0 <= one.denied.high
        assert abs(one.denied.shift) < 0.02
        assert one.sources.averaged == one.moved > 0


def test_a_promoted_version_keeps_its_past():
    """The challenger's answers are known of the champion it becomes, whatever its name was."""
    before = project([rule("default", initial({"champion": 50, "challenger": 50}))])
    after = project(
        [rule("default", use="champion")], [variant("champion", "2"), variant("challenger", "2")]
    )
    replay = Replay(before, after)
    replay.feed(traffic(before, 400, Random(5), by_country))
    found = replay.forecast()
    challenger = next(f for f in found.flows if f.before == "challenger")
    # Their answers stay; only the name of who gives them changes.
    assert found.whole.sources.kept == challenger.decisions
    assert found.whole.sources.averaged == 400 - challenger.decisions


def test_another_threshold_changes_answers_that_stay_where_they_are():
    """Logged probabilities are read anew; nobody moves, and the deny rate does."""
    before = project([rule("default", use="champion")], [variant("champion", "1", 0.5)])
    after = project([rule("default", use="champion")], [variant("champion", "1", 0.05, cost=2.0)])
    replay = Replay(before, after)
    replay.feed(traffic(before, 200, Random(2), by_country))
    found = replay.forecast()
    assert found.moved == 0
    assert found.whole.denied.after == 1.0
    assert found.whole.denied.shift == found.whole.denied.low
    assert found.whole.sources.known == 200
    assert found.whole.cost == (0.0, 2.0)


def test_of_very_many_units_a_sample_by_hash_is_followed(monkeypatch):
    """Memory stays bounded, and the share that moves is that of the sample."""
    monkeypatch.setattr("pointsman.decide.forecast.UNITS_KEPT", 500)
    assert UNITS_KEPT > 500
    before = project([rule("default", initial({"champion": 100, "challenger": 0}))])
    after = project([rule("default", initial({"champion": 70, "challenger": 30}))])
    replay = Replay(before, after)
    replay.feed(traffic(before, 8000, Random(4), by_country))
    found = replay.forecast()
    assert found.units <= 500
    assert found.unit_share < 0.25
    assert found.units_share == pytest.approx(0.3, abs=0.09)


def test_a_pin_to_a_variant_that_goes_is_counted():
    """Requests the new table would refuse are named."""
    before = project([rule("default", use="champion")])
    after = project([rule("default", use="champion")], [variant("champion", "1")])
    one = Logged("d", 1, "u", 1, {"country": "DE", "amount": 1.0}, "challenger", ())
    replay = Replay(before, after)
    replay.feed([one])
    found = replay.forecast()
    assert (found.refused, found.moved, found.flows[0].after) == (1, 1, "(refused)")
