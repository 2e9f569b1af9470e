"""Shadow answers beside served ones, first exposures and covariates: what enters which cell."""

from msgspec.structs import replace
from tests.ingest import reading

from pointsman.domain import evidence
from pointsman.domain.evidence import CellKey, Paired
from pointsman.domain.table import SPACE, Shadow
from pointsman.judge.ratio import dense


def cell(world, metric, *, variant="champion", epoch=1, name=""):
    """One cell at noon, or None."""
    found = world.read(reading.cells, "default/loan", "default")
    at = world.now - 2 * 3_600_000
    return found.get(CellKey("default/loan", "default", epoch, at, variant, name, metric))


def watched(world, make, **shadows):
    """The project with these variants as shadows of its rule, for that part of the units."""
    rules = {"default": tuple(Shadow(name, cut, "salt") for name, cut in shadows.items())}
    world.catalog.projects["default/loan"] = replace(make.project, shadowed=rules)


def test_a_pair_is_formed_whichever_half_or_label_comes_first(world, make):
    """A shadow's answer is late, or its label is; the pair knows all three."""
    world.ingest(make.shadow("d1"), make.label("f1", "d1", "no"), stream="w1")
    assert cell(world, "flips/night") is None
    world.ingest(make.decision("d1"))
    world.ingest(make.decision("d2", unit="bert", unit_hash=6), make.label("f2", "d2", "yes"))
    world.ingest(make.shadow("d2"), stream="w1")

    found = cell(world, "flips/night")

    assert (found.flips, found.labelled) == ({2: 2}, {2: 1, 6: 1})
    assert (found.actions, found.labelled_actions) == ([0, 0, 2, 0], [0, 0, 2, 0])
    assert (found.scored, found.shift, found.distance) == (2, -0.5, 0.5)
    assert cell(world, "paired/night") == found
    assert cell(world, "flips/night", name="country=DE") == found


def test_a_corrected_label_moves_its_pair(world, make):
    """It is taken back where it was, and the answers stay paired."""
    world.ingest(make.decision("d1"), make.shadow("d1"), make.label("f1", "d1", "no"))
    world.ingest(make.label("f2", "d1", "yes", at=90_000))

    for family in ("flips", "paired"):
        found = cell(world, f"{family}/night")
        assert (found.flips, found.labelled) == ({2: 1}, {6: 1})


def test_champion_only_rules_are_paired_and_choices_are_not(world, make):
    """Nothing has to be drawn for a pair; but pins and fallbacks are not traffic as it comes."""
    world.ingest(make.decision("d1", reason="RULE", served_reason="RULE"), make.shadow("d1"))
    world.ingest(make.decision("d2", reason="PINNED", served_reason="PINNED"), make.shadow("d2"))
    world.ingest(
        make.decision("d3", served="night", served_reason="FALLBACK", unit_hash=8),
        make.shadow("d3", "dawn"),
    )

    assert cell(world, "flips/night").flips == {2: 1}
    assert cell(world, "flips/dawn") is None


def test_a_shadow_without_an_answer_is_counted_as_such(world, make):
    """It is no agreement and no flip."""
    failed = replace(make.shadow("d1"), probabilities=(), predicted="", action="", error="late")
    world.ingest(make.decision("d1"), failed)

    assert cell(world, "flips/night") == Paired(2, failed=1)
    assert cell(world, "paired/night") is None


def test_a_shadow_of_another_project_is_nobodys_pair(world, make):
    """Ids of decisions can be guessed; evidence cannot be planted."""
    world.ingest(make.decision("d1"), replace(make.shadow("d1"), project="other/loan"))
    world.ingest(make.label("f1", "d1", "yes"))

    assert cell(world, "flips/night") is None


def test_a_unit_is_paired_once_through_epochs_and_changes_of_place(world, make):
    """A ramp moves it from champion to challenger; the same two models saw it before."""
    world.ingest(make.decision("d1"), make.shadow("d1", "challenger"))
    moved = make.decision(
        "d2", at_ms=make.noon + 5, epoch=2, assigned="challenger", served="challenger", version="9"
    )
    world.ingest(moved, replace(make.shadow("d2", "champion"), version="2"))
    world.ingest(make.decision("d3", at_ms=make.noon + 9, version="7"), make.shadow("d3", "dawn"))

    assert cell(world, "flips/champion", variant="challenger", epoch=2).flips == {2: 1}
    assert cell(world, "paired/champion", variant="challenger", epoch=2) is None
    assert cell(world, "paired/challenger").flips == {2: 1}
    assert cell(world, "paired/dawn").flips == {2: 1}


def right_and_all(world):
    """First exposures that were right, and all of them that have a label."""
    found = cell(world, evidence.FIRST_CONFUSION)
    assert not found.by_bucket
    return sum(found.counts[:: found.classes + 1]), sum(found.counts)


def test_an_earlier_decision_takes_the_place_of_the_first(world, make):
    """With what is known of both: events and labels of the one that was second leave."""
    world.ingest(make.decision("d2", at_ms=make.noon + 9), make.label("f2", "d2", "no"))
    assert cell(world, "first/wrong").total[5] == 1.0
    assert right_and_all(world) == (0, 1)
    world.ingest(make.decision("d1", action="allow"), make.label("f1", "d1", "yes"), stream="w1")

    assert cell(world, "first/wrong").n[5] == 1
    assert cell(world, "first/wrong").total[5] == 0.0
    assert right_and_all(world) == (1, 1)
    assert cell(world, "first/denied").total[5] == 0.0
    assert cell(world, evidence.DENIED).n[5] == 2


def test_decisions_without_a_unit_are_all_first(world, make):
    """Each is a unit of its own."""
    world.ingest(*(make.decision(f"d{i}", unit=None, unit_hash=i) for i in range(3)))

    assert sum(cell(world, "first/error").n) == 3


def test_counts_by_unit_bucket_are_the_counts(world, make):
    """Metrics of ratios take their variance between units, and gauges need none of it."""
    for i in range(6):
        world.ingest(
            make.decision(f"d{i}", unit=f"u{i}", unit_hash=i + 64),
            make.label(f"f{i}", f"d{i}", "yes"),
        )
    world.ingest(make.label("again", "d0", "no", at=90_000))

    for metric in (evidence.CONFUSION, evidence.SCORE):
        found = cell(world, metric)
        assert dense(found).sum(axis=0).tolist() == found.counts
        assert dense(found).sum(axis=1)[:7].tolist() == [1, 1, 1, 1, 1, 1, 0]
    gauges = [evidence.decode(blob) for (blob,) in world.all("SELECT payload FROM gauge")]
    assert all(not getattr(gauge, "by_bucket", None) for gauge in gauges)


def test_outcomes_lie_beside_the_champions_score_in_both_arms(world, make):
    """Its own where it served, its shadow's where the challenger did."""
    watched(world, make, champion=SPACE)
    arm = {"assigned": "challenger", "served": "challenger", "version": "9", "unit_hash": 6}
    world.ingest(
        make.decision("d1"), make.decision("d2", **arm), make.shadow("d2", "champion"),
        make.label("f1", "d1", "yes"), make.label("f2", "d2", "no"), make.reward("f3", "d2", 4.0),
    )  # fmt: skip

    one, two = (
        cell(world, "given/champion/correct", variant=v) for v in ("champion", "challenger")
    )
    assert (one.n[5], one.total[5], one.covariate[5], one.cross[5]) == (1, 1.0, 0.75, 0.75)
    assert (two.n[6], two.total[6], two.covariate[6], two.cross[6]) == (1, 0.0, 0.5, 0.0)
    reward = cell(world, "given/champion/reward", variant="challenger")
    assert (reward.n[6], reward.cross[6]) == (1, 2.0)
    assert sum(cell(world, "given/champion/denied").n) == 1


def test_a_part_that_is_shadowed_is_the_same_part_in_both_arms(world, make):
    """Or the arms would not be in the shares that were drawn."""
    watched(world, make, champion=SPACE // 2)
    records = []
    for i in range(200):
        arm = {"assigned": "challenger", "served": "challenger"} if i % 2 else {}
        records.append(make.decision(f"d{i}", unit=f"u{i}", unit_hash=i, **arm))
        if i % 2:
            records.append(make.shadow(f"d{i}", "champion"))
    world.ingest(*records)

    counts = [
        sum(cell(world, "given/champion/denied", variant=v).n) for v in ("champion", "challenger")
    ]
    assert all(30 <= count <= 70 for count in counts)
