"""What the rollout loop reads: labels, segments, and everything once whoever reads it."""

import threading

import pytest
from tests.controller.rollout_world import FILE, NAME, SECOND, World, started

from pointsman.controller import judging
from pointsman.controller.rollout_view import RolloutViews
from pointsman.store import rollouts


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.close()


def test_a_controller_that_was_restarted_reads_on_where_the_last_one_ended(world):
    """No decision counts twice, and none is left out."""
    started(world)
    world.ask("pause")
    made = []
    for _ in range(4):
        made += world.traffic(200)
        world.tick()
        world.rollouts = world.controller()

    shown = RolloutViews(world.ledger, world.rollouts._watch, world.rollouts, world.clock.now_ms)
    (denied, _) = shown.of(NAME)["metrics"]
    challenger = [record for record in made if record.assigned == "challenger"]
    assert (denied["n"], denied["n_champion"]) == (len(challenger), 800 - len(challenger))


def test_controllers_side_by_side_take_every_step_once(world):
    """Whoever is slower finds the state gone from under it, and looks again."""
    started(world)
    errors = []

    def run(controller):
        for _ in range(25):
            try:
                controller.tick(NAME)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
                errors.append(error)

    for _ in range(25):
        world.serve()
        world.pass_time(20 * SECOND)
        world.traffic(600)
        pair = [threading.Thread(target=run, args=(world.controller(),)) for _ in range(2)]
        for thread in pair:
            thread.start()
        for thread in pair:
            thread.join()
        if world.phase == "succeeded":
            break

    assert errors == []
    assert world.phase == "succeeded"
    told = world.sentences()
    assert len(told) == len(set(told)) == len(world.state.history)
    assert next(s for s in told if "goes from" in s).endswith("goes from 0 % to 10 %")


LABELS = FILE.replace(
    "  metrics:\n",
    "  outcomes: {label: {horizon: 1m}}\n  metrics:\n    right: {kind: classifier, of: accuracy}\n",
).replace(
    "    cooldown: 0s\n",
    "    signals:\n      - {metric: right, atLeast: -0.05}\n    cooldown: 0s\n",
)


def test_a_signal_that_is_broken_holds_and_takes_nothing_back(world):
    """Labels say it is wrong more often, once their horizon is past; nobody is denied by that."""
    world.apply(LABELS)
    started(world)
    for _ in range(36):
        world.serve()
        world.pass_time(20 * SECOND)
        world.traffic(200, label={"challenger": 0.5, "champion": 0.95})
        plan = world.tick()

    assert (world.phase, world.share()) == ("running", 0.5), "labels came after the first step"
    assert "a signal to recover: right -" in plan.sentence


def bounded(of, role):
    """The file with a bound of 0.05 on a classifier metric, as a signal or as a guardrail."""
    text = LABELS.replace("of: accuracy", f"of: {of}")
    if role == "guardrail":
        text = text.replace("    signals:\n", "")
    return text.replace("  unit: account\n", "  unit: account\n  positive: fraud\n")


def run_with(world, text, ticks=26, **traffic):
    """Until it ends, or that often."""
    world.apply(text)
    started(world)
    for _ in range(ticks):
        world.serve()
        world.pass_time(20 * SECOND)
        world.traffic(300, **traffic)
        plan = world.tick()
        if world.phase in {"succeeded", "rolled_back"}:
            break
    return plan


@pytest.mark.parametrize("of", ["accuracy", "balanced_accuracy", "recall", "f1"])
def test_a_challenger_whose_every_answer_is_wrong_is_taken_back_by_a_guardrail(world, of):
    """The labels that are all wrong are few, since it is at the first weight."""
    plan = run_with(world, bounded(of, "guardrail"), label={"challenger": 0.0, "champion": 0.9})

    assert (world.phase, world.share()) == ("rolled_back", 0.0)
    assert "right" in plan.sentence
    assert world.version("champion") == "1"


@pytest.mark.parametrize("of", ["accuracy", "precision", "specificity", "f1"])
def test_a_challenger_whose_every_answer_is_wrong_is_never_promoted(world, of):
    """The signal is broken, and holds."""
    plan = run_with(world, bounded(of, "signal"), label={"challenger": 0.0, "champion": 0.9})

    assert world.phase == "running"
    assert "a signal to recover: right -" in plan.sentence
    assert world.version("champion") == "1"


def test_a_challenger_that_predicts_no_positive_is_not_promoted_on_its_precision(world):
    """It has none, and that is said."""
    plan = run_with(
        world,
        bounded("precision", "signal"),
        deny={"challenger": 0.0},
        label={"challenger": 0.9, "champion": 0.9},
    )

    assert (world.phase, world.share()) == ("running", 0.5)
    assert "keeps the promotion back" in plan.sentence


def test_a_challenger_that_is_always_right_is_promoted(world):
    """Levels of 1 are shown to be within a bound like any other."""
    run_with(world, bounded("accuracy", "guardrail"), label={"challenger": 1.0, "champion": 1.0})

    assert world.phase == "succeeded"


def test_labels_before_their_horizon_say_nothing(world):
    """However many there are."""
    world.apply(LABELS)
    started(world)
    world.traffic(500, label={"challenger": 0.5})
    world.tick()

    with world.ledger.reading() as connection:
        known = judging.decode(rollouts.judging(connection, NAME)[1])
    assert known.outcomes == {}
    assert sum(known.decisions.values()) > 20


def test_harm_to_one_segment_alone_is_found(world):
    """Where the bound is asked for by country: others do not water it down."""
    bound = "{metric: denied, absolute: 0.1"
    world.apply(FILE.replace(bound, bound + ", slices: [country]"))
    started(world)
    for _ in range(40):
        world.serve()
        world.pass_time(SECOND)
        world.traffic(120, deny={"challenger/FR": 0.9})
        world.tick()
        if world.phase == "rolled_back":
            break

    assert world.phase == "rolled_back"
    assert "denied of country=FR +" in world.sentences()[-1]
