"""Alerts on a real store: what goes wrong with projects is told, once, with its numbers, and so is
its end; whatever dies or is down in between. Whoever hears of it is a real server that checks each
signature by itself."""

import threading

import msgspec
import pytest
from tests.alerting_world import RECEIVER, Alarmed
from tests.controller.rollout_world import (
    FILE,
    HOUR,
    MINUTE,
    NAME,
    SECOND,
    grown,
    started,
)

from pointsman.controller.delivering import GIVE_UP_MS, LEASE_MS, LONGEST_WAIT_MS
from pointsman.controller.projects import Intent
from pointsman.controller.switches import Switches
from pointsman.domain.errors import PointsmanError
from pointsman.domain.records import OverrideRecord
from pointsman.journal.codec import encode_record
from pointsman.store import alerts

WHY = Intent("ada", "looks odd")


@pytest.fixture
def world(tmp_path):
    made = Alarmed(tmp_path)
    yield made
    assert made.receiver.forged == []
    made.close()


def kill(world, variant="challenger"):
    Switches(world.ledger, world.projects).kill(NAME, variant, WHY)


def lift(world, variant="challenger"):
    Switches(world.ledger, world.projects).lift(NAME, variant, WHY)


def waiting(world):
    with world.ledger.reading() as connection:
        return alerts.standing(connection, RECEIVER)


def test_a_harmful_challenger_is_rolled_back_and_people_hear_of_it_and_of_its_end(world):
    """Metric, value, bound, window, n, what was done, and the link; then the end, by itself."""
    started(world)
    waited = 0
    while world.phase == "running" and waited < 60:
        world.traffic(50, deny={"challenger": 0.8})
        world.pass_time(SECOND)
        world.tick()
        waited += 1
    world.serve()
    world.watch(MINUTE)

    (message,) = world.receiver.bodies
    (alert,) = message["alerts"]
    assert (message["type"], message["severity"]) == ("alerts.firing", "critical")
    assert (alert["event"], alert["kind"]) == ("firing", "rolled_back")
    assert (alert["subject"], alert["metric"], alert["measure"]) == (
        "challenger",
        "denied",
        "points",
    )
    assert alert["bound"] == 0.1
    assert alert["value"] > 0.1
    assert alert["n"] > 20
    assert 0 < alert["window_ms"] <= MINUTE
    assert alert["sentence"] == f"default/{world.sentences()[-1]}"
    assert alert["deed"] == (
        "took all traffic from challenger version 2 (from 10 % to 0 %); champion version 1 has it "
        "again"
    )
    assert alert["link"].startswith("https://pointsman.example.com/ui/#/p/default/loan?from=")
    assert f"n: {alert['n']}" in message["text"]

    world.ask("retry")
    world.watch(MINUTE)

    _, message = world.receiver.bodies
    (end,) = message["alerts"]
    assert message["type"] == "alerts.resolved"
    assert (end["event"], end["id"]) == ("resolved", alert["id"])
    assert world.open() == []


def test_a_kill_switch_is_told_while_it_is_on_and_again_after_hours(world):
    world.serve()
    kill(world)
    world.serve()
    world.watch(MINUTE)
    assert world.heard() == [("firing", "killed")]
    (alert,) = world.receiver.bodies[0]["alerts"]
    assert alert["sentence"] == (
        f"{NAME}: the kill switch of challenger is on, set by ada: looks odd"
    )

    world.watch(9 * HOUR, every=10 * MINUTE)
    assert world.heard() == [("firing", "killed"), *[("still_firing", "killed")] * 2]

    lift(world)
    world.watch(MINUTE)
    assert world.heard()[3:] == [("resolved", "killed")]
    world.watch(HOUR, every=10 * MINUTE)
    assert len(world.heard()) == 4


def test_what_a_gateways_guard_did_is_told_apart(world):
    """As its journal says it, where no worker is on this machine."""
    target = f"{NAME}/challenger"
    told = OverrideRecord(world.clock.ms, target, True, "guard", "denies 80 %, the champion 20 %")
    world.writer.append([encode_record(told)])
    world.ingest()
    world.watch(MINUTE)

    (alert,) = world.receiver.bodies[0]["alerts"]
    assert (alert["kind"], alert["severity"]) == ("variant_out", "critical")
    assert "guard took challenger out: denies 80 %" in alert["sentence"]

    lifted = msgspec.structs.replace(told, set=False, at_ms=world.clock.ms, actor="ada")
    world.writer.append([encode_record(lifted)])
    world.ingest()
    world.watch(MINUTE)
    assert world.heard() == [("firing", "variant_out"), ("resolved", "variant_out")]


def test_a_variant_that_fails_is_told_with_the_share_that_failed(world):
    """Its errors, and that others answered. Over when it is."""
    started(world)
    world.serve()
    for _ in range(25):
        world.traffic(160, errors={"challenger": 0.9})
        world.watch(4 * SECOND)
    world.serve()

    found = {one["kind"]: one for body in world.receiver.bodies for one in body["alerts"]}
    assert set(found) == {"variant_errors", "fallback"}
    errors = found["variant_errors"]
    assert (errors["subject"], errors["bound"], errors["measure"]) == ("challenger", 0.05, "share")
    assert 0.7 < errors["value"] <= 1.0
    assert (errors["window_ms"], errors["n"] >= 100) == (5 * MINUTE, True)
    assert "were answered by a fallback" in errors["deed"]
    assert 0.05 < found["fallback"]["value"] < 0.2

    world.watch(20 * MINUTE, every=MINUTE)
    ended = {kind for event, kind in world.heard() if event == "resolved"}
    assert {"variant_errors", "fallback"} <= ended


def test_versions_that_gateways_refuse_and_gateways_that_are_behind_are_told(world):
    """Not a rollout that is only a moment ahead of its gateways."""
    world.serve()
    kill(world)  # a newer manifest; the project's own table is the same
    lift(world)
    world.watch(MINUTE)
    assert world.open() == []

    world.serve(refused="golden rows differ")
    world.watch(2 * MINUTE)
    assert world.open() == ["not_served"]
    (alert,) = world.receiver.bodies[0]["alerts"]
    assert alert["sentence"] == f"{NAME}: 1 of 1 workers refuse challenger: golden rows differ"

    world.serve()
    world.watch(2 * MINUTE)
    assert world.heard() == [("firing", "not_served"), ("resolved", "not_served")]


def test_evidence_that_cannot_be_believed_is_told(world):
    """Most of the challenger's records are lost: with the e-value, and what it takes."""
    started(world)
    world.grow(minutes=3, n=1_500, lost={"challenger": 0.7})
    world.watch(2 * MINUTE)

    found = [one for body in world.receiver.bodies for one in body["alerts"]]
    (alert,) = [one for one in found if one["kind"] == "sample_ratio"]
    assert alert["metric"].startswith("ln e-value against the shares of units")
    assert alert["value"] >= alert["bound"] > 5
    assert alert["n"] > 1_000
    assert "where" in alert["sentence"]
    assert alert["sentence"].endswith("were expected")


def test_an_alias_that_cannot_be_moved_is_told_and_stays_tried(world):
    started(world)
    world.registry.down = True
    grown(world)
    world.serve()
    for _ in range(12):
        world.pass_time(10 * SECOND)
        world.deeds.others()
        world.alerting.look()
        world.send()
    assert "write_back" in world.open()

    world.registry.down = False
    world.pass_time(10 * MINUTE)
    world.deeds.others()
    world.watch(2 * MINUTE, every=10 * SECOND)
    assert world.registry.written
    assert [pair for pair in world.heard() if pair[1] == "write_back"] == [
        ("firing", "write_back"),
        ("resolved", "write_back"),
    ]


def test_a_rollout_without_data_and_one_that_is_stuck_are_told(world):
    """It is held, and stays so; after a day more than its step asks for, it is stuck as well."""
    world.apply(FILE.replace("cooldown: 0s", "cooldown: 0s\n    noDataDeadline: 30d"))
    started(world)
    for _ in range(20):
        world.serve()
        world.pass_time(20 * SECOND)
        world.tick()
        world.alerting.look()
    assert world.open() == ["missing_data"]

    for _ in range(30):
        world.pass_time(HOUR)
        world.serve()
        world.tick()
        world.alerting.look()
    assert set(world.open()) == {"missing_data", "stuck"}

    world.ask("abort")
    world.serve()
    world.watch(3 * MINUTE)
    assert world.open() == []


def test_what_is_wrong_with_the_installation_is_told_to_everybody(world):
    world.serve()
    world.registries = {"main": "does not answer"}
    world.failing = {"archive": "OSError: no space"}
    world.unreadable = {"w0": "permission denied"}
    world.caught_up_ms = world.clock.ms
    world.watch(4 * MINUTE, every=20 * SECOND)

    assert set(world.open()) == {"registry", "background", "journal", "ingest_lag"}
    assert {body["project"] for body in world.receiver.bodies} == {""}

    world.registries = {"main": ""}
    world.failing = {"archive": ""}
    world.unreadable = {}
    world.caught_up_ms = None
    world.watch(2 * MINUTE)
    assert world.open() == []


def test_a_file_chooses_who_hears_of_what(world):
    said = FILE + "  alerts:\n    receivers: [nobody]\n    rules:\n      killed: {mute: true}\n"
    world.apply(said)
    world.serve()
    kill(world)
    world.watch(MINUTE)
    assert world.open() == []

    world.apply(said.replace("mute: true", "severity: critical"))
    world.serve()
    world.watch(MINUTE)
    assert world.open() == ["killed"]
    assert world.receiver.bodies == []
    (sentence,) = world.alerting.unknown_receivers()
    assert "nobody, and there is no such receiver" in sentence

    world.apply(said.replace("mute: true", f"severity: critical, receivers: [{RECEIVER}]"))
    world.serve()
    world.watch(MINUTE)
    assert world.receiver.bodies[0]["alerts"][0]["severity"] == "critical"


def test_what_a_project_that_is_gone_had_open_is_over(world):
    world.serve()
    kill(world)
    world.watch(MINUTE)
    world.projects.delete(NAME, WHY)
    world.watch(MINUTE)

    assert world.heard() == [("firing", "killed"), ("resolved", "killed")]


def test_a_receiver_that_is_down_is_tried_again_and_hears_all_of_it(world):
    """The message it did not take, with its id, and then one of everything that came meanwhile."""
    world.serve()
    world.receiver.status = 503
    kill(world)
    world.watch(10 * MINUTE, every=15 * SECOND)

    tries = len(world.receiver.seen)
    assert 5 <= tries <= 14, "it waits longer and longer"
    assert len(set(world.receiver.ids)) == 1
    (standing,) = world.deliveries.standing()
    assert (standing["state"], standing["waiting"]) == ("failing", 1)
    assert standing["error"] == f"receiver {RECEIVER} answered with 503"
    assert f"alerts do not reach {RECEIVER}" in world.deliveries.troubles()[0]

    lift(world)
    world.registries = {"main": "away"}
    world.watch(5 * MINUTE, every=15 * SECOND)
    world.receiver.status = 204
    world.watch(LONGEST_WAIT_MS + MINUTE, every=15 * SECOND)

    assert len(set(world.receiver.ids)) == 3
    taken = world.receiver.bodies[-3:]
    told = {(one["event"], one["kind"]) for body in taken for one in body["alerts"]}
    assert told == {("firing", "killed"), ("resolved", "killed"), ("firing", "registry")}
    assert world.deliveries.standing()[0]["state"] == "ok"
    assert world.deliveries.troubles() == []


def test_a_message_is_let_go_when_it_is_refused_as_such_or_after_a_day(world):
    """So that it keeps nothing back; it is counted, and what comes next is sent."""
    world.serve()
    world.receiver.status = 400
    kill(world)
    world.watch(MINUTE)
    assert len(world.receiver.seen) == 3
    assert (waiting(world).waiting, waiting(world).given_up) == (0, 1)

    world.receiver.status = 500
    lift(world)
    world.watch(MINUTE)
    assert waiting(world).waiting == 1
    world.pass_time(GIVE_UP_MS)
    world.send()
    assert (waiting(world).waiting, waiting(world).given_up) == (0, 2)


def test_a_secret_that_cannot_be_used_for_a_while_loses_nothing(world):
    """Whoever puts a wrong address into the file has a day to put it right."""
    world.serve()
    right, world.receiver.url = world.receiver.url, "nonsense"
    kill(world)
    world.watch(2 * MINUTE)
    assert (waiting(world).waiting, waiting(world).given_up) == (1, 0)
    assert "not the address of a webhook" in waiting(world).error

    world.receiver.url = right
    world.watch(5 * MINUTE, every=20 * SECOND)
    assert world.heard() == [("firing", "killed")]


def test_a_restart_forgets_nothing_and_tells_nothing_twice(world):
    world.serve()
    kill(world)
    world.watch(4 * SECOND)
    world.alerting, world.deliveries = world.alerts()  # before it is told
    world.watch(MINUTE)
    world.alerting, world.deliveries = world.alerts()  # after
    world.watch(MINUTE)
    lift(world)
    world.watch(MINUTE)

    assert world.heard() == [("firing", "killed"), ("resolved", "killed")]


def test_whoever_dies_after_sending_is_followed_by_one_who_sends_it_again(world):
    """Not before its lease is over, and with the same id: at least once."""
    world.serve()
    kill(world)
    for _ in range(8):
        world.pass_time(2 * SECOND)
        world.alerting.look()
    with world.ledger.writing() as connection:
        found = alerts.claim(connection, RECEIVER, world.clock.ms, LEASE_MS, LONGEST_WAIT_MS)
    world.deliveries._receivers[RECEIVER].deliver(found.message)  # and dies here

    world.send()
    assert len(world.receiver.seen) == 1
    world.pass_time(LEASE_MS)
    world.send()
    assert world.receiver.ids == [found.id, found.id]


def test_two_controllers_at_once_tell_everything_once(world):
    """Both look and both send, all the time."""
    world.serve()
    kill(world)
    pairs = [world.alerts() for _ in range(2)]
    for _ in range(10):
        world.pass_time(2 * SECOND)
        barrier = threading.Barrier(len(pairs))

        def work(alerting, deliveries, barrier=barrier):
            barrier.wait()
            alerting.look()
            while deliveries.turn(RECEIVER):
                pass

        threads = [threading.Thread(target=work, args=pair) for pair in pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert world.heard() == [("firing", "killed")]


def test_a_test_message_says_so_and_comes_at_once(world):
    assert world.deliveries.test(RECEIVER) == f"{RECEIVER} has taken a test message"
    (body,) = world.receiver.bodies
    assert "this is a test" in body["title"]
    assert [one["event"] for one in body["alerts"]] == ["firing", "resolved"]

    world.receiver.status = 404
    with pytest.raises(PointsmanError, match="answered with 404"):
        world.deliveries.test(RECEIVER)
    with pytest.raises(PointsmanError, match="no receiver 'oncal'") as caught:
        world.deliveries.test("oncal")
    assert caught.value.hint == f"did you mean '{RECEIVER}'?"


def test_what_is_over_for_long_is_forgotten(world):
    world.serve()
    kill(world)
    world.watch(MINUTE)
    lift(world)
    world.watch(MINUTE)
    world.pass_time(alerts.KEPT_MS + HOUR)
    world.alerting.look()

    with world.ledger.reading() as connection:
        assert alerts.resolved(connection, 10) == []
        assert alerts.standing(connection, RECEIVER).sent_ms is None
