"""Alerts on a real store: what goes wrong with projects is told, once, with its numbers, and so is
its end; whatever dies or is down in between."""

import pytest
from tests.alerting_world import Alarmed
from tests.controller.rollout_world import MINUTE, SECOND, started


@pytest.fixture
def world(tmp_path):
    made = Alarmed(tmp_path)
    yield made
    made.close()


def rolled_back(world):
    """A harmful challenger, until it is taken back."""
    started(world)
    waited = 0
    while world.phase == "running" and waited < 60:
        world.traffic(50, deny={"challenger": 0.8})
        world.pass_time(SECOND)
        world.tick()
        waited += 1
    assert world.phase == "rolled_back"
    world.serve()


def test_a_harmful_challenger_is_rolled_back_and_people_hear_of_it_and_of_its_end(world):
    """Metric, value, bound, window, n, what was done, and the link; then the end, by itself."""
    rolled_back(world)
    world.watch(MINUTE)

    (message,) = world.receiver.bodies
    (alert,) = message["alerts"]
    assert message["type"] == "alerts.firing"
    assert (alert["event"], alert["kind"], alert["subject"]) == (
        "firing",
        "rolled_back",
        "challenger",
    )
    assert alert["severity"] == "critical"
    assert alert["metric"] == "denied"
    assert alert["bound"] == 0.1
    assert alert["value"] > 0.1
    assert alert["measure"] == "points"
    assert alert["n"] > 20
    assert 0 < alert["window_ms"] <= MINUTE
    assert alert["sentence"] == world.sentences()[-1]
    assert alert["deed"] == (
        "took all traffic from challenger version 2 (from 10 % to 0 %); champion version 1 has it "
        "again"
    )
    assert alert["link"].startswith("https://pointsman.example.com/ui/#/p/default/loan?from=")
    assert "n: " in message["text"]

    world.ask("retry")
    world.watch(MINUTE)

    _, message = world.receiver.bodies
    (end,) = message["alerts"]
    assert message["type"] == "alerts.resolved"
    assert (end["event"], end["id"]) == ("resolved", alert["id"])
    assert world.open() == []
