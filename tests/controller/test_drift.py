"""Drift as a controller sees it: from logged decisions to the sentence people read, and performance
before labels come. Everything is real but time, models and the registry."""

import msgspec
import pytest
from tests.controller.logged_world import FILE, LoggedWorld
from tests.controller.rollout_world import DAY, MINUTE, NAME

from alerting_world import Alarmed
from pointsman.controller.drift_routes import DriftRoutes
from pointsman.controller.drifting import Asked, Drifts
from pointsman.controller.estimates import Estimates
from pointsman.domain.errors import PointsmanError


@pytest.fixture
def world(tmp_path):
    made = LoggedWorld(tmp_path)
    yield made
    made.close()


def column(found, name):
    (one,) = (column for column in found["columns"] if column["name"] == name)
    return one


def test_the_first_decisions_of_a_champion_become_what_later_ones_are_compared_with(world):
    """Until there are enough of them, it says how many are missing."""
    world.log(600)
    waiting = world.drifts.of(NAME, Asked())
    assert waiting["reference"] is None
    assert "first 1,000 decisions of champion version 1; 600 so far" in waiting["waits_for"]

    world.log(500)

    found = world.drifts.of(NAME, Asked("day"))
    reference = found["reference"]
    assert (reference["n"], reference["variant"], reference["version"]) == (1_100, "champion", "1")
    assert "the first 1,100 decisions of champion version 1" in reference["source"]
    names = [column["name"] for column in found["columns"]]
    assert names == ["amount", "country", "age", "predicted class", "score"]


def test_a_shift_is_told_once_with_its_numbers_and_nothing_is_changed(world):
    """Ten quiet days, then everybody is three times as rich and half are somewhere else. The day
    after, people know which inputs moved, by how much, over which limit, of how many."""
    world.day(1_000)
    for _ in range(10):
        world.day()
    assert world.warned() == []

    world.day(richer=3.0, country="MT")
    before = world.projects.current(NAME).number
    world.teller.turn()
    world.teller.turn()

    told = world.warned()
    assert len(told) == 2
    assert sorted(sentence.split(": ")[1].split(" drifted")[0] for sentence in told) == [
        "amount",
        "country",
    ]
    assert all("n=400; nothing was changed" in sentence for sentence in told)
    assert all("population stability index" in sentence for sentence in told)
    assert world.projects.current(NAME).number == before

    found = world.drifts.of(NAME, Asked())
    for name, drifted in (("amount", True), ("country", True), ("age", False), ("score", False)):
        one = column(found, name)
        assert one["drifted"][-1] is drifted, name
        assert not any(one["drifted"][:-1]), name
    assert column(found, "amount")["wasserstein"][-1] > 0.3
    assert column(found, "country")["kolmogorov"][-1] is None


def test_the_two_distributions_behind_a_cell(world):
    world.day(1_000)
    world.day(country="MT")
    at = world.drifts.of(NAME, Asked())["starts"][-1]

    found = world.drifts.column(NAME, Asked(from_ms=at + 5), "country")

    assert found["labels"] == ["DE", "other", "missing"]
    assert found["before"] == [1.0, 0.0, 0.0]
    assert found["now"][1] == pytest.approx(0.5, abs=0.1)
    assert (found["n"], found["at_ms"]) == (400, at)
    with pytest.raises(PointsmanError, match="no column 'nobody'"):
        world.drifts.column(NAME, Asked(from_ms=at), "nobody")
    with pytest.raises(PointsmanError, match="no decisions beside a reference"):
        world.drifts.column(NAME, Asked(from_ms=at - 9 * DAY), "country")


def test_values_that_are_missing_are_a_shift_too(world):
    world.day(1_000)
    world.day(missing=0.4)
    world.teller.turn()

    assert [sentence.split(": ")[1].split(" ")[0] for sentence in world.warned()] == ["age"]


def test_few_units_that_come_often_are_no_shift(world):
    """400 decisions of 12 accounts look like nobody else; 12 is all they are worth."""
    world.day(1_000)
    for _ in range(8):
        world.day(units=12)
    world.teller.turn()

    found = column(world.drifts.of(NAME, Asked()), "amount")
    assert max(found["effective"][1:]) < 20
    assert world.warned() == []
    assert min(found["psi"][1:]) > 0.1, "a fixed limit would have cried every day"


def test_a_day_that_is_not_over_raises_no_alarm(world):
    """It can be seen already; looking at it again and again would cry without end."""
    world.day(1_000)
    world.log(400, richer=5.0)
    world.teller.turn()

    found = column(world.drifts.of(NAME, Asked()), "amount")
    assert found["psi"][-1] > found["limit"][-1]
    assert (found["drifted"], world.warned()) == ([False, False], [])


def test_a_new_champion_is_compared_with_its_own_first_decisions(world):
    """Once it has enough of them; until then what came before is. Going back brings the old one
    back."""
    world.day(1_000)
    first = world.drifts.of(NAME, Asked())["reference"]
    world.point("champion", "2")
    world.log(300)
    assert world.drifts.of(NAME, Asked("hour"))["reference"]["id"] == first["id"]
    world.log(900)
    second = world.drifts.of(NAME, Asked("day"))["reference"]
    assert (second["version"], first["version"]) == ("2", "1")

    world.registry.aliases["champion"] = "1"
    world.aliases.look()
    world.aliases.follow()
    world.pass_time(DAY)
    world.log(100)

    assert world.drifts.of(NAME, Asked("hour"))["reference"]["id"] == first["id"]


def test_nothing_is_counted_twice_by_an_ingester_that_starts_again(world):
    """Counts are in the transaction of the records they count."""
    world.log(1_000)
    world.log(200)
    before = world.drifts.of(NAME, Asked("day"))["columns"][0]["n"]

    world.ingester.close()
    world.ingest()

    assert Drifts(world.ledger, world.projects).of(NAME, Asked("day"))["columns"][0]["n"] == before


def test_performance_is_estimated_before_labels_come_and_held_beside_them(world):
    """Scores that mean what they say: the estimate of a day without labels is what one with labels
    had. Scores that come to mean the opposite: the estimate stays, and labels show it."""
    for _ in range(3):
        world.day(800, label=True)
    world.day(800)
    world.day(800, label=True, honest=False)

    (version,) = Estimates(world.ledger, world.projects).of(NAME)["versions"]
    days = version["days"]

    assert (version["variant"], version["version"], len(days)) == ("champion", "1", 5)
    assert days[0]["estimated"] is None
    assert days[0]["labelled"] == 800
    seen = days[1]["realised"]["accuracy"]["value"]
    guess = days[3]["estimated"]["accuracy"]
    assert (days[3]["realised"], days[3]["labelled"]) == (None, 0)
    assert guess["value"] == pytest.approx(seen, abs=0.05)
    assert guess["low"] < guess["value"] < guess["high"]
    assert days[4]["estimated"]["accuracy"]["low"] > days[4]["realised"]["accuracy"]["high"]


def declared(world, body):
    routes = DriftRoutes(
        world.ledger, world.projects, world.drifts, Estimates(world.ledger, world.projects)
    )
    return routes._declare(NAME, msgspec.json.encode(body), "ada")


def amounts(**changed):
    columns = [
        {
            "name": "amount",
            "kind": "number",
            "counts": [500, 400, 100],
            "edges": [20.0],
            "middles": [10.0, 40.0],
            "deviation": 15.0,
        }
        | changed
    ]
    return {"features": columns, "n": 1_000, "effective": 1_000.0, "source": "training.parquet"}


def test_what_somebody_declares_is_compared_with_instead(world):
    world.day(1_000)

    answer = declared(world, amounts())
    world.log(200)

    assert "compared with training.parquet from now on, n=1,000" in answer["sentence"]
    found = world.drifts.of(NAME, Asked("day"))
    assert (found["reference"]["actor"], found["reference"]["n"]) == ("ada", 1_000)
    assert [column["name"] for column in found["columns"]] == ["amount"]
    assert found["columns"][0]["n"] == [200]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "amout"}, "the project has no feature 'amout'"),
        ({"counts": [1, 2]}, "2 counts, 3 bins"),
        ({"counts": [-1, 2, 3]}, "counts are 0 or more"),
        ({"edges": [5.0, 5.0], "counts": [1, 1, 1, 1]}, "edges ascend"),
        ({"middles": []}, "0 middles, 2 bins"),
        ({"kind": "shape"}, "no profile"),
    ],
)
def test_a_profile_that_is_none_is_refused_with_what_is_wrong(world, changed, message):
    with pytest.raises(PointsmanError) as refused:
        declared(world, amounts(**changed))

    told = [refused.value.message, *map(str, refused.value.violations)]
    assert any(message in text for text in told), told
    assert world.drifts.of(NAME, Asked())["reference"] is None


GROWS = (
    FILE.replace(
        "    champion: {model",
        '    challenger: {model: "models:/loan@challenger"}\n    champion: {model',
    )
    .replace(", onAliasMove: follow", "")
    .replace("{reference: 1000}", "{reference: 1000, onDrift: hold}")
    + """
  rules: [{name: default, split: {champion: 95, challenger: 5}}]
  metrics: {errors: {kind: operational, event: error}}
  rollout:
    variant: challenger
    rule: default
    steps: [{setWeight: 10}, {analysis: {hold: 1m}}]
    guardrails: [{metric: errors, absolute: 0.1}]
    cooldown: 0s
"""
)


def test_a_rollout_waits_where_the_project_wants_it_to(tmp_path):
    """It does not even begin while yesterday drifted; the day after a day without, it does."""
    world = LoggedWorld(tmp_path, GROWS)
    world.day(1_000)
    world.day(richer=4.0)
    world.serve()
    world.teller.turn()
    world.point("challenger", "2")
    world.tick()
    plan = world.tick()

    assert any("without drift (amount)" in hold.text for hold in plan.holds), plan.sentence
    assert (world.phase, world.share()) == ("pending", 0.0)

    world.log(400)
    world.pass_time(DAY)
    world.teller.turn()
    for _ in range(3):
        world.serve()
        world.tick()

    assert (world.phase, world.share()) == ("running", 0.1)
    world.close()


class AlarmedLog(Alarmed, LoggedWorld):
    """Somebody hears of alerts."""


def test_a_drift_is_an_alert_until_a_day_without_one(tmp_path):
    """With index, limit, n and what was done; and one more message when it is over."""
    world = AlarmedLog(tmp_path, FILE)
    world.serve()
    world.day(1_000)
    world.day(richer=3.0)
    world.teller.turn()
    world.watch(MINUTE)

    assert world.open() == ["drift"]
    (alert,) = [one for body in world.receiver.bodies for one in body["alerts"]]
    assert (alert["event"], alert["kind"], alert["n"]) == ("firing", "drift", 400)
    assert alert["value"] > alert["bound"] >= 0.1
    assert alert["metric"] == "population stability index of amount"
    assert "nothing" in alert["deed"]

    world.log(400)
    world.pass_time(DAY)
    world.teller.turn()
    world.watch(MINUTE)

    assert (world.open(), world.heard()[-1]) == ([], ("resolved", "drift"))
    world.close()
