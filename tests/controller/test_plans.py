"""Plans on a real store: what logged decisions say of a change, its limits, and who may agree."""

from dataclasses import dataclass
from random import Random

import pytest
from tests.controller.rollout_world import DAY, FILE, HOUR, NAME, NOON, World

from pointsman.cli.plan_view import show_replay
from pointsman.controller import plan_view
from pointsman.controller.gate import HeldError
from pointsman.controller.outlook import Window
from pointsman.controller.projects import Intent
from pointsman.decide.allocation import lookup, shares
from pointsman.decide.hashing import hash32, hash64
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.records import DecisionRecord, ShadowRecord
from pointsman.journal.codec import encode_record
from pointsman.spec.load import load_text
from pointsman.store import audit, overview
from pointsman.store.database import reader

LIMITS = "  limits: {maxUnitsMoved: 0.2, maxDenyShift: 0.05, approvals: 1}\n"
PLAIN = (
    FILE.partition("  rollout:")[0]
    .replace("event: denied}", "event: denied, slices: [country]}")
    .replace("country: {type: string, default: DE}", "country: string, amount: double")
)
LIMITED = PLAIN + LIMITS
WIDER = LIMITED.replace("champion: 95, challenger: 5", "champion: 60, challenger: 40")
LITTLE = LIMITED.replace("champion: 95, challenger: 5", "champion: 94, challenger: 6")


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path, LIMITED)
    made.registry.aliases["challenger"] = "2"
    made.projects.repin(
        NAME,
        {"challenger": made.registry.resolve("models:/loan@challenger")},
        "accept",
        Intent("ada"),
    )
    yield made
    made.close()


@dataclass
class Segment:
    """Chance of a denial, by variant."""

    champion: float = 0.1
    challenger: float = 0.1


def traffic(world, n, segments, *, shadow=False):
    """Decisions of fresh units over an hour, as a gateway logs them; maybe with a shadow."""
    draw = Random(11)
    rule, records = world.table.rules[0], []
    revision = world.projects.current(NAME)

    def scores(variant, country):
        denied = draw.random() < getattr(segments[country], variant)
        return (0.1, 0.9) if denied else (0.9, 0.1)

    for number in range(n):
        unit, country = f"u-{number}", draw.choice([*segments])
        assigned = lookup(rule.allocation, hash32(rule.salt, unit))
        floats = scores(assigned, country)
        at_ms = NOON + number * HOUR // n
        records.append(
            DecisionRecord(
                id=f"d-{number}",
                at_ms=at_ms,
                project=NAME,
                digest=revision.table_digest,
                table=revision.number,
                request_id="",
                unit=unit,
                bucket=hash32(rule.salt, unit),
                unit_hash=hash64("", unit),
                context={"account": unit, "country": country, "amount": 10.0},
                rule="default",
                epoch=rule.epoch,
                assigned=assigned,
                served=assigned,
                version=world.version(assigned),
                reason="SPLIT",
                served_reason="SPLIT",
                propensity=shares(rule.allocation)[assigned],
                propensities=(),
                probabilities=floats,
                predicted="fraud" if floats[1] > 0.5 else "ok",
                action="deny" if floats[1] > 0.5 else "allow",
                latency_us=2_000,
                cost=0.0,
                features=b"",
            )
        )
        if shadow and assigned == "champion":
            floats = scores("challenger", country)
            records.append(
                ShadowRecord(
                    f"d-{number}",
                    at_ms,
                    NAME,
                    revision.table_digest,
                    "challenger",
                    world.version("challenger"),
                    floats,
                    "",
                    "",
                    9_000,
                )
            )
    world.writer.append([encode_record(record) for record in records])
    world.clock.ms = NOON + HOUR
    world.ingest()
    return [one for one in records if isinstance(one, DecisionRecord)]


def plan(world, text, actor="ada", window=None):
    (project,) = load_text(text)
    return world.projects.plan(project, Intent(actor), window or Window())


def apply(world, text, actor="ada", **changes):
    (project,) = load_text(text)
    parent = world.projects.current(NAME).number
    return world.projects.apply(project, Intent(actor, parent=parent, **changes))


def refused(world, text, actor="ada", **changes):
    number = world.projects.current(NAME).number
    with pytest.raises(PointsmanError) as caught:
        apply(world, text, actor, **changes)
    assert world.projects.current(NAME).number == number
    return caught.value


def approve(world, digest, actor="bo", reason="looked at it"):
    return world.projects.gate.approve(NAME, digest, actor, reason)


def why_not(world, digest, actor="bo", reason="looked at it"):
    with pytest.raises(PointsmanError) as caught:
        approve(world, digest, actor, reason)
    return caught.value.kind


HARM = {"DE": Segment(), "FR": Segment(challenger=0.9), "US": Segment()}
CALM = {"DE": Segment(), "FR": Segment(), "US": Segment()}


def test_the_segment_a_challenger_denies_is_worst_and_the_limit_is_named(world):
    """Per slice, from answers in the log; the sentence says it before anything is applied."""
    records = traffic(world, 6000, HARM)
    planned = plan(world, WIDER, window=Window(value="amount"))
    change = planned.seen.change
    assert change.decisions == 6000
    worst = change.slices[0]
    assert worst.name == "country=FR"
    # 35 of 100 units of the segment go from a rate of 0.1 to one of 0.9.
    assert worst.denied.low < 0.35 * 0.8 < worst.denied.high
    assert abs(change.slices[1].denied.shift) < 0.05
    assert change.whole.value == pytest.approx(10.0 * len(records))
    assert change.whole.value_moved == pytest.approx(10.0 * change.moved)
    planned = plan(world, WIDER)
    assert ("maxDenyShift", "country=FR") in {one.key for one in planned.standing.over}
    assert ("maxDenyShift", "country=DE") not in {one.key for one in planned.standing.over}
    (project,) = load_text(WIDER)
    told = plan_view.outlook(project, planned.course, planned.seen, planned.standing)
    assert "country=FR" in told["sentence"]
    assert told["limits"]["plan"] == planned.standing.hash
    assert set(told["replay"]["per_day"]) == {"champion", "challenger"}


def test_a_shadows_answers_are_taken_for_the_very_decisions_it_saw(world):
    """What the challenger said beside the champion is known, with no interval around it."""
    traffic(world, 1500, HARM, shadow=True)
    whole = plan(world, WIDER).seen.change.whole
    assert whole.sources.averaged == whole.sources.unknown == 0
    assert whole.sources.known == whole.moved > 0
    assert whole.denied.low == whole.denied.high
    assert whole.latency_us.shift > 0


def test_the_window_is_the_newest_decisions_and_not_those_too_old(world):
    """`last` and `since` bound what is replayed."""
    traffic(world, 600, CALM)
    assert plan(world, LITTLE, window=Window(last=100)).seen.change.decisions == 100
    half = plan(world, LITTLE, window=Window(since_ms=HOUR // 2)).seen.change
    assert 290 <= half.decisions <= 310
    world.clock.ms += 2 * DAY
    assert plan(world, LITTLE).seen.change.decisions == 0
    assert plan(world, LITTLE, window=Window(since_ms=None)).seen.change.decisions == 600


def test_a_change_over_a_limit_waits_for_somebody_elses_approval(world):
    """Refused with its hash; not by the author, not without a reason; then applied."""
    traffic(world, 3000, CALM)
    error = refused(world, WIDER)
    digest = plan(world, WIDER).standing.hash
    assert error.kind is Kind.FORBIDDEN
    assert digest in error.hint
    assert "maxUnitsMoved" in error.violations[0].message
    assert why_not(world, digest, "ada") is Kind.FORBIDDEN
    assert why_not(world, digest, reason=" ") is Kind.INVALID
    assert why_not(world, "f" * 64) is Kind.NOT_FOUND
    refused(world, WIDER)
    approve(world, digest[:16])
    # It is agreed to this change only.
    refused(world, WIDER.replace("60, challenger: 40", "50, challenger: 50"))
    # Nor does one's own approval count for one's own apply.
    refused(world, WIDER, "bo")
    assert apply(world, WIDER).changed


def test_an_approval_is_void_once_another_revision_serves(world):
    """The plan that was agreed to changed another base; so did the one somebody is to agree to."""
    traffic(world, 3000, CALM)
    digest = plan(world, WIDER).standing.hash
    approve(world, digest)
    apply(world, LITTLE)
    refused(world, WIDER)
    assert why_not(world, digest, "cy") is Kind.CONFLICT


def test_as_many_must_agree_as_the_limits_say(world):
    """Two different people for `approvals: 2`, and nobody counts twice."""
    apply(world, LIMITED.replace("approvals: 1", "approvals: 2"))
    wider = WIDER.replace("approvals: 1", "approvals: 2")
    traffic(world, 3000, CALM)
    digest = plan(world, wider).standing.hash
    approve(world, digest)
    approve(world, digest)
    assert "1 of 2" in refused(world, wider).message
    approve(world, digest, "cy")
    assert apply(world, wider).changed


def test_a_worse_effect_than_the_one_agreed_to_is_not_covered(world):
    """Live traffic may show more harm by the time of the apply; then it waits again."""
    traffic(world, 3000, CALM)
    approve(world, plan(world, WIDER).standing.hash)
    # The same decisions again, read with another limit of harm: a segment turns bad.
    records = [
        DecisionRecord(
            **{f: getattr(r, f) for f in r.__struct_fields__}
            | {
                "id": f"late-{r.id}",
                "probabilities": (0.1, 0.9),
            }
        )
        for r in traffic_again(world)
        if r.assigned == "challenger"
    ]
    world.writer.append([encode_record(record) for record in records])
    world.ingest()
    error = refused(world, WIDER)
    assert "maxDenyShift" in " ".join(v.message for v in error.violations)


def traffic_again(world):
    with reader(world.engine).connect() as connection:
        return overview.newest_decisions(connection, NAME, 3000)


def test_limits_are_not_loosened_by_the_file_they_judge(world):
    """Taking them away, or widening them, needs the approval they ask for."""
    traffic(world, 1000, CALM)
    for text in (PLAIN, LIMITED.replace("maxDenyShift: 0.05", "maxDenyShift: 0.5")):
        assert refused(world, text).kind is Kind.FORBIDDEN
    approve(world, plan(world, PLAIN).standing.hash)
    assert apply(world, PLAIN).changed


def test_a_freeze_stops_growth_and_never_a_way_back(world):
    """Within it: no larger share and no other version; less exposure, kill and undo work."""
    text = LIMITED.replace(
        "approvals: 1", "approvals: 1, freeze: [{from: 2025-06-15, to: 2025-06-17, zone: UTC}]"
    )
    apply(world, text)
    error = refused(world, text.replace("95, challenger: 5", "94, challenger: 6"))
    assert "frozen" in error.message
    assert "frozen" in refused(world, text.replace("deny: [fraud]", "deny: [ok]")).message
    assert "frozen" in refused(world, PLAIN).message
    assert apply(world, text.replace("95, challenger: 5", "98, challenger: 2")).changed
    assert world.projects.undo(NAME, None, Intent("ada")).changed
    assert world.share() == 0.05
    world.clock.ms = NOON + 3 * DAY
    assert apply(world, text.replace("95, challenger: 5", "94, challenger: 6")).changed


def test_force_breaks_the_glass_on_record(world):
    """It needs a reason, and the audit log says loudly what was passed."""
    traffic(world, 3000, CALM)
    assert refused(world, WIDER, force=True).kind is Kind.INVALID
    assert apply(world, WIDER, force=True, reason="fire in the other house").changed
    with reader(world.engine).connect() as connection:
        newest = audit.entries(connection, target=NAME, limit=1)[0]
    assert newest.action == "apply.force"
    assert "BY FORCE, past maxUnitsMoved" in newest.sentence
    assert "fire in the other house" in newest.sentence


def test_of_a_new_rollout_the_first_step_moves_and_the_way_is_shown(tmp_path):
    """The rollout owns the weights: 10 % first, and what denials would be at 100 %."""
    text = FILE.replace(
        "- {metric: denied, absolute: 0.1}", "- {metric: denied, absolute: 0.1, slices: [country]}"
    )
    world = World(tmp_path, PLAIN)
    world.registry.aliases["challenger"] = "2"
    world.projects.repin(
        NAME,
        {"challenger": world.registry.resolve("models:/loan@challenger")},
        "accept",
        Intent("ada"),
    )
    traffic(world, 6000, HARM)
    text = text.replace("country: {type: string, default: DE}", "country: string, amount: double")
    planned = plan(world, text)
    assert planned.course.first == 10
    assert planned.seen.change.units_share == pytest.approx(0.05, abs=0.01)
    full = planned.seen.full
    assert full.slices[0].name == "country=FR"
    assert full.slices[0].denied.after == pytest.approx(0.9, abs=0.07)
    (project,) = load_text(text)
    told = plan_view.outlook(project, planned.course, planned.seen, planned.standing)
    assert "at 100 %" in told["sentence"]
    (wait,) = told["replay"]["waits"]
    assert wait["decisions"] > 0
    assert wait["days"] == pytest.approx(wait["decisions"] / 6000 / 24, rel=0.05)


def test_slices_that_a_file_no_longer_declares_are_still_judged(world):
    """Nobody hides a segment by leaving it out of the metrics in the same change."""
    traffic(world, 3000, HARM)
    found = plan(world, WIDER.replace(", slices: [country]", "")).standing.over
    assert ("maxDenyShift", "country=FR") in {one.key for one in found}


def test_who_only_looks_at_a_plan_may_still_agree_to_it(world):
    """The author is who could apply it, not whoever saw it first."""
    traffic(world, 1000, CALM)
    (project,) = load_text(WIDER)
    digest = world.projects.plan(project, Intent(""), Window()).standing.hash
    refused(world, WIDER)
    assert why_not(world, digest, "ada") is Kind.FORBIDDEN
    approve(world, digest)
    assert apply(world, WIDER).changed


def test_a_version_nobody_has_met_is_over_a_limit_of_denials(world):
    """What cannot be told is no reason to let it pass."""
    traffic(world, 500, CALM)
    planned = plan(world, LIMITED.replace("models:/loan@champion", "models:/loan/7"))
    assert planned.seen.change.whole.sources.unknown > 400
    (over,) = planned.standing.over
    assert over.key == ("maxDenyShift", "unknown")


def moved(world, version="3"):
    """The alias of the champion moves; what came of it."""
    world.point("champion", version)
    (newest, *_) = world.aliases.proposals(NAME) or (None,)
    return newest


def champion(world):
    return next(v.source for v in world.table.variants if v.name == "champion")


def test_a_proposal_is_accepted_within_the_limits_only(world):
    """A version nobody has met waits for somebody else, as an apply of it would."""
    traffic(world, 500, CALM)
    proposal = moved(world)
    with pytest.raises(HeldError) as caught:
        world.aliases.accept(NAME, proposal.id, Intent("ada"))
    assert "nobody knows" in caught.value.violations[0].message
    assert [one.state for one in world.aliases.proposals(NAME)] == ["open"]
    digest = caught.value.hint.partition("--plan ")[2].partition(" ")[0]
    assert why_not(world, digest, "ada") is Kind.FORBIDDEN
    approve(world, digest)
    assert world.aliases.accept(NAME, proposal.id, Intent("ada")).changed
    assert champion(world).endswith("/3")


def test_force_accepts_past_the_limits_on_record(world):
    """With a reason, and told as what it is."""
    traffic(world, 500, CALM)
    proposal = moved(world)
    with pytest.raises(PointsmanError) as caught:
        world.aliases.accept(NAME, proposal.id, Intent("ada", force=True))
    assert caught.value.kind is Kind.INVALID
    world.aliases.accept(NAME, proposal.id, Intent("ada", "the old one leaks", force=True))
    with reader(world.engine).connect() as connection:
        entries = audit.entries(connection, target=NAME, limit=2)
    forced = next(entry for entry in entries if entry.action == "accept.force")
    assert "BY FORCE, past maxDenyShift" in forced.sentence


def test_what_is_over_a_limit_is_proposed_where_it_would_be_followed(tmp_path):
    """`follow` goes along within the limits and asks people beyond them."""
    world = World(tmp_path, LIMITED.replace('@champion"', '@champion", onAliasMove: follow'))
    assert moved(world, "2") is None
    assert champion(world).endswith("/2")
    traffic(world, 500, CALM)
    proposal = moved(world)
    assert champion(world).endswith("/2")
    assert (proposal.state, proposal.to_version) == ("open", "3")
    assert "nobody knows" in proposal.note
    world.aliases.look()
    world.aliases.follow()
    assert len(world.aliases.proposals(NAME)) == 1
    world.aliases.accept(NAME, proposal.id, Intent("ada", "seen", force=True))
    assert champion(world).endswith("/3")
    world.close()


def test_a_plan_without_replay_is_no_way_round_the_limits(world):
    """It says nothing of them, and apply looks for itself."""
    traffic(world, 3000, CALM)
    (project,) = load_text(WIDER)
    planned = world.projects.plan(project, Intent("ada"))
    assert (planned.seen, planned.standing) == (None, None)
    assert "maxUnitsMoved" in refused(world, WIDER).violations[0].message


def test_of_a_rollout_units_are_forecast_as_its_split_would_draw_them(tmp_path, capsys):
    """Shares promised and shares given, by unit, within what a fair draw gives."""
    world = World(tmp_path, PLAIN)
    world.registry.aliases["challenger"] = "2"
    version = world.registry.resolve("models:/loan@challenger")
    world.projects.repin(NAME, {"challenger": version}, "accept", Intent("ada"))
    traffic(world, 2000, CALM)
    text = FILE.replace("country: {type: string, default: DE}", "country: string, amount: double")
    planned = plan(world, text)
    (project,) = load_text(text)
    told = plan_view.outlook(project, planned.course, planned.seen, planned.standing)
    found = told["replay"]["sample_ratio"]
    assert dict(found["split"]["shares"]) == pytest.approx({"champion": 0.9, "challenger": 0.1})
    assert sum(found["split"]["units"]) == 2000
    assert found["expected"] == pytest.approx((200, 1800))
    assert found["fair"] is True
    assert found["seen_after"] > 2000
    show_replay(told["replay"])
    assert "as a fair draw gives" in capsys.readouterr().out
    world.close()
