"""A harmful challenger while controller and database are stopped: the gateway takes it out."""

import os
import signal
from typing import Any, Final

import pytest
from tests.end_to_end.conftest import Registry, Start
from tests.end_to_end.serving import Serving, database_held, journal
from tests.end_to_end.test_rollout import PEOPLE, register

from pointsman.domain.records import DecisionRecord, OverrideRecord

TARGET: Final = "default/loans/challenger"
MOST: Final = 6000
"""Requests within which the breach must be acted on; half of them have to do in most runs."""
MORE: Final = 400

PROJECT: Final = """
apiVersion: pointsman/v1
kind: Project
metadata: {name: loans}
spec:
  classes: ["<=50K", ">50K"]
  positive: ">50K"
  unit: person
  context: {person: string, region: {type: string, default: north}}
  features: {from: "models:/lending@champion"}
  decision: {deny: [">50K"]}
  variants:
    champion: {model: "models:/lending@champion"}
    challenger: {model: "models:/lending/2", decision: {threshold: 0.001}}
  rules:
    - name: default
      split: {champion: 95, challenger: 5}
  metrics:
    deny-rate: {kind: decision, event: denied, slices: [region]}
    errors: {kind: operational, event: error}
  rollout:
    variant: challenger
    rule: default
    steps:
      - setWeight: 5
      - analysis: {hold: 1d}
      - setWeight: 50
      - analysis: {hold: 1d}
    guardrails:
      - {metric: deny-rate, absolute: 0.01, slices: [region]}
      - {metric: errors, relative: 0.1}
"""


@pytest.fixture
def serving(start: Start, registry: Registry) -> Serving:
    """Two workers; the challenger's threshold is so low that it denies nearly everybody. The
    registry is gone once the rollout is at its first weight."""
    made = start()
    register(registry, "lending")
    made.apply(PROJECT)
    made.wait(lambda: _target(made) == 0.05)
    registry.stop()
    return made


def test_a_challenger_that_denies_everybody_is_out_with_controller_and_database_stopped(
    serving: Serving,
) -> None:
    """The parent's guard sets the switch, no further decision goes there, the journal says why,
    later records have the probabilities in force; and status, history and explain agree once the
    controller is back, also after everything was killed and started again."""
    controller = serving.children()["controller"]
    os.kill(controller, signal.SIGSTOP)
    try:
        before = _until_it_is_out(serving)
        serving.wait(lambda: _asked(serving, _of(before, "challenger")) == {"champion"})
        after = [_ask(serving, f"later-{n}") for n in range(MORE)]
    finally:
        os.kill(controller, signal.SIGCONT)
    serving.wait(lambda: "gateway.kill" in _happened(serving), limit_s=30)
    shown = serving.status("loans")["kill_switches"]
    said = serving.cli("status", "loans").stdout
    history = serving.cli("history", "loans").stdout
    explained = [serving.cli("explain", answer["decision_id"]) for answer in (before[-1], after[0])]
    serving.wait(lambda: serving.status("loans")["rollout"]["phase"] == "rolled_back")
    rolled_back = serving.cli("history", "loans").stdout
    serving.kill()
    serving.start(project="loans")
    restarted = _asked(serving, _of(before, "challenger"))
    lifted = serving.cli(
        "unkill", "loans", "--variant", "challenger", "--local", "--data", str(serving.data)
    )
    serving.wait(lambda: "gateway.unkill" in _happened(serving), limit_s=30)
    serving.stop()
    records = [record for stream in journal(serving.data).values() for record in stream]
    decisions = {r.id: r for r in records if isinstance(r, DecisionRecord)}
    switches = [r for r in records if isinstance(r, OverrideRecord)]
    later = [decisions[answer["decision_id"]] for answer in after]

    assert len(before) < MOST
    assert {answer["variant"] for answer in after} == {"champion"}
    assert {record.live for record in later} == {("challenger",)}
    assert {record.propensities for record in later} == {(("champion", 1.0),)}
    assert {record.reason for record in later} == {"SPLIT", "KILLED"}
    assert {round(decisions[a["decision_id"]].propensity, 9) for a in before[:100]} == {0.95, 0.05}
    assert [(switch["target"], switch["actor"]) for switch in shown] == [(TARGET, "guard")]
    assert f"KILLED {TARGET} by guard" in said
    assert "deny-rate of challenger" in said
    assert "the gateway's guard took challenger out: deny-rate of challenger" in history
    assert "deny-rate of challenger" in rolled_back.partition("rolled back from 5 %")[2]
    assert [done.returncode for done in explained] == [0, 0], explained[0].stdout
    assert restarted == {"champion"}
    assert lifted.returncode == 0
    assert [(r.target, r.set, r.actor) for r in switches] == [
        (TARGET, True, "guard"),
        (TARGET, False, ""),
    ]
    assert switches[0].reason == shown[0]["reason"]


def test_an_abort_at_the_gateway_needs_no_database(serving: Serving) -> None:
    """While nobody can read or write the store, the variant of the rollout is out on every worker,
    though nobody named it; the controller ends the rollout by it once it can, and says why."""
    without = {("champion", "SPLIT"), ("champion", "KILLED")}
    command = ("--local", "--data", str(serving.data))
    with database_held(serving):
        refused = serving.cli("abort", "loans", "--variant", "champion", *command)
        done = serving.cli("abort", "loans", "--reason", "it smells", *command)
        serving.wait(lambda: _answered_by(serving) == without)
        again = serving.cli("abort", "loans", *command)
    serving.wait(lambda: serving.status("loans")["rollout"]["phase"] == "rolled_back")
    told = serving.status("loans")["rollout"]["transitions"][-1]
    nobody = serving.cli("abort", "nothing", *command)

    assert (refused.returncode, done.returncode) == (1, 0), done.stderr
    assert "loans/challenger is taken out" in done.stdout
    assert "before" in again.stdout
    assert told["event"] == "stopped"
    assert "aborted: it smells" in told["sentence"]
    assert nobody.returncode == 1
    assert "no rollout splits its traffic" in nobody.stderr


def _target(serving: Serving) -> float:
    """The challenger's share, as every worker serves it; 0 before its rollout's first weight."""
    found = serving.status("loans")
    if any(worker["digest"] != found["table"]["digest"] for worker in found["table"]["workers"]):
        return -1.0
    arms = found["rules"][0]["arms"]
    shares = (arm["target"] for arm in arms if arm["variant"] == "challenger")
    return round(next(shares, 0.0), 6)


def _until_it_is_out(serving: Serving) -> list[dict[str, Any]]:
    """Answers until the switch is on disk; each of another unit."""
    path = serving.data / "gateway" / "overrides.json"
    answers: list[dict[str, Any]] = []
    while not path.exists() and len(answers) < MOST:
        answers.append(_ask(serving, f"person-{len(answers)}"))
    return answers


def _ask(serving: Serving, unit: str) -> dict[str, Any]:
    number = int(unit.rpartition("-")[2])
    body = {"unit": unit, "context": {}, "features": PEOPLE[number % len(PEOPLE)]}
    status, answer = serving.post("/v1/projects/loans:predict", body)
    assert status == 200, answer
    found: dict[str, Any] = answer
    return found


def _of(answers: list[dict[str, Any]], variant: str) -> list[str]:
    """Units that this variant answered."""
    return [f"person-{n}" for n, answer in enumerate(answers) if answer["variant"] == variant]


def _answered_by(serving: Serving) -> set[tuple[str, str]]:
    """Who answers many units now, and why."""
    answers = [_ask(serving, f"person-{n}") for n in range(MORE)]
    return {(answer["variant"], answer["reason"]) for answer in answers}


def _asked(serving: Serving, units: list[str]) -> set[str]:
    """Who answers these units now."""
    assert units
    return {_ask(serving, unit)["variant"] for unit in units}


def _happened(serving: Serving) -> dict[str, str]:
    """The newest sentence of each kind of event."""
    status, found = serving.admin("GET", "/v1/tenants/default/projects/loans/history")
    assert status == 200, found
    return {entry["action"]: entry["sentence"] for entry in reversed(found["entries"])}
