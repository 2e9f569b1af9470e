"""A controller's rollout loop with everything real but time, models and the registry: store,
journal, ingester, compiler and judge are the product's own."""

import os
from pathlib import Path
from random import Random

import msgspec

from pointsman.controller.aliases import Aliases
from pointsman.controller.candidate import Workshop
from pointsman.controller.catalog import Catalog
from pointsman.controller.deeds import Deeds
from pointsman.controller.feed import Feed
from pointsman.controller.ingest import Ingester
from pointsman.controller.ledger import Ledger
from pointsman.controller.projects import Intent, Projects
from pointsman.controller.rollcall import ProjectReport, RollCall, WorkerReport
from pointsman.controller.rollouts import Rollouts
from pointsman.controller.watch import Watch
from pointsman.decide.allocation import lookup, shares
from pointsman.decide.hashing import hash32, hash64
from pointsman.domain import artifact
from pointsman.domain.artifact import ArtifactManifest
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.records import DecisionRecord, OutcomeRecord
from pointsman.domain.table import Runtime
from pointsman.journal.codec import encode_record
from pointsman.journal.writer import Limits, SegmentWriter
from pointsman.ports import ModelVersion
from pointsman.rollout.observation import Command, Verb
from pointsman.runtime.blobs import BlobStore
from pointsman.spec.load import load_text
from pointsman.store import audit, outbox, rollouts
from pointsman.store.database import open_database, reader

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
NOON = 1_750_075_200_000
NAME = "default/loan"

FILE = """
apiVersion: pointsman/v1
kind: Project
metadata: {name: loan}
spec:
  classes: [ok, fraud]
  unit: account
  context: {account: string, country: {type: string, default: DE}}
  features: {age: long}
  decision: {deny: [fraud]}
  variants:
    champion: {model: "models:/loan@champion"}
    challenger: {model: "models:/loan@challenger"}
  rules:
    - {name: default, split: {champion: 95, challenger: 5}}
  metrics:
    errors: {kind: operational, event: error}
    denied: {kind: decision, event: denied}
  rollout:
    variant: challenger
    rule: default
    steps:
      - setWeight: 10
      - analysis: {hold: 1m, minDecisions: 20}
      - setWeight: 50
      - analysis: {hold: 1m}
    guardrails:
      - {metric: denied, absolute: 0.1}
      - {metric: errors, absolute: 0.1}
    cooldown: 0s
    onSuccess: {setAlias: champion}
"""


class Clock:
    def __init__(self, ms: int = NOON) -> None:
        self.ms = ms

    def now_ms(self):
        return self.ms


class ScriptedRegistry:
    """Versions of one model, and where aliases point to. down: answers nothing"""

    def __init__(self) -> None:
        self.aliases = {"champion": "1", "challenger": "1"}
        self.down = False
        self.written = []
        self.refused = set()

    def resolve(self, uri):
        self._answer()
        path = uri.replace("//main", "").removeprefix("models:/")
        model, alias, last = path.partition("@")
        model, _, version = (model, "", self.aliases[last]) if alias else path.partition("/")
        pinned = f"models://main/{model}/{version}"
        return ModelVersion(pinned, uri, version, "main", trusted=False, download="")

    def write_back(self, source, alias, tags):
        self._answer()
        self.written.append((source, alias, dict(tags)))
        self.aliases[alias] = source.rpartition("/")[2]

    def _answer(self):
        if self.down:
            raise PointsmanError(Kind.BACKEND_FAILED, "the registry does not answer")


class Told:
    """A notifier that remembers."""

    def __init__(self) -> None:
        self.types = []
        self.sentences = []

    def notify(self, notification):
        self.types.append(notification.type)
        self.sentences.append(notification.sentence)


class World:
    """One project, one gateway worker, and the time of day."""

    def __init__(self, root: Path, text: str = FILE, began_ms: int = NOON) -> None:
        self.root = root
        self.clock = Clock(began_ms)
        self.registry = ScriptedRegistry()
        self.told = Told()
        self.draw = Random(7)
        self.engine = open_database(root / "store.db")
        self.blobs = BlobStore(root / "blobs")
        self.ledger = Ledger(self.engine, Feed(None), self.clock)
        self.reports = root / "gateway" / "workers"
        self.reports.mkdir(parents=True)
        self.caught_up_ms = None
        self.projects = self._projects()
        self.aliases = Aliases(self.ledger, self.projects, self.registry.resolve)
        self.rollouts = self.controller()
        journal = root / "journal"
        limits = Limits(low_water_bytes=0)
        self.writer = SegmentWriter(journal / "w0", "w0", limits)
        catalog = Catalog(self.ledger, self.blobs)
        self.ingester = Ingester(journal, self.engine, catalog, now_ms=self.clock.now_ms)
        self.made = 0
        self.apply(text)

    def close(self):
        self.writer.close()
        self.ingester.close()
        self.engine.dispose()

    def _projects(self):
        workshop = Workshop(self.registry.resolve, self._prepare, self.blobs)
        return Projects(self.ledger, workshop, self.blobs)

    def controller(self):
        """Another controller on the same store, as after a restart, or beside the first one."""
        projects = self._projects()
        watch = Watch(self.ledger, projects, RollCall(self.reports), self._caught_up)
        self.deeds = Deeds(self.ledger, projects, self.registry, self.told)
        return Rollouts(self.ledger, watch, self.deeds)

    def _caught_up(self):
        return self.clock.ms if self.caught_up_ms is None else self.caught_up_ms

    def _prepare(self, version, classes, features):
        if version.version in self.registry.refused:
            raise PointsmanError(Kind.INVALID, "its golden rows differ")
        made = ArtifactManifest(
            source=version.uri,
            origin="0" * 64,
            flavor="sklearn",
            runtime=Runtime.ONNX,
            reason="compiled",
            features=features,
            inputs=(),
            classes=classes,
            order=(0, 1),
            files=(),
            parity=None,
            probabilities="p",
        )
        return self.blobs.put_bytes(artifact.encode(made))

    def apply(self, text):
        (project,) = load_text(text)
        return self.projects.apply(project, Intent("ada"))

    # what is

    @property
    def table(self):
        return self.projects.table(self.projects.current(NAME))

    @property
    def state(self):
        with reader(self.engine).connect() as connection:
            return rollouts.state(connection, NAME)

    @property
    def phase(self):
        return self.state.phase.value

    def share(self, variant="challenger"):
        """Of the table that is published."""
        return round(shares(self.table.rules[0].allocation).get(variant, 0.0), 6)

    def version(self, variant):
        return next(v.version for v in self.table.variants if v.name == variant)

    def sentences(self):
        """History, the oldest first."""
        with reader(self.engine).connect() as connection:
            found = audit.entries(connection, target=NAME, limit=1000)
        return [entry.sentence for entry in reversed(found) if entry.action.startswith("rollout.")]

    def left(self):
        with reader(self.engine).connect() as connection:
            return [type(entry.task).__name__ for entry in outbox.left(connection, NAME)]

    # what happens

    def point(self, alias, version):
        """Moves an alias of the registry, and lets the controller notice."""
        self.registry.aliases[alias] = version
        self.aliases.look()
        self.aliases.follow()

    def serve(self, *, refused=""):
        """The gateway worker takes the newest table into use."""
        states = {v.name: {"state": "warm"} for v in self.table.variants}
        if refused:
            states["challenger"] = {"state": "refused", "reason": refused}
        project = ProjectReport("", self.projects.current(NAME).number, states)
        report = WorkerReport(
            0, os.getpid(), 1, {NAME: msgspec.convert(msgspec.to_builtins(project), ProjectReport)}
        )
        (self.reports / "0.json").write_bytes(msgspec.json.encode(report))

    def pass_time(self, milliseconds):
        self.clock.ms += milliseconds

    def tick(self):
        plan = self.rollouts.tick(NAME)
        self.deeds.others()
        return plan

    def traffic(self, n, *, deny=None, errors=None, label=None, lost=None, lie=0.0):
        """That many decisions of fresh units, a quarter of them in France, taken in at once.

        Rates are by variant; those of `variant/FR` are of France alone.
        lost: records that never come; lie: how much too high the challenger's propensity is logged
        """
        revision = self.projects.current(NAME)
        rule = self.table.rules[0]
        versions = {variant.name: variant.version for variant in self.table.variants}
        logged = shares(rule.allocation)
        if "challenger" in logged:
            wrong = {"challenger": lie, "champion": -lie}
            logged = {name: chance + wrong[name] for name, chance in logged.items()}
        records = []
        for _ in range(n):
            self.made += 1
            unit = f"u-{self.made}"
            assigned = lookup(rule.allocation, hash32(rule.salt, unit))
            if self.draw.random() < (lost or {}).get(assigned, 0.0):
                continue
            country = "FR" if self.made % 4 == 0 else "DE"
            usual = (deny or {}).get(assigned, 0.2)
            rate = (deny or {}).get(f"{assigned}/{country}", usual)
            failed = self.draw.random() < (errors or {}).get(assigned, 0.0)
            denied = self.draw.random() < rate
            records.append(
                DecisionRecord(
                    id=f"d-{self.made}",
                    at_ms=self.clock.ms,
                    project=NAME,
                    digest=revision.table_digest,
                    table=revision.number,
                    request_id="",
                    unit=unit,
                    bucket=hash32(rule.salt, unit),
                    unit_hash=hash64("", unit),
                    context={"account": unit, "country": country},
                    rule="default",
                    epoch=rule.epoch,
                    assigned=assigned,
                    served="champion" if failed else assigned,
                    version=versions[assigned],
                    reason="SPLIT",
                    served_reason="FALLBACK" if failed else "SPLIT",
                    propensity=logged[assigned],
                    propensities=tuple(sorted(logged.items())),
                    probabilities=(0.1, 0.9) if denied else (0.9, 0.1),
                    predicted="fraud" if denied else "ok",
                    action="deny" if denied else "allow",
                    latency_us=2_000,
                    cost=0.0,
                    features=b"",
                )
            )
        labels = [self._label(r, label) for r in records] if label else []
        self.writer.append([encode_record(record) for record in [*records, *labels]])
        self.ingest()
        return records

    def _label(self, record, right):
        """right: chance that the prediction is the label, by variant"""
        hit = self.draw.random() < right.get(record.assigned, 0.9)
        value = record.predicted if hit else ({"ok", "fraud"} - {record.predicted}).pop()
        at = self.clock.ms
        return OutcomeRecord(f"o-{record.id}", record.id, "label", value, at, at, "default")

    def ingest(self):
        while self.ingester.tick().more:
            pass

    def ask(self, verb, actor="ada", **changes):
        command = Command(0, Verb(verb), actor, **changes)
        answer = self.rollouts.ask(NAME, command)
        self.deeds.others()
        return answer

    def grow(self, minutes=3, n=400, **rates):
        """Serves, and lets traffic pass for some minutes, a tick every ten seconds."""
        for _ in range(minutes * 6):
            self.serve()
            self.pass_time(10 * SECOND)
            self.traffic(n // 6, **rates)
            self.tick()


def started(world):
    """At its first step, served by the gateway."""
    world.serve()
    world.point("challenger", "2")
    world.tick()
    world.tick()
    world.serve()
    world.pass_time(SECOND)
    world.tick()


def grown(world):
    """Has traffic until it has succeeded."""
    for _ in range(60):
        world.serve()
        world.pass_time(20 * SECOND)
        world.traffic(600)
        world.tick()
        if world.phase == "succeeded":
            return
    raise AssertionError(world.sentences())


def promoted(world):
    """Version 2 is the champion."""
    started(world)
    grown(world)
