"""Whether evidence can be believed, from a store that the ingester filled from a journal."""

import random

import pytest
from msgspec.structs import replace
from tests.ingest import reading

from pointsman.controller.soundness import health
from pointsman.domain.evidence import BLOCK_MS, block_of
from pointsman.judge.assess import judge
from pointsman.judge.event import EventState
from pointsman.judge.kinds import Events
from pointsman.judge.mean import Tuning
from pointsman.judge.sample_ratio import Coverage, Draws, RatioState, Stage
from pointsman.judge.verdict import Code, Criteria, Criterion, Evidence, Health, Role, Worse

SHARES = (0.1, 0.9)


def read(world, *epochs, matured_until=None, challenger="challenger"):
    until = world.now if matured_until is None else matured_until
    return world.read(
        health, "default/loan", "default", epochs or (1,), until, challenger=challenger
    )


def arm(name):
    return {"assigned": name, "served": name, "version": {"champion": "2"}.get(name, "9")}


def units(make, count, name="champion", start=0, **changes):
    """One decision of each unit, all of one variant."""
    return [
        make.decision(f"{name}{i}", unit=f"{name}{i}", unit_hash=hash_of(name, i), **arm(name),
                      **changes)
        for i in range(start, start + count)
    ]  # fmt: skip


def hash_of(name, i):
    return i * 2 + (name == "champion")


def stage(found, which):
    """The only draws of a stage, in the order challenger, champion."""
    (draws,) = found.epochs[0].stages[which].draws
    assert draws.probabilities == SHARES
    return draws.counts


def test_a_unit_counts_once_by_its_first_decision(world, make):
    """However many requests it makes, and whatever comes of the later ones."""
    world.ingest(*units(make, 20), *units(make, 2, "challenger"))
    again = [replace(r, id=f"again-{r.id}", at_ms=r.at_ms + 9) for r in units(make, 20)]
    world.ingest(*again)

    found = read(world)

    assert [stage(found, s) for s in (Stage.ASSIGNED, Stage.SERVED, Stage.LOGGED)] == [(2, 20)] * 3
    assert found.epochs[0].stages[Stage.LABELLED] == RatioState()
    assert found.epochs[0].logged == (Draws(SHARES, (2, 20)),)


def test_each_stage_loses_whom_its_filter_loses(world, make):
    """No answer at all, an answer nobody got, and a record without probabilities."""
    failed = {"served": "", "action": "", "predicted": "", "probabilities": ()}
    records = units(make, 10, "challenger")
    records[0] = replace(records[0], **failed)
    records[1] = replace(records[1], error="withheld: another row of the request failed")
    records[2] = replace(records[2], probabilities=(0.5,))
    records[3] = replace(records[3], served="champion", served_reason="FALLBACK")
    world.ingest(*records, *units(make, 90))
    world.ingest(*(make.label(f"f{i}", f"champion{i}", "no") for i in range(30)))

    found = read(world)

    assert stage(found, Stage.ASSIGNED) == (10, 90)
    assert stage(found, Stage.SERVED) == (8, 90)
    assert stage(found, Stage.LOGGED) == (7, 90)
    assert stage(found, Stage.LABELLED) == (0, 30)


def test_labels_count_once_their_block_has_matured(world, make):
    """Coverage is of matured blocks alone, or young decisions would seem to have lost labels."""
    later = units(make, 5, "challenger", start=100, at_ms=make.noon + BLOCK_MS)
    world.ingest(*units(make, 10), *units(make, 4, "challenger"), *later)
    labels = [make.label(f"f{r.id}", r.id, "no", at=10) for r in later[:3]]
    world.ingest(*labels, make.label("f", "challenger0", "yes", at=10))
    world.ingest(make.label("g", "challenger1", "perhaps", at=10))

    young = read(world, matured_until=block_of(make.noon) + BLOCK_MS)
    old = read(world, matured_until=block_of(make.noon) + 2 * BLOCK_MS)

    assert young.epochs[0].coverage == (Coverage(0.1, 4, 10, 1, 0),)
    assert old.epochs[0].coverage == (Coverage(0.1, 9, 10, 4, 0),)
    assert stage(young, Stage.ASSIGNED) == (9, 10)


def test_a_correction_and_an_earlier_decision_take_back_what_they_replace(world, make):
    """A unit's first decision comes late, in another arm and with no answer; its label moves."""
    world.ingest(*units(make, 3), make.label("f", "champion0", "no", at=10))
    world.ingest(make.label("g", "champion0", "yes", at=20))
    assert stage(read(world), Stage.LABELLED) == (0, 1)

    earlier = make.decision("first", unit="champion0", unit_hash=1, at_ms=make.noon - 7,
                            **arm("challenger"), action="", predicted="")  # fmt: skip
    world.ingest(earlier, stream="w1")

    found = read(world, matured_until=world.now)
    counts = {
        which: tuple(sum(d.counts[i] for d in state.draws) for i in (0, 1))
        for which, state in found.epochs[0].stages.items()
        if state.draws
    }
    assert counts == {Stage.ASSIGNED: (1, 2), Stage.SERVED: (0, 2), Stage.LOGGED: (0, 2)}


def test_nothing_is_a_control_while_a_kill_switch_is_set(world, make):
    """The champion's share of the split is drawn on; beside it nothing is."""
    world.ingest(*units(make, 9), *units(make, 1, "challenger"))
    alone = {"live": ("challenger",), "propensities": (("champion", 1.0),), "propensity": 1.0}
    world.ingest(*units(make, 500, start=50, **alone))
    world.ingest(*units(make, 9, start=700, at_ms=make.noon + 9, epoch=2))

    found = read(world, 1, 2)

    assert [e.epoch for e in found.epochs] == [1, 2]
    assert stage(found, Stage.ASSIGNED) == (1, 9)
    assert [sum(cell.n) for cell in denied(world)] == [1, 9, 9]


def denied(world):
    """Cells of denials: challenger's and champion's, by epoch."""
    cells = world.read(reading.cells, "default/loan", "default")
    return [cells[key] for key in sorted(cells) if (key.metric, key.slice) == ("denied", "")]


def test_units_held_out_are_in_the_audit_and_not_in_the_split(world, make):
    """Logged propensities include the holdout (decision 0003); the split's own shares do not."""
    logged = {"propensities": (("challenger", 0.08), ("champion", 0.92))}
    world.ingest(*units(make, 18, **logged), *units(make, 2, "challenger", **logged))
    held = units(make, 5, start=100, reason="HOLDOUT", served_reason="HOLDOUT", **logged)
    world.ingest(*held, *(replace(r, id=f"b{r.id}", at_ms=r.at_ms + 1) for r in held))

    found = read(world)

    assert stage(found, Stage.ASSIGNED) == (2, 18)
    assert found.epochs[0].logged == (Draws((0.08, 0.92), (2, 23)),)


def test_pins_plain_rules_and_rules_without_a_choice_are_nobodys_sample(world, make):
    """Nothing was drawn, so nothing can be lost."""
    world.ingest(
        *units(make, 3, reason="PINNED"), *units(make, 3, "challenger", reason="RULE"),
        *units(make, 3, start=9, rule="other"),
    )  # fmt: skip
    certain = replace(make.project, shares={"default": (("champion", 1.0),)})
    world.catalog.projects["default/loan"] = certain
    world.ingest(*units(make, 30, start=50, propensities=(("champion", 1.0),)))

    found = read(world)

    assert found.epochs[0].stages[Stage.ASSIGNED] == RatioState()
    assert found.epochs[0].logged == ()
    assert read(world, 7) == Health()


@pytest.mark.parametrize(
    ("lose", "code"),
    [
        ("nothing", None),
        ("decisions", Code.SAMPLE_RATIO),
        ("answers", Code.SAMPLE_RATIO),
        ("labels", Code.LABEL_COVERAGE),
        ("truth", Code.PROPENSITY),
    ],
)
def test_what_one_arm_loses_keeps_a_pass_back(world, make, lose, code):
    """From records to the verdict: a third of the challenger's units, answers or labels is lost, or
    its logged propensity is a lie; where nothing is, nothing alarms."""
    dice, records, labels = random.Random(7), [], []
    for i in range(4_000):
        name = "challenger" if dice.random() < 0.1 else "champion"
        hit = name == "challenger" and dice.random() < 0.33
        record = units(make, 1, name, start=i)[0]
        if lose == "decisions" and hit:
            continue
        if lose == "answers" and hit:
            record = replace(record, served="", action="", predicted="", probabilities=())
        if lose == "truth":
            record = replace(record, propensities=(("challenger", 0.15), ("champion", 0.85)))
        records.append(record)
        if not (lose == "labels" and hit) and dice.random() < 0.9:
            labels.append(make.label(f"f{record.id}", record.id, "no", at=10))
    world.write(*records)
    world.write(*labels, stream="w1")
    world.drain()

    item = Criterion("errors", Role.GUARDRAIL, Worse.HIGHER, 0.1, relative=True, needs_labels=True)
    good = Events((EventState(((0.1, 10, 900),)),), (400, 3_600))
    found = judge(Evidence({item.key: good}, read(world)), Criteria((item,), Tuning(10_000.0)))

    wrong = {Code.SAMPLE_RATIO, Code.LABEL_COVERAGE, Code.PROPENSITY}
    shown = {reason.code for reason in found.reasons} & wrong
    if code is None:
        assert not shown
    else:
        assert code in shown


@pytest.mark.parametrize("seed", range(4))
def test_sums_by_day_are_the_blocks_they_stand_for(world, make, seed):
    """The slow twin: over a week, matured at any block, counted from the blocks themselves."""
    dice, records = random.Random(seed), []
    for i in range(120):
        name = dice.choice(["challenger", "champion"])
        at_ms = make.noon + dice.randrange(7 * 288) * BLOCK_MS
        records += units(make, 1, name, start=i, at_ms=at_ms)
    world.write(*records)
    world.write(*(make.label(f"f{r.id}", r.id, "no", at=7 * 86_400_000) for r in records[::2]))
    world.now = make.noon + 8 * 86_400_000
    world.drain()

    days = [make.noon // 86_400_000 * 86_400_000 + day * 86_400_000 for day in range(9)]
    anywhere = [make.noon + dice.randrange(7 * 288) * BLOCK_MS for _ in range(6)]
    for until in (0, *days, *anywhere):
        found = read(world, matured_until=until)
        over = [r for r in records if block_of(r.at_ms) < block_of(until)]
        known = {r.id for r in records[::2]}
        expected = [sum(r.assigned == a for r in over) for a in ("challenger", "champion")]
        expected += [sum(r.assigned == a and r.id in known for r in over)
                     for a in ("challenger", "champion")]  # fmt: skip
        coverage = (Coverage(0.1, *expected),) if over else ()
        assert found.epochs[0].coverage == coverage, until
