"""`pointsman shadow` and its route: a real controller reads a journal, and says what a shadow is
worth."""

import json
import random
import time
from typing import Any

import pytest

from control_process import ControlProcess, project
from pointsman.decide.hashing import unit_hash
from pointsman.domain.records import DecisionRecord, OutcomeRecord, Record, ShadowRecord
from pointsman.journal.codec import encode_record
from pointsman.journal.writer import Limits, SegmentWriter

HOUR_MS = 3_600_000
CLASSES = ("legit", "fraud")
SHADOWED = [{"name": "default", "use": "champion", "shadow": [{"variant": "challenger"}]}]
SPEC = {
    "rules": SHADOWED,
    "context": {"account": "string", "country": "string"},
    "outcomes": {"label": {"horizon": "1h"}},
    "metrics": {"right": {"kind": "classifier", "of": "accuracy", "slices": ["country"]}},
}
UNITS = 400


class Traffic:
    """Decisions of a project some hours ago, each with the answer of a shadow."""

    def __init__(self, control: ControlProcess, name: str, hours_ago: float) -> None:
        answered = control.call("GET", f"/v1/tenants/default/projects/{name}").json()
        self.digest = answered["table_digest"]
        self.name = name
        self.at_ms = int(time.time() * 1000 - hours_ago * HOUR_MS)

    def decision(self, i: int, served: str, *, deny: bool) -> DecisionRecord:
        score = 0.9 if served == "fraud" else 0.1
        denied = deny and served == "fraud"
        return DecisionRecord(
            id=f"{self.name}-{i}", at_ms=self.at_ms, project=f"default/{self.name}",
            digest=self.digest, table=1, request_id="", unit=f"u{i}", bucket=-1,
            unit_hash=unit_hash(f"u{i}"), context={"country": "DE" if i % 4 else "FR"},
            rule="default", epoch=1, assigned="champion", served="champion", version="constant",
            reason="RULE", served_reason="RULE", propensity=1.0,
            propensities=(("champion", 1.0),), probabilities=(1 - score, score), predicted=served,
            action="deny" if denied else "allow", latency_us=900, cost=0.0, features=b"",
        )  # fmt: skip

    def shadow(self, i: int, said: str, *, deny: bool) -> ShadowRecord:
        score = 0.8 if said == "fraud" else 0.2
        action = "deny" if deny and said == "fraud" else "allow"
        return ShadowRecord(
            f"{self.name}-{i}", self.at_ms, f"default/{self.name}", self.digest, "challenger",
            "constant", (1 - score, score), said, action, 900,
        )  # fmt: skip

    def label(self, i: int, value: str) -> OutcomeRecord:
        at_ms = self.at_ms + 60_000
        return OutcomeRecord(
            f"{self.name}-f{i}", f"{self.name}-{i}", "label", value, at_ms, at_ms, "default"
        )


def written(control: ControlProcess, name: str, records: list[Record]) -> None:
    writer = SegmentWriter(control.data / "journal" / name, name, Limits(low_water_bytes=0))
    for at in range(0, len(records), 100):
        writer.append([encode_record(record) for record in records[at : at + 100]])
    writer.close()


def filled(
    control: ControlProcess, name: str, *, deny: bool = False, hours_ago: float = 5.0,
    label_denied: bool = True,
) -> None:  # fmt: skip
    """400 units; the shadow is right where the champion is wrong, 60 times, and wrong 20 times."""
    declared = {**SPEC, "decision": {"deny": ["fraud"]}} if deny else SPEC
    applied = control.apply(project(name, **declared))
    assert applied.status_code == 200, applied.text
    traffic, dice, records = Traffic(control, name, hours_ago), random.Random(5), []
    kinds = ["won"] * 60 + ["lost"] * 20 + ["both"] * (UNITS - 80)
    for i, kind in enumerate(kinds):
        truth = dice.choice(CLASSES)
        other = CLASSES[1 - CLASSES.index(truth)]
        served, said = {"won": (other, truth), "lost": (truth, other), "both": (truth, truth)}[kind]
        records.append(traffic.decision(i, served, deny=deny))
        records.append(traffic.shadow(i, said, deny=deny))
        if label_denied or not deny or served != "fraud":
            records.append(traffic.label(i, truth))
    written(control, name, records)


def compared(control: ControlProcess, name: str) -> dict[str, Any]:
    """The only comparison, as soon as all of the journal is read."""
    deadline = time.monotonic() + 60
    while True:
        found = control.call("GET", f"/v1/tenants/default/projects/{name}/shadow").json()
        (comparison,) = found["comparisons"]
        settled = comparison["agreement"]["n"] == UNITS and _labelled(control, name)
        if settled or time.monotonic() > deadline:
            assert settled, comparison
            return dict(comparison)
        time.sleep(0.05)


def _labelled(control: ControlProcess, name: str) -> bool:
    answer = control.call("GET", f"/v1/feedback/{name}-f{UNITS - 1}")
    return answer.status_code == 200 or name == "blocks"


@pytest.fixture(scope="module")
def watched(control: ControlProcess) -> dict[str, Any]:
    filled(control, "watched")
    return compared(control, "watched")


def test_a_shadow_that_wins_its_disagreements_is_shown_better(watched: dict[str, Any]) -> None:
    """60 of 80 disagreements on first pairs of units: the sequential McNemar test says so, and
    late labels have scored both alike."""
    accuracy, recall = watched["paired"]

    assert (watched["served"], watched["shadow"]) == ("champion", "challenger")
    assert (accuracy["metric"], accuracy["n"], accuracy["wins"], accuracy["losses"]) == (
        "accuracy", UNITS, 60, 20,
    )  # fmt: skip
    assert accuracy["value"] == pytest.approx(40 / UNITS)
    assert accuracy["verdict"] == "better"
    assert 0 < accuracy["low"] < 40 / UNITS < accuracy["high"]
    assert recall["metric"] == "recall"
    assert recall["n"] < UNITS


def test_flips_shifts_and_slices_are_of_all_pairs(watched: dict[str, Any]) -> None:
    """The matrix adds up, flips say who was right, and slices add up to the whole."""
    assert sum(map(sum, watched["matrix"])) == UNITS
    assert sum(flip["count"] for flip in watched["flips"]) == 80
    assert sum(flip["shadow_right"] for flip in watched["flips"]) == 60
    assert sum(flip["served_right"] for flip in watched["flips"]) == 20
    assert watched["agreement"]["same_class"] == pytest.approx(320 / UNITS)
    assert {part["slice"]: part["n"] for part in watched["slices"]} == {
        "country=DE": 300,
        "country=FR": 100,
    }
    assert watched["shift"]["n"] == UNITS
    assert watched["labels"]["state"] == "open"


def test_labels_that_have_not_had_their_time_say_nothing_yet(control: ControlProcess) -> None:
    """The same answers half an hour ago: flips are shown, nobody is shown better."""
    filled(control, "young", hours_ago=0.5)
    found = compared(control, "young")

    assert sum(map(sum, found["matrix"])) == UNITS
    assert all("missing" in claim and not claim["refused"] for claim in found["paired"])


@pytest.mark.parametrize("labelled", [False, True])
def test_selective_labels_are_said_loudly_and_nothing_is_claimed(
    control: ControlProcess, run: Any, *, labelled: bool
) -> None:
    """Where fraud is denied and only allowed payments get labels, winning counts for nothing; where
    labels are shown to arrive for both actions, it counts."""
    name = "open" if labelled else "blocks"
    filled(control, name, deny=True, label_denied=labelled)
    found = compared(control, name)
    said = run("shadow", name)

    assert said.code == 0
    if labelled:
        assert found["labels"]["state"] == "open"
        assert found["paired"][0]["verdict"] == "better"
        assert "shadow is better" in said.out
        return
    assert found["labels"]["state"] == "selective"
    assert all(claim["refused"] for claim in found["paired"])
    assert all(flip["served_right"] is flip["shadow_right"] is None for flip in found["flips"])
    assert "WARNING SELECTIVE LABELS" in said.err
    assert said.out.count("REFUSED") == 2
    assert "better" not in said.out


def test_the_command_prints_what_the_route_answers(run: Any, watched: dict[str, Any]) -> None:
    """Matrix, flips, slices and the verdict; JSON where it is asked for; nothing of no project."""
    said = run("shadow", "watched")
    told = json.loads(run("shadow", "watched", "-o", "json").out)

    assert told["comparisons"] == [watched]
    for part in ("400 requests answered by both", "country=FR", "[+0.0", "shadow is better"):
        assert part in said.out, said.out
    assert run("shadow", "nowhere").code != 0


def test_a_project_without_shadows_has_nothing_to_compare(
    control: ControlProcess, run: Any
) -> None:
    """And says so."""
    assert control.apply(project("alone")).status_code == 200

    assert "no rule has a shadow" in run("shadow", "alone").out
