"""The rollout loop on a real store: opened, grown, judged, ended, whatever dies in between."""

import time

import pytest
from tests.controller.rollout_world import (
    DAY,
    FILE,
    MINUTE,
    NAME,
    SECOND,
    World,
    grown,
    promoted,
    started,
)

from pointsman.controller.pinned import version_of
from pointsman.controller.projects import Intent
from pointsman.controller.rollout_view import RolloutViews
from pointsman.controller.switches import Switches
from pointsman.domain import artifact
from pointsman.rollout.observation import Role, Verdict
from pointsman.store import audit


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.close()


def test_the_file_gives_the_variant_of_a_rollout_no_traffic(world):
    """The split's weights are initial, and a version has to be rolled out before it gets any."""
    assert world.share() == 0.0
    assert world.tick().state is None
    assert world.share() == 0.0


def test_a_moved_alias_opens_a_rollout_and_is_no_proposal(world):
    """The version is prepared before it is a candidate, and has traffic from its first step on."""
    world.point("challenger", "2")
    assert world.version("challenger") == "1"

    world.tick()

    assert world.phase == "running"
    assert world.aliases.proposals(NAME) == []
    assert (world.share(), world.version("challenger")) == (0.1, "2")


def test_a_good_challenger_grows_step_by_step_and_becomes_the_champion(world):
    """With the alias and the verdict written back, and every step in the history."""
    promoted(world)

    assert (world.version("champion"), world.share()) == ("2", 0.0)
    (source, alias, tags) = world.registry.written[0]
    assert (source, alias) == ("models://main/loan/2", "champion")
    assert tags["pointsman.verdict"] == "succeeded"
    assert "denied" in tags["pointsman.metrics"]
    assert "10 %" in tags["pointsman.traffic"]
    told = "\n".join(world.sentences())
    assert "goes from 0 % to 10 %" in told
    assert "goes from 10 % to 50 %" in told
    assert "champion is version 2 now, was 1" in told


def test_a_harmful_challenger_is_rolled_back_at_its_first_step(world):
    """By itself, with the numbers that decided, as soon as there are enough of them."""
    started(world)
    waited = 0
    while world.phase == "running" and waited < 60:
        world.traffic(50, deny={"challenger": 0.8})
        world.pass_time(SECOND)
        world.tick()
        waited += 1

    assert world.phase == "rolled_back"
    assert world.share() == 0.0
    assert "rolled back from 10 %: denied +" in world.sentences()[-1]
    assert world.told.sentences[-1] == world.sentences()[-1]


@pytest.mark.parametrize("wrong", [{"lost": {"challenger": 0.7}}, {"lie": 0.15}])
def test_evidence_that_cannot_be_believed_holds_a_rollout(world, wrong):
    """Most of the challenger's records are lost, or its propensities are not those it was drawn
    with: no harm is shown, and yet it does not grow."""
    started(world)
    world.grow(minutes=3, n=1_500, **wrong)

    assert (world.phase, world.share()) == ("running", 0.1)
    known = {change.role: change.verdict for change in world.state.verdicts}
    assert known[Role.EVIDENCE] is Verdict.INCONCLUSIVE


def test_two_controllers_at_once_do_not_double_a_step(world):
    """The second one finds another state than it came from, and begins again."""
    world.serve()
    world.point("challenger", "2")
    other = world.controller()
    seen = other._watch.see(NAME, world.clock.ms)
    world.tick()
    number, sentences = world.state.number, world.sentences()

    with pytest.raises(Exception, match="no longer number"):
        other.commit(NAME, seen, other.plan(seen))
    other.tick(NAME)

    assert world.state.number == number
    assert world.sentences() == sentences


def test_what_was_committed_is_done_though_the_controller_died_before(world):
    """The next one publishes it."""
    world.point("challenger", "2")
    seen = world.rollouts._watch.see(NAME, world.clock.ms)
    plan = world.rollouts.plan(seen)
    world.rollouts.commit(NAME, seen, plan)
    assert world.share() == 0.0
    assert "Publish" in world.left()

    world.controller().tick(NAME)
    assert world.share() == 0.1
    world.deeds.others()

    assert world.left() == []


def test_days_without_a_controller_grow_one_step(world):
    """Everything the step waits for has long passed, and still the next one has to be served."""
    started(world)
    world.traffic(1_000)
    world.tick()
    world.pass_time(3 * DAY)
    world.traffic(1_000)

    for _ in range(3):
        world.tick()

    assert world.share() == 0.5
    assert [s for s in world.sentences() if "goes from" in s][-1].count("to 50 %") == 1


def test_undo_after_a_success_brings_the_old_champion_and_the_alias_back(world):
    """Without the registry having to answer for the table."""
    promoted(world)
    world.registry.down = True

    answer = world.ask("undo", reason="worse after all")

    assert answer.accepted
    assert "champion goes back to version 1" in answer.sentence
    assert (world.version("champion"), world.phase) == ("1", "rolled_back")
    assert world.left() == ["SetAlias"]
    world.registry.down = False
    world.pass_time(10 * SECOND)
    world.tick()
    assert world.registry.aliases["champion"] == "1"


def test_a_registry_that_is_down_delays_the_alias_and_nothing_else(world):
    """The champion is served, people are told, and the alias moves when it can."""
    started(world)
    world.registry.down = True
    grown(world)

    assert (world.phase, world.version("champion")) == ("succeeded", "2")
    assert world.left() == ["SetAlias"]
    assert "succeeded" in world.told.sentences[-1]

    world.registry.down = False
    world.aliases.look()
    assert world.aliases.proposals(NAME) == [], "the alias is late, and proposes nothing"
    world.pass_time(10 * 60 * SECOND)
    world.tick()
    assert (world.left(), world.registry.aliases["champion"]) == (["Tell"], "2")
    world.tick()
    assert world.told.sentences[-1].endswith("alias champion points to version 2")


def test_a_registry_that_is_down_does_not_keep_a_rollback_waiting(world):
    """Rolling back asks nobody."""
    started(world)
    world.registry.down = True

    answer = world.ask("abort", reason="a hunch")

    assert answer.accepted
    assert answer.sentence == "loan: aborted at 10 % by ada (a hunch)"
    assert (world.phase, world.share()) == ("rolled_back", 0.0)


def test_a_version_that_cannot_be_served_is_no_candidate(world):
    """It is refused with the reason, and nothing is opened."""
    world.registry.refused.add("2")
    world.point("challenger", "2")

    assert world.tick().state is None
    (refused,) = world.aliases.proposals(NAME)
    assert (refused.state, refused.note) == ("refused", "its golden rows differ")


def test_people_are_told_what_became_of_an_alias(world):
    """Proposed, followed or refused: whatever the registry brought about, once, and as in the
    history."""
    world.point("champion", "2")
    world.apply(
        FILE.replace('"models:/loan@champion"', '"models:/loan@champion", onAliasMove: follow')
    )
    world.point("champion", "3")
    world.registry.refused.add("4")
    world.point("challenger", "4")

    world.tick()
    world.tick()

    followed = world.told.sentences[1]
    assert world.told.types[:3] == ["propose", "follow", "refuse"]
    assert world.told.sentences[0].endswith(
        "models:/loan@champion moved from version 1 to 2; proposed for champion"
    )
    assert "models://main/loan/3" in followed
    assert "challenger stays at version 1: version 4 cannot be served" in world.told.sentences[2]
    assert "refuse" not in world.told.types[3:]


def test_an_alias_that_moves_in_mid_ramp_starts_again_from_nothing(world):
    """The version before loses its traffic, and the new one begins with the first step."""
    started(world)
    world.point("challenger", "3")

    world.tick()

    assert world.state.attempt == 2
    assert world.share() == 0.0
    world.serve()
    world.tick()
    world.tick()
    assert (world.share(), world.version("challenger")) == (0.1, "3")


def test_an_alias_that_moves_back_withdraws_the_version(world):
    """Traffic goes back with it."""
    started(world)
    world.point("challenger", "1")

    world.tick()

    assert (world.phase, world.share()) == ("rolled_back", 0.0)
    assert "withdrawn" in world.sentences()[-1]


def test_applying_another_file_keeps_the_weights_of_a_rollout(world):
    """The same content changes nothing; other content changes what it says, and no weight."""
    started(world)
    assert not world.apply(FILE).changed

    assert world.apply(
        FILE.replace("metadata: {name: loan}", "metadata: {name: loan, owner: me}")
    ).changed
    assert world.share() == 0.1

    world.tick()
    assert (world.share(), world.phase, world.state.attempt) == (0.1, "running", 1)


@pytest.mark.parametrize(
    "change",
    [
        ("age: long", "age: double"),
        ('@challenger"}', '@challenger", decision: {threshold: 0.3}}'),
    ],
)
def test_what_makes_another_version_of_it_starts_from_nothing(world, change):
    """Another input or another threshold: what was judged so far is not what would be served."""
    started(world)
    assert world.apply(FILE.replace(*change)).changed
    assert world.share() == 0.0

    world.tick()
    world.serve()
    world.tick()
    world.tick()

    assert (world.state.attempt, world.phase, world.share()) == (2, "running", 0.1)
    served = next(v for v in world.table.variants if v.name == "challenger")
    manifest = artifact.decode(world.blobs.read(served.artifact))
    assert manifest.features == world.table.features
    assert version_of(served) == world.state.target


def test_a_file_gives_a_new_version_no_traffic_in_mid_ramp(world):
    """Somebody who writes another version down has it rolled out, from nothing."""
    started(world)
    text = FILE.replace("models:/loan@challenger", "models:/loan/3")

    world.apply(text)
    assert (world.share(), world.version("challenger")) == (0.0, "3")
    world.tick()

    assert (world.state.attempt, world.state.opened_by) == (2, "ada")


def test_a_kill_switch_ends_the_rollout(world):
    """Gateways send nothing there already; the rollout follows."""
    started(world)
    Switches(world.ledger, world.projects).kill(NAME, "challenger", Intent("bob", "smoke"))

    world.tick()

    assert (world.phase, world.share()) == ("rolled_back", 0.0)
    assert "kill switch, by bob: smoke" in world.sentences()[-1]


def test_silence_rolls_back_at_its_deadline(world):
    """A challenger with traffic that decides nothing says nothing for itself."""
    started(world)
    for _ in range(13):
        world.pass_time(60 * SECOND)
        world.tick()

    assert world.phase == "rolled_back"
    assert "decision data is missing for 10 min" in world.sentences()[-1]


def test_a_table_that_gateways_refuse_fails_the_version(world):
    """It says nothing of its quality."""
    started(world)
    world.serve(refused="onnxruntime says no")

    world.tick()

    assert (world.phase, world.share()) == ("failed", 0.0)
    assert "gateways refuse challenger version 2: onnxruntime says no" in world.sentences()[-1]


def test_nothing_grows_before_every_gateway_serves_it(world):
    """The step's own time counts from then."""
    world.serve()
    world.point("challenger", "2")
    world.tick()
    world.pass_time(DAY)
    world.traffic(1_000)
    world.tick()
    assert (world.share(), world.state.live_ms) == (0.1, None)

    world.serve()
    world.tick()

    assert world.state.live_ms == world.clock.ms


def test_weights_that_somebody_published_past_the_rollout_are_put_right(world):
    """An undo of a revision brings back its file and no weights."""
    started(world)
    world.projects.undo(NAME, 1, Intent("ada"))
    assert (world.share(), world.version("challenger")) == (0.0, "1")

    world.tick()
    world.tick()

    assert (world.share(), world.version("challenger")) == (0.1, "2")


def test_commands_are_answered_once_and_refusals_say_why(world):
    """In the order they were given."""
    assert world.ask("pause").sentence == "loan: pause refused: no rollout yet"
    started(world)

    assert world.ask("pause", reason="lunch").sentence == "loan: paused at 10 % by ada (lunch)"
    refused = world.ask("approve")
    assert not refused.accepted
    assert refused.sentence == "loan: approve refused: nothing waits for an approval now"
    assert world.ask("resume").accepted
    assert world.state.last_command == 4


def test_a_step_that_waits_for_somebody_is_let_on_by_that_somebody_alone(world):
    """Not by whoever asked for the version, and not without the role."""
    step = "- analysis: {hold: 1m, minDecisions: 20}\n"
    approval = step + "      - approval: {by: approver}\n"
    world.apply(FILE.replace(step, approval, 1))
    started(world)
    world.grow(minutes=3)
    assert world.share() == 0.1

    assert not world.ask("approve", roles=("operator",)).accepted
    assert world.ask("approve", actor="eve", roles=("approver",)).accepted

    assert world.share() == 0.5


def test_a_promoted_version_brings_its_threshold_along(world):
    """It is served as it was judged, until the file says something else about the champion."""
    own = 'challenger: {model: "models:/loan@challenger", decision: {threshold: 0.4}}'
    text = FILE.replace('challenger: {model: "models:/loan@challenger"}', own)
    world.apply(text)
    promoted(world)

    champion = next(v for v in world.table.variants if v.name == "champion")
    assert champion.threshold == 0.4
    assert world.tick().state.phase.value == "succeeded"
    world.apply(text.replace("age: long", "age: double"))
    assert next(v for v in world.table.variants if v.name == "champion").threshold == 0.4


def test_status_says_where_a_rollout_is_and_what_the_evidence_says(world):
    """Phase, step, weight, what it waits for, and one line a criterion."""
    views = RolloutViews(world.ledger, world.rollouts._watch, world.rollouts, world.clock.now_ms)
    assert views.of(NAME)["phase"] == "none"
    started(world)
    world.traffic(300)
    world.tick()
    world.registry.down = True

    shown = views.of(NAME)

    assert (shown["phase"], shown["version"], shown["champion"]) == ("running", "2", "1")
    assert (shown["step"]["number"], shown["step"]["of"], shown["target"]) == (2, 4, 0.1)
    assert shown["step"]["text"] == "step 2 of 4 (analysis)"
    assert shown["waits_for"][0].startswith("time (")
    steps = {one["text"]: one["state"] for one in shown["steps"]}
    assert list(steps.values()) == ["done", "now", "to_come", "to_come", "to_come"]
    assert steps["analysis: 1 min, 20 decisions"] == "now"
    look = shown["next_look"]
    assert look["at_ms"] >= world.clock.ms
    assert look["labels_ms"] is None, "no metric of this project waits for labels"
    assert look["until"][0] == {
        "text": shown["waits_for"][0],
        "at_ms": shown["step"]["since_ms"] + MINUTE,
    }
    assert shown["verdict"] == "inconclusive"
    denied, errors = shown["metrics"]
    assert (denied["metric"], denied["role"], denied["unit"]) == ("denied", "guardrail", "points")
    assert denied["low"] < denied["value"] < denied["high"]
    assert denied["n"] + denied["n_champion"] == 300
    assert errors["bound"] == 0.1
    assert shown["transitions"][-1]["sentence"] == world.sentences()[-1]


def test_looking_changes_nothing(world):
    """However often somebody asks for the status in the middle of it."""
    views = RolloutViews(world.ledger, world.rollouts._watch, world.rollouts, world.clock.now_ms)
    started(world)
    world.traffic(300)
    before, number = world.sentences(), world.state.number

    for _ in range(3):
        views.of(NAME)

    assert (world.sentences(), world.state.number) == (before, number)


def test_people_who_look_read_no_evidence_anew(world, monkeypatch):
    """What the loop read last is shown: a dashboard must not keep the loop from looking."""
    views = RolloutViews(world.ledger, world.rollouts._watch, world.rollouts, world.clock.now_ms)
    started(world)
    world.traffic(300)
    world.tick()
    read = []
    monkeypatch.setattr("pointsman.store.payloads.read_cells", lambda *_: read.append(1) or [])

    shown = views.of(NAME)

    assert sum(one["n"] + one["n_champion"] for one in shown["metrics"]) == 600
    assert read == []


def test_a_busy_machine_keeps_no_project_from_being_looked_at(world, monkeypatch):
    """A project rests by the work a tick was, and a few seconds at most; not by what it waited."""
    looked = []

    def slow(name):
        looked.append(name)
        time.sleep(0.1)

    monkeypatch.setattr(world.rollouts, "tick", slow)
    world.rollouts.turn()
    time.sleep(0.1)
    world.rollouts.turn()

    assert looked == [NAME, NAME]

    worked = iter([0.0, 60.0])
    now = iter([0.0, 0.0, 3.5, 0.0])
    monkeypatch.setattr("time.thread_time", lambda: next(worked, 60.0))
    world.rollouts._rested_at.clear()
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    world.rollouts.turn()
    world.rollouts.turn()

    assert len(looked) == 4


def test_undo_is_about_the_rollout_while_it_has_traffic_or_has_just_succeeded(world):
    """Otherwise it is about the revision, as everywhere."""
    assert not world.rollouts.takes_undo(NAME)
    started(world)
    assert world.rollouts.takes_undo(NAME)
    grown(world)
    assert world.rollouts.takes_undo(NAME)

    world.apply(FILE.replace("age: long", "age: double"))
    assert not world.rollouts.takes_undo(NAME)


def test_what_an_operator_did_is_in_the_audit_log_with_who_and_why(world):
    """Chained like everything else, with the transition as its payload."""
    started(world)
    world.ask("abort", actor="bob (token t1)", reason="complaints")

    with world.ledger.reading() as connection:
        newest = next(e for e in audit.entries(connection, target=NAME) if "abort" in e.action)
        report = audit.verify(connection)
    assert (newest.action, newest.actor) == ("rollout.aborted", "bob (token t1)")
    assert newest.payload["weight_before"] == "10"
    assert report.ok
