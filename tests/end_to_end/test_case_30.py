"""A version that is valid, fast, without errors, and harmful, forced past the plan that shows it.

It denies nearly all men, of whom the champion denies some. At its first answer the database and the
registry go away; what has to hold is that few meet it, for seconds, and that all of it is known
afterwards. The last of the thirty failures Pointsman is designed for; `make demo` shows it to
people.
"""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, cycle, islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import pysqlite3.dbapi2 as sqlite
import pytest
from examples.income import replay
from scipy.stats import binom
from tests.end_to_end import ledger
from tests.end_to_end.conftest import Registry, Start
from tests.end_to_end.serving import Serving, database_held, journal

from pointsman.demo import checks
from pointsman.domain.records import DecisionRecord, Record

HERE: Final = Path(__file__).parent
NAME: Final = "approvals"
FIRST_STEP: Final = 0.05
USERS: Final = 8
USUAL: Final = 600
"""Decisions that a plan has to replay."""
WORKERS: Final = 2
ASKED: Final = 60
"""Requests of which every worker has some, once it is there."""
WITHIN_S: Final = 60.0
SLOW_S: Final = 180.0
"""For whatever a busy machine may take its time over, and which is no part of what is shown."""
CHANCE: Final = 1e-9

PROJECT: Final = """
apiVersion: pointsman/v1
kind: Project
metadata: {name: approvals}
spec:
  classes: ["<=50K", ">50K"]
  positive: ">50K"
  unit: person_id
  context: {person_id: string, sex: string}
  features: {from: "models:/income@champion"}
  decision: {deny: ["<=50K"]}
  variants:
    champion: {model: "models:/income@champion", decision: {threshold: 0.05}}
    challenger: {model: "models:/income@ALIAS", decision: {threshold: 0.05}}
    candidate: {model: "models:/income@mistake", decision: {threshold: 0.05}}
  rules:
    - name: default
      split: {champion: 95, challenger: 5}
      shadow: [{variant: candidate, percent: 50}]
  outcomes:
    label: {horizon: 1h}
  metrics:
    deny-rate: {kind: decision, event: denied, slices: [sex]}
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
      - {metric: deny-rate, absolute: 0.1, slices: [sex]}
      - {metric: errors, absolute: 0.1}
  limits:
    maxDenyShift: 0.1
"""

SHIFT: Final = re.compile(r"sex=Male.* ([\d.]+) % → ([\d.]+) %")
SENTENCE: Final = re.compile(
    r"approvals: rolled back from 5 %: challenger version \d+ was stopped: gateway, by guard: "
    r"deny-rate of challenger( where sex = \w+)? is [\d.]+% \([\d,]+ of [\d,]+ units\), "
    r"that of champion [\d.]+% \([\d,]+ of [\d,]+\); the bound is \+10 points, with confidence"
)
OF_THE_CONTROLLER: Final = re.compile(
    r"approvals: rolled back from 5 %: deny-rate( of sex=\w+)? \+[\d.]+ points, bound \+10\.0, "
    r"n=[\d,]+"
)


class Story(NamedTuple):
    """One run of it. path: of what clients were told, as they wrote it down"""

    serving: Serving
    traffic: ledger.Traffic
    path: Path


@pytest.fixture
def story(start: Start, registry: Registry, mistake: str, tmp_path: Path) -> Iterator[Story]:
    """Usual traffic on a champion alone; the harmful version has been a shadow of some of it, and
    nobody has looked."""
    assert registry.url
    assert mistake
    serving = start()
    file = tmp_path / "project.yaml"
    file.write_text(PROJECT.replace("ALIAS", "champion"))
    serving.apply(file.read_text())
    path = tmp_path / "ledger.jsonl"
    gateway = serving.running.data_url
    with ledger.Traffic(gateway, file, path, USERS, pause_at="challenger") as traffic:
        traffic.wait(lambda answered: answered.total() > USUAL, SLOW_S)
        serving.wait(lambda: _seen(serving) > USUAL)
        yield Story(serving, traffic, path)


def test_a_harmful_version_is_out_within_seconds_with_database_and_registry_gone(
    story: Story,
    registry: Registry,
    record_property: Callable[[str, object], None],
) -> None:
    """Shown by `plan`, refused by the limits, forced through; at its first answer both go. It never
    has more than its first step, and nobody meets it a minute later: on no worker, and not when
    they, or all of Pointsman, are started again. When both are back, the controller takes it back
    by itself; every decision it made is known, and no label that was taken is lost."""
    serving, traffic, path = story
    _forced_through(serving)

    traffic.wait(lambda answered: answered["challenger"] > 0, SLOW_S)
    controller = serving.children()["controller"]
    with database_held(serving):
        registry.stop(0)
        traffic.go_on()
        serving.wait(lambda: _switches(serving), SLOW_S)
        _all_workers_answer_without_it(story)
        out_at = time.monotonic()
        # The controller lives, and knows nothing.
        assert serving.admin("GET", f"/v1/tenants/default/projects/{NAME}/status")[0] == 503
        for everything in (False, True):
            assert serving.children().get("controller") == controller
            _restart(serving, everything=everything)
            traffic.served_since(time.monotonic(), SLOW_S)
            _all_workers_answer_without_it(story)
    registry.launch()
    serving.wait(lambda: _rollout(serving)["phase"] == "rolled_back", SLOW_S)
    assert registry.url
    traffic.end()
    told = _told(path)

    took_s = told.last_met - told.first_met
    record_property("seconds from its first answer to its last", round(took_s, 2))
    print(f"it answered {len(told.met)} of {told.asked}, for {took_s:.2f} s")
    assert took_s < WITHIN_S
    assert told.last_met < out_at
    _exposed_no_more_than_planned(serving, told)
    found = _rollout(serving)
    assert found["target"] == 0.0
    assert SENTENCE.match(found["sentence"]), found["sentence"]
    assert found["sentence"] in serving.cli("history", NAME, "-o", "json").stdout
    assert found["sentence"].partition(": ")[2] in serving.cli("status", NAME).stdout
    _all_is_known(serving, told)


def test_a_harmful_version_is_taken_back_by_the_controller_alone(
    story: Story, record_property: Callable[[str, object], None]
) -> None:
    """The gateway's guard does not look, its process being halted; database and registry are up."""
    serving, traffic, path = story
    _forced_through(serving)

    traffic.wait(lambda answered: answered["challenger"] > 0, SLOW_S)
    parent = serving.running.process.popen.pid
    os.kill(parent, signal.SIGSTOP)
    try:
        traffic.go_on()
        serving.wait(lambda: _rollout(serving)["phase"] == "rolled_back", SLOW_S)
        _all_workers_answer_without_it(story)
        switches = _switches(serving)
    finally:
        os.kill(parent, signal.SIGCONT)
    traffic.end()
    told = _told(path)

    assert not switches
    took_s = told.last_met - told.first_met
    record_property("seconds from its first answer to its last", round(took_s, 2))
    print(f"it answered {len(told.met)} of {told.asked}, for {took_s:.2f} s")
    assert took_s < WITHIN_S
    _exposed_no_more_than_planned(serving, told)
    assert OF_THE_CONTROLLER.match(_rollout(serving)["sentence"]), _rollout(serving)["sentence"]
    _all_is_known(serving, told)


class Told(NamedTuple):
    """What clients were told. met: decisions of the harmful version; the times are monotonic"""

    asked: int
    met: dict[str, dict[str, Any]]
    first_met: float
    last_met: float
    feedback: set[str]


def _told(path: Path) -> Told:
    decisions, feedback = ledger.read(path)
    met = {key: fact for key, fact in decisions.items() if fact["variant"] == "challenger"}
    times = [fact["at"] for fact in met.values()]
    return Told(len(decisions), met, min(times), max(times), set(feedback))


def _forced_through(serving: Serving) -> None:
    """The plan shows what it would do to men; nobody can apply it unseen; somebody forces it."""
    text = PROJECT.replace("ALIAS", "mistake")

    plan = serving.cli("plan", "-f", "-", given=text)
    refused = serving.cli("apply", "-f", "-", "--yes", given=text)
    how = ("--yes", "--force", "--reason", "Friday, 6 p.m.")
    forced = serving.cli("apply", "-f", "-", *how, given=text)

    assert plan.returncode == 2, plan.stderr
    before, after = SHIFT.findall(plan.stdout.partition("WHAT WOULD SHIFT AT 100 %")[2])[0]
    assert float(after) > 90.0
    assert float(before) < 50.0
    assert refused.returncode == 1
    assert "limit" in refused.stderr
    assert forced.returncode == 0, forced.stderr


def _restart(serving: Serving, *, everything: bool) -> None:
    """Kills every worker, or all of Pointsman, and waits for workers that are others."""
    before = _workers(serving)
    if everything:
        serving.kill()
        serving.launch()
    else:
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
    serving.wait(lambda: len(now := _workers(serving)) == WORKERS and now != before, SLOW_S)


def _workers(serving: Serving) -> dict[str, int]:
    found = serving.children().items()
    return {role: pid for role, pid in found if role.startswith("worker-")}


def _all_workers_answer_without_it(story: Story) -> None:
    """Waits until whoever had met it meets another one, on every worker, with no chance of it."""
    met = {fact["unit"] for fact in _told(story.path).met.values()}
    known = replay.people(replay.Shape(NAME, "person_id", ("sex",)))
    people = [person for person in known if person.unit in met]
    story.serving.wait(lambda: _agree(story.serving, people), SLOW_S)


def _agree(serving: Serving, people: list[replay.Person]) -> bool:
    """Asks each on a connection of its own, which any worker may take."""
    asked = set()
    for person in islice(cycle(people), ASKED):
        body = {"unit": person.unit, "context": person.context, "features": person.features}
        status, answer = serving.post(f"/v1/projects/{NAME}:predict", body)
        assert status == 200, answer
        if answer["variant"] != "champion":
            return False
        asked.add(answer["decision_id"])
    streams = journal(serving.data).values()
    answered = [[one for one in _decisions(records) if one.id in asked] for records in streams]
    nobody = not any(_chance(one) for records in answered for one in records)
    return nobody and sum(len(records) > 0 for records in answered) == WORKERS


def _exposed_no_more_than_planned(serving: Serving, told: Told) -> None:
    """At no time did it have more of the units than its first step allows, by the draw's own law;
    and nobody was ever drawn with a larger chance."""
    records = [one for stream in journal(serving.data).values() for one in _decisions(stream)]
    drawn = sorted((one for one in records if _chance(one)), key=lambda one: one.at_ms)
    served = {one.id for one in records if one.served == "challenger"}
    assert served == set(told.met)
    assert served <= {one.id for one in drawn}
    assert {round(_chance(one), 6) for one in drawn} == {FIRST_STEP}

    units = {one.unit: one.assigned == "challenger" for one in drawn}
    counts = list(accumulate(units.values()))
    most = binom.isf(CHANCE, range(1, len(counts) + 1), FIRST_STEP)
    assert all(count <= bound for count, bound in zip(counts, most, strict=True))


def _all_is_known(serving: Serving, told: Told) -> None:
    """Decisions of the version, why they were made, labels, and an unbroken record of it all."""
    done = serving.cli("export", NAME, "--rolled-back", "--format", "jsonl", "-o", "-")
    exported = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(line["id"] for line in exported) == sorted(told.met)

    serving.wait(lambda: told.feedback <= _feedback(serving), SLOW_S)
    for decision in islice(told.met, 2):
        explained = serving.cli("explain", decision, "-o", "json")
        assert json.loads(explained.stdout)["equal"], explained.stdout
    serving.wait(lambda: serving.cli("doctor").returncode == 0)
    said = serving.cli("doctor").stdout
    assert "chain holds" in said, said
    serving.stop()
    checked = serving.cli("verify", "--data", str(serving.data))
    assert checked.returncode == 0, checked.stdout


def _decisions(records: Iterable[Record]) -> list[DecisionRecord]:
    wanted = f"default/{NAME}"
    return [one for one in records if isinstance(one, DecisionRecord) and one.project == wanted]


def _chance(record: DecisionRecord) -> float:
    """Of the challenger to be assigned."""
    return dict(record.propensities).get("challenger", 0.0)


def _seen(serving: Serving) -> int:
    return checks.decisions(serving.status(NAME))


def _rollout(serving: Serving) -> dict[str, Any]:
    found: dict[str, Any] = serving.status(NAME)["rollout"]
    return found


def _switches(serving: Serving) -> bool:
    """Whether the gateway has taken it out by itself."""
    path = serving.data / "gateway" / "overrides.json"
    return path.exists() and f"default/{NAME}/challenger" in path.read_text()


def _feedback(serving: Serving) -> set[str]:
    """What the store knows of."""
    store = sqlite.connect(f"file:{serving.data / 'store.db'}?mode=ro", uri=True)
    try:
        return {row[0] for row in store.execute("select distinct id from feedback")}
    finally:
        store.close()
