"""What becomes of feedback, told as stories: early, late, corrected, doubled, mistaken."""

import math

import pytest
from tests.ingest import reading

from pointsman.controller import join
from pointsman.domain.evidence import CORRECT, CellKey
from pointsman.domain.records import OutcomeRecord
from pointsman.store import ingestion


def cell(world, metric, slice_name=""):
    """The payload of the one cell of a metric; None where there is none."""
    found = world.read(reading.cells, "default/loan", "default")
    matching = [p for k, p in found.items() if (k.metric, k.slice) == (metric, slice_name)]
    assert len(matching) <= 1
    return matching[0] if matching else None


def test_a_label_is_applied_to_its_decision(world, make):
    """It becomes what is held to be true, and enters the cells of its decision."""
    world.ingest(make.decision("d1"))
    world.ingest(make.label("f1", "d1", "yes"))

    assert world.states() == {"f1": ["applied"]}
    assert world.held() == {("d1", "label"): "yes"}
    assert cell(world, CORRECT).n[5] == 1
    assert cell(world, CORRECT, "country=DE").total[5] == 1.0


def test_a_label_that_comes_first_waits_for_its_decision(world, make):
    """Streams are read in any order; what is early is kept and joined when its decision comes."""
    world.ingest(make.label("f1", "d1", "yes"), stream="w1")
    assert world.states() == {"f1": ["early"]}
    assert world.held() == {}

    world.ingest(make.decision("d1"))

    assert world.states() == {"f1": ["applied"]}
    assert world.held() == {("d1", "label"): "yes"}
    assert world.all("SELECT count(*) FROM inbox") == [(0,)]


def test_a_label_whose_decision_never_comes_expires_and_is_still_joined_if_it_does(world, make):
    """Nothing is dropped while its row is kept."""
    world.ingest(make.label("f1", "d1", "yes"))
    world.now += 8 * 24 * make.hour

    assert world.ingester.tick().expired == 1
    assert world.states() == {"f1": ["expired"]}
    assert world.ingester.tick().expired == 0

    world.ingest(make.decision("d1"))

    assert world.states() == {"f1": ["applied"]}


def test_a_label_after_the_horizon_is_late_and_still_counts_in_reports(world, make):
    """Blocks are judged once their labels had time to come; reports show what came later too."""
    world.ingest(make.decision("d1"))
    world.ingest(make.label("f1", "d1", "no", at=make.hour + 1))

    assert world.states() == {"f1": ["late"]}
    assert cell(world, CORRECT).n[5] == 1


def test_a_newer_label_corrects_an_older_one(world, make):
    """The old value is taken back from every cell, the new one added."""
    world.ingest(make.decision("d1"))
    world.ingest(make.label("f1", "d1", "no"))
    assert cell(world, CORRECT).total[5] == 0.0

    world.ingest(make.label("f2", "d1", "yes", at=90_000))

    assert world.states() == {"f1": ["corrected"], "f2": ["applied"]}
    assert world.held() == {("d1", "label"): "yes"}
    assert (cell(world, CORRECT).n[5], cell(world, CORRECT).total[5]) == (1, 1.0)
    assert world.all("SELECT sum(labelled), sum(decisions) FROM traffic") == [(1, 1)]


def test_an_older_label_that_comes_later_changes_nothing(world, make):
    """Registers are ordered by when a thing became known, not by when it was read."""
    world.ingest(make.decision("d1"))
    world.ingest(make.label("f2", "d1", "yes", at=90_000))
    world.ingest(make.label("f1", "d1", "no"))

    assert world.states() == {"f1": ["corrected"], "f2": ["applied"]}
    assert world.held() == {("d1", "label"): "yes"}


def test_the_same_piece_five_times_counts_once(world, make):
    """A caller that hears no answer sends again; it may name no time, and then sends another."""
    world.ingest(make.decision("d1"))
    for moment in range(60_000, 60_005):
        world.ingest(make.label("f1", "d1", "yes", at=moment))

    assert world.states() == {"f1": ["applied"] + ["duplicate"] * 4}
    assert cell(world, CORRECT).n[5] == 1


def test_another_body_under_the_same_id_is_a_conflict_and_the_first_holds(world, make):
    """The one received first counts, wherever it was read."""
    world.ingest(make.decision("d1"), make.decision("d2"))
    world.ingest(make.label("f1", "d1", "no", at=70_000))
    world.ingest(make.label("f1", "d2", "yes", at=50_000), stream="w1")

    assert world.states() == {"f1": ["applied", "conflicting"]}
    assert world.held() == {("d2", "label"): "yes"}
    assert world.all("SELECT sum(labelled) FROM traffic") == [(1,)]


def test_an_id_belongs_to_its_tenant(world, make):
    """Two tenants may use the same ids and never meet."""
    world.ingest(make.decision("d1"), make.decision("d2", project="other/loan"))
    world.ingest(make.label("f1", "d1", "yes"), make.label("f1", "d2", "no", tenant="other"))

    assert world.states() == {"f1": ["applied", "applied"]}


def test_a_label_for_another_tenants_decision_changes_nothing(world, make):
    """Not even if the id was guessed right."""
    world.ingest(make.decision("d1"))
    world.ingest(make.label("f1", "d1", "no", tenant="other"))

    assert world.states() == {"f1": ["wrong_tenant"]}
    assert world.held() == {}
    assert cell(world, CORRECT) is None


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        ("label", "maybe", "no class 'maybe'"),
        ("label", 1.0, "name of a class"),
        ("reward", "yes", "a reward is a number"),
        ("reward", 1e308, "from -1e12 to 1e12"),
        ("cost", math.inf, "a cost is a number"),
        ("cost", math.nan, "a cost is a number"),
    ],
)
def test_a_value_that_cannot_be_one_is_rejected_in_words(world, make, kind, value, why):
    """Statistics stay as they are, and whoever asks hears why."""
    world.ingest(make.decision("d1"))
    at = make.noon + 60_000
    tick = world.ingest(OutcomeRecord("f1", "d1", kind, value, at, at, "default"))

    assert tick.faults == 0
    assert world.states() == {"f1": ["rejected"]}
    assert why in world.all("SELECT note FROM feedback")[0][0]
    assert world.held() == {}


def test_a_time_far_in_the_future_is_rejected(world, make):
    """It would win against every correction to come."""
    world.ingest(make.decision("d1"))
    world.ingest(make.label("f1", "d1", "no", at=90 * 24 * make.hour, received=60_000))

    assert world.states() == {"f1": ["rejected"]}


def test_label_reward_and_cost_are_registers_of_their_own(world, make):
    """A reward never replaces a label."""
    world.ingest(make.decision("d1"))
    at = make.noon + 1
    world.ingest(
        make.label("f1", "d1", "yes"),
        make.reward("f2", "d1", 3.5),
        OutcomeRecord("f3", "d1", "cost", 0.25, at, at, "default"),
    )

    assert world.held() == {("d1", "label"): "yes", ("d1", "reward"): 3.5, ("d1", "cost"): 0.25}
    assert cell(world, "reward").total[5] == 3.5
    assert cell(world, "outcome_cost").total[5] == 0.25


def test_a_correction_to_the_same_bucket_leaves_no_rounding_behind(world, make):
    """A reward taken back and given anew: the difference is not lost between two payloads."""
    world.ingest(make.decision("d1"))
    world.ingest(make.reward("f1", "d1", 0.1))
    world.ingest(make.reward("f2", "d1", 0.7, at=90_000))

    assert cell(world, "reward").n[5] == 1
    assert cell(world, "reward").total[5] == pytest.approx(0.7)


def test_only_splits_are_evidence_and_everything_is_traffic(world, make):
    """A champion-only rule never enters a control; `status` shows it all the same."""
    world.ingest(make.decision("d1", reason="RULE", served_reason="RULE"))
    world.ingest(make.label("f1", "d1", "yes"))

    assert world.read(reading.cells, "default/loan", "default") == {}
    assert world.all("SELECT reason, decisions, labelled FROM traffic") == [("RULE", 1, 1)]
    metrics = {m for (m,) in world.all("SELECT metric FROM gauge")}
    assert metrics == {"brier", "confusion", "correct", "latency", "log_loss", "score"}


def test_a_cell_is_about_the_variant_assigned_and_a_gauge_about_the_one_that_served(world, make):
    """Intention to treat for judging; what users met for reports."""
    world.ingest(
        make.decision("d1", assigned="challenger", served="champion", served_reason="FALLBACK")
    )

    found = world.read(reading.cells, "default/loan", "default")
    key = CellKey("default/loan", "default", 1, make.noon, "challenger", "", "error")
    assert found[key].total[5] == 1.0
    assert {v for (v,) in world.all("SELECT variant FROM gauge")} == {"champion"}


def test_a_decision_without_an_answer_has_no_prediction_to_label(world, make):
    """`:decide` asks who, not what: its label is kept and counted, and judges nobody."""
    world.ingest(make.decision("d1", probabilities=(), predicted="", action=""))
    world.ingest(make.label("f1", "d1", "yes"))

    assert world.held() == {("d1", "label"): "yes"}
    assert cell(world, CORRECT) is None
    assert sum(cell(world, "error").n) == 0


def test_a_sender_hears_what_became_of_a_piece(world, make):
    """A state, and a sentence for people."""
    world.ingest(make.decision("d1"), make.label("f1", "d1", "maybe"))
    world.ingest(make.label("f2", "d1", "no"), make.label("f3", "d1", "yes", at=70_000))

    pieces = world.read(ingestion.pieces_by_decision, ["d1"])["d1"]
    answers = {p.id: join.answer(p, world.now) for p in pieces}

    assert answers == {
        "f1": ("rejected", "the project has no class 'maybe'"),
        "f2": ("corrected", "newer feedback of the same kind replaces it: f3"),
        "f3": ("applied", "it is what is held to be true about its decision"),
    }


def test_a_sender_cannot_learn_of_another_tenants_decisions(world, make):
    """A guess that hits sounds like one that misses, at any time."""
    world.ingest(make.decision("d1"))
    world.ingest(
        make.label("hit", "d1", "no", tenant="other"),
        make.label("miss", "d2", "no", tenant="other"),
    )
    for wait in (0, 8 * 24 * make.hour):
        world.now += wait
        world.ingester.tick()
        found = world.read(ingestion.pieces_by_decision, ["d1", "d2"])
        hit, miss = (join.answer(found[d][0], world.now) for d in ("d1", "d2"))
        assert hit == miss
