"""The demo's second half: a challenger that earns its traffic, and one that must not have any."""

import csv
import json
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pointsman.demo.checks import Checked
from pointsman.demo.processes import Process, python, read
from pointsman.demo.servers import eventually
from pointsman.domain.errors import Kind, PointsmanError

if TYPE_CHECKING:
    from pointsman.demo.play import Demo

FILE: Final = "rollout.yaml"
FIRST_STEP: Final = 0.1
_LIMIT_S: Final = 400.0
_EVERY_S: Final = 0.5
_ENOUGH: Final = 50
"""Decisions after a rollback that show who answers."""
_ENDS: Final = frozenset({"succeeded", "rolled_back", "failed"})
_GOOD: Final = "models:/income@challenger"
_HARMFUL: Final = "models:/income@mistake"


class Ended(NamedTuple):
    """How a rollout went.

    version: that grew; heaviest: the largest share it was to have; seconds: from its first traffic
    to its end, which was at at_ms
    """

    phase: str
    version: str
    heaviest: float
    seconds: float
    at_ms: int


class Traffic:
    """The test part of the data, again and again, until `end`."""

    def __init__(self, demo: "Demo", name: str) -> None:
        self._result = demo.home / f"{name}.json"
        command = python(str(demo.examples / "replay.py"), "--gateway", demo.running.data_url)
        command += ["--project", str(demo.examples / FILE), "--forever", "--batch", "200"]
        command += ["--result", str(self._result)]
        self._process: Process = demo.processes.start(name, command)

    def end(self) -> dict[str, Any]:
        """What came back, once the last label is taken."""
        self._process.popen.terminate()
        self._process.finish(_LIMIT_S)
        found: dict[str, Any] = json.loads(self._result.read_text())
        return found


def good(demo: "Demo") -> list[Checked]:
    """A sound challenger: it grows by itself, and is the champion in the end."""
    demo.cli("apply", "-f", demo.short(demo.examples / FILE), "--yes")
    traffic = Traffic(demo, "traffic-good")
    ended = follow(demo, attempt=1)
    answered = traffic.end()
    demo.cli("status", "income")
    champion = demo.status()["variants"][0]["version"]
    alias = _alias(demo, "champion")
    grown = (
        f"version {ended.version} was promoted by itself, after {ended.seconds:.0f} s of traffic"
    )
    return [
        (
            grown,
            ended.phase == "succeeded" and champion == ended.version,
        ),
        (f"the registry's alias champion points to version {alias}", alias == ended.version),
        (f"all {answered['decisions']:,} requests were answered", answered["refused"] == 0),
    ]


def harmful(demo: "Demo") -> list[Checked]:
    """A challenger trained on lost labels: shown in advance, forced through, taken back."""
    train = python(str(demo.examples / "train.py"), "--tracking-uri", demo.registry_url)
    with demo.screen.busy("training a model on labels that were lost in a join"):
        demo.processes.start("train-mistake", [*train, "--mistake"]).finish(_LIMIT_S)
    file = demo.home / "mistake.yaml"
    text = (demo.examples / FILE).read_text()
    file.write_text(text.replace(_GOOD, _HARMFUL))
    demo.screen.say(f"{demo.short(file)} is {FILE} with challenger: {_HARMFUL}")
    demo.cli("plan", "-f", demo.short(file), fine=(0, 2))
    refused = demo.tried("apply", "-f", str(file), "--yes")
    demo.screen.say(f"refused without force: {refused.partition(chr(10))[0]}")
    demo.cli("apply", "-f", demo.short(file), "--yes", "--force", "--reason", "Friday, 6 p.m.")
    traffic = Traffic(demo, "traffic-harmful")
    ended = follow(demo, attempt=2)
    with demo.screen.busy("watching who answers now"):
        eventually(lambda: _settled(demo), _LIMIT_S)
        since_ms = time.time_ns() // 1_000_000
        after_s = (since_ms - ended.at_ms) / 1000
        eventually(lambda: len(_later(demo, since_ms)) >= _ENOUGH, _LIMIT_S)
    answered = traffic.end()
    met = answered["variants"].get("challenger", 0)
    demo.cli("status", "income")
    decision = answered["examples"].get("challenger", "")
    demo.cli("explain", decision)
    exported = demo.home / "rolled-back.csv"
    ask = ("export", "income", "--rolled-back", "--format", "csv", "-o", demo.short(exported))
    demo.cli(*ask)
    with exported.open(newline="") as lines:
        rows = sum(1 for _ in csv.DictReader(lines))
    back = (
        f"version {ended.version} was taken back by itself at its first step, {ended.seconds:.1f} "
        f"s after its first traffic: {met:,} of {answered['decisions']:,} requests met it"
    )
    return [
        ("its plan is over a limit, and nobody can apply it unseen", "limit" in refused),
        (
            back,
            ended.phase == "rolled_back" and ended.heaviest <= FIRST_STEP and met > 0,
        ),
        (f"nobody met it from {after_s:.1f} s after that on", _gone(demo, since_ms)),
        ("what it answered can be explained", bool(demo.asked("explain", decision)["equal"])),
        (f"all {rows:,} decisions it served are exported", rows == met),
    ]


def follow(demo: "Demo", attempt: int) -> Ended:
    """Says each step as it happens, until the end. Raises PointsmanError where none comes."""
    said = 0
    until = time.monotonic() + _LIMIT_S
    while time.monotonic() < until:
        rollout = demo.status()["rollout"]
        if rollout is not None and rollout["attempt"] >= attempt:
            own = [step for step in rollout["transitions"] if step["attempt"] == attempt]
            for step in own[said:]:
                demo.screen.say(step["sentence"])
            said = len(own)
            if rollout["phase"] in _ENDS and rollout["attempt"] == attempt:
                return _ended(rollout, own)
        time.sleep(_EVERY_S)
    raise PointsmanError(
        Kind.TIMEOUT, f"the rollout did not end within {_LIMIT_S:.0f} s", hint="see its status"
    )


def _ended(rollout: dict[str, Any], steps: list[dict[str, Any]]) -> Ended:
    begun = next((i for i, step in enumerate(steps) if step["weight"] > 0), 0)
    return Ended(
        rollout["phase"],
        rollout["version"],
        max(step["weight"] for step in steps),
        (steps[-1]["at_ms"] - steps[begun]["at_ms"]) / 1000,
        steps[-1]["at_ms"],
    )


def _settled(demo: "Demo") -> bool:
    """Whether every gateway worker serves what the rollout decided last."""
    status = demo.status()
    return status["phase"] == "serving" and not status["rollout"]["pending"]


def _later(demo: "Demo", since_ms: int) -> list[dict[str, Any]]:
    """Of the newest decisions, those made since then."""
    newest = demo.asked("decisions", "income", "--limit", "200")["decisions"]
    return [row for row in newest if row["at_ms"] > since_ms]


def _gone(demo: "Demo", since_ms: int) -> bool:
    """Whether all of those are of others."""
    later = _later(demo, since_ms)
    return bool(later) and all(row["served"] != "challenger" for row in later)


def _alias(demo: "Demo", alias: str) -> str:
    """The version an alias of the registry points to."""
    path = f"/api/2.0/mlflow/registered-models/alias?name=income&alias={alias}"
    return str(json.loads(read(f"{demo.registry_url}{path}"))["model_version"]["version"])
