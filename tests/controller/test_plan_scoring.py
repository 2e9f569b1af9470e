"""Versions that no logged decision has met are asked, with real models: in plans, and by limits."""

import json
import shutil
from random import Random

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from tests.controller.rollout_world import HOUR, NAME, NOON, World
from tests.runtime.model_directories import save, scripted

from pointsman.archive.process import Workbench
from pointsman.cli.plan_view import show_replay
from pointsman.controller import plan_view
from pointsman.controller.archiving import Archiver
from pointsman.controller.asking import Asking, Limits
from pointsman.controller.candidate import Workshop
from pointsman.controller.gate import HeldError
from pointsman.controller.housekeeping import HotRetention
from pointsman.controller.outlook import Window
from pointsman.controller.projects import Intent, Projects
from pointsman.decide.hashing import hash32, hash64
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.records import DecisionRecord, OutcomeRecord
from pointsman.domain.table import Feature, FeatureType
from pointsman.journal.codec import encode_record
from pointsman.journal.writer import Limits as WriterLimits
from pointsman.journal.writer import SegmentWriter
from pointsman.ports import ModelVersion
from pointsman.runtime import preparation, scoring
from pointsman.runtime.blobs import BlobStore
from pointsman.runtime.preparation import Request
from pointsman.spec.load import load_text

FILE = """
apiVersion: pointsman/v1
kind: Project
metadata: {name: loan}
spec:
  classes: [no, yes]
  unit: account
  context: {account: string, country: string}
  features: {age: double}
  decision: {deny: [yes]}
  variants:
    champion: {model: "models:/loan/1"}
    challenger: {model: "models:/loan/1"}
  rules:
    - {name: default, split: {champion: 100, challenger: 0}}
  metrics:
    denied: {kind: decision, event: denied, slices: [country]}
"""
LIMITED = FILE + "  limits: {maxDenyShift: 0.2, approvals: 1}\n"
AGE = (Feature("age", FeatureType.DOUBLE),)
AGES = np.linspace(18, 90, 300)


def learned(model, edge):
    """Fitted to say yes from an age on."""
    import pandas as pd

    return model.fit(pd.DataFrame({"age": AGES}), np.where(edge <= AGES, "yes", "no"))


MODELS = {
    "1": learned(LogisticRegression(max_iter=5000), 60),
    "2": learned(LogisticRegression(max_iter=5000), 58),
    "3": learned(LogisticRegression(max_iter=5000), 25),
    "4": learned(HistGradientBoostingClassifier(max_iter=20), 30),
    "5": scripted(),
}


class Models:
    """The versions, and what was prepared of them: each takes seconds, so it is done once.

    Loading the fifth executes code; it does as its row says.
    """

    def __init__(self, root):
        self.directories = {
            version: save(
                root / version, model, AGE, form="cloudpickle" if version == "5" else "skops"
            )
            for version, model in MODELS.items()
        }
        self.blobs = BlobStore(root / "prepared")
        self._made = {}

    def prepare(self, request):
        key = (request.version.uri, request.classes, request.features)
        if key not in self._made:
            self._made[key] = preparation.prepare(request, self.blobs).digest
        return self._made[key]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return Models(tmp_path_factory.mktemp("models"))


class ScoringWorld(World):
    """A world in which models are real: prepared, and asked, as in production."""

    limits = Limits()

    def __init__(self, root, models, text=FILE):
        self.models = models
        self.prepared = {}
        super().__init__(root, text)

    def _projects(self):
        workshop = Workshop(self._resolve, self._prepare, self.blobs, self._known)
        workbench = Workbench(self.root / "archive")
        asking = Asking(self.root, self.ledger, self.blobs, workbench, self.limits)
        return Projects(self.ledger, workshop, self.blobs, asking)

    def _resolve(self, uri):
        version = uri.rpartition("/")[2]
        return ModelVersion(
            f"models://main/loan/{version}", uri, version, "main", trusted=True, download=""
        )

    def _prepare(self, version, classes, features):
        if version.version in self.registry.refused:
            raise PointsmanError(Kind.INVALID, "its golden rows differ")
        request = Request(version, self.models.directories[version.version], classes, features)
        made = self.models.prepare(request)
        shutil.copytree(self.models.blobs.root, self.blobs.root, dirs_exist_ok=True)
        self.prepared[version.uri, classes, features] = made
        return made

    def _known(self, version, classes, features):
        return self.prepared.get((version.uri, classes, features), "")

    def log(self, ages, *, features=None):
        """Decisions of fresh units, answered by the champion as it would, the first in DE and the
        second in FR, and so on. features: of each, instead of its age"""
        revision, rule = self.projects.current(NAME), self.table.rules[0]
        scores = probabilities("1", ages)
        records = []
        for number, age in enumerate(ages):
            unit = f"u-{number}"
            logged = json.dumps({"age": age}).encode() if features is None else features
            records.append(
                DecisionRecord(
                    id=f"d-{number}",
                    at_ms=NOON + number * HOUR // len(ages),
                    project=NAME,
                    digest=revision.table_digest,
                    table=revision.number,
                    request_id="",
                    unit=unit,
                    bucket=hash32(rule.salt, unit),
                    unit_hash=hash64("", unit),
                    context={"account": unit, "country": ("DE", "FR")[number % 2]},
                    rule="default",
                    epoch=rule.epoch,
                    assigned="champion",
                    served="champion",
                    version="1",
                    reason="SPLIT",
                    served_reason="SPLIT",
                    propensity=1.0,
                    propensities=(),
                    probabilities=tuple(scores[number].tolist()),
                    predicted="yes" if scores[number][1] > 0.5 else "no",
                    action="deny" if scores[number][1] > 0.5 else "allow",
                    latency_us=2_000,
                    cost=0.0,
                    features=logged,
                )
            )
        self.writer.append([encode_record(record) for record in records])
        self.clock.ms = NOON + HOUR
        self.ingest()

    def plan(self, text, actor="ada", **window):
        (project,) = load_text(text)
        return self.projects.plan(project, Intent(actor), Window(**window))

    def seen(self, text, actor="ada", **window):
        return self.plan(text, actor, **window).seen

    def apply_as(self, text, actor="ada", **changes):
        (project,) = load_text(text)
        parent = self.projects.current(NAME).number
        return self.projects.apply(project, Intent(actor, parent=parent, **changes))


def probabilities(version, ages):
    """By the library itself, as the model was trained."""
    import pandas as pd

    return MODELS[version].predict_proba(pd.DataFrame({"age": ages}))


def to(version, text=FILE, variant="champion"):
    return text.replace(
        f'{variant}: {{model: "models:/loan/1"}}', f'{variant}: {{model: "models:/loan/{version}"}}'
    )


@pytest.fixture
def world(tmp_path, models):
    made = ScoringWorld(tmp_path, models)
    yield made
    made.close()


@pytest.fixture
def limited(tmp_path, models):
    made = ScoringWorld(tmp_path, models, LIMITED)
    yield made
    made.close()


def some_ages(n, seed=3):
    draw = Random(seed)
    return [round(draw.uniform(18, 90), 3) for _ in range(n)]


@pytest.mark.parametrize("version", ["3", "4", "5"])
def test_a_version_nobody_met_answers_as_it_would_serve(world, version):
    """Compiled or native, it is asked about each decision it would get: no estimate is left."""
    ages = [age / 100 if version == "5" else age for age in some_ages(300)]
    world.log(ages)
    seen = world.seen(to(version))
    whole = seen.change.whole
    (asked,) = seen.asked
    truth = probabilities(version, ages)[:, 1]
    assert (asked.variant, asked.version, asked.why) == ("champion", version, "")
    assert asked.decisions == asked.drawn == asked.scored == whole.sources.scored == 300
    assert whole.denied.after == np.mean(truth > 0.5)
    assert whole.denied.low == whole.denied.shift == whole.denied.high
    assert whole.latency_us is None
    by_name = {one.name: one for one in seen.change.slices}
    assert by_name["country=FR"].denied.after == np.mean(truth[1::2] > 0.5)


def test_a_sample_is_stated_and_its_interval_holds_the_truth(world, capsys):
    """200 of 900, drawn by hash: said so, in the API and on the screen; a first part of a larger
    sample. Without one, nobody knows."""
    ages = some_ages(900)
    world.log(ages)
    seen = world.seen(to("3"), sample=200)
    (asked,) = seen.asked
    denied = seen.change.whole.denied
    assert (asked.decisions, asked.drawn, asked.scored) == (900, 200, 200)
    assert denied.low < denied.shift < denied.high
    truth = np.mean(probabilities("3", ages)[:, 1] > 0.5) - denied.before
    assert denied.low <= truth <= denied.high
    (project,) = load_text(to("3"))
    planned = world.plan(to("3"), sample=200)
    told = plan_view.outlook(project, planned.course, planned.seen, planned.standing)
    assert told["replay"]["asked"][0]["scored"] == 200
    show_replay(told["replay"])
    assert "champion:3 scored on 200 of the 900 decisions" in capsys.readouterr().out
    without = world.seen(to("3"), sample=0)
    assert without.asked == ()
    assert without.change.whole.sources.unknown == 900


def test_rows_a_version_cannot_take_cost_the_others_nothing(world):
    """One it raises for, one it has no number for: counted, with the first reason."""
    ages = [age / 100 for age in some_ages(400)]
    ages[7], ages[201] = -3, -4
    world.log(ages)
    seen = world.seen(to("5"))
    (asked,) = seen.asked
    assert (asked.drawn, asked.scored, asked.refused) == (400, 398, 2)
    assert asked.why
    assert seen.change.whole.sources.scored == 400
    truth = probabilities("5", [age for age in ages if age >= 0])[:, 1]
    assert seen.change.whole.denied.after == pytest.approx(np.mean(truth > 0.5))


@pytest.mark.parametrize(
    ("row", "said"), [(-1, "ended with status 7"), (-2, "took longer than"), (None, "")]
)
def test_a_version_that_cannot_be_asked_is_said_and_stays_unknown(
    tmp_path, models, monkeypatch, row, said
):
    """It dies, it hangs, it has no features to be asked about: the plan is there all the same."""
    # Time enough to load the model on a busy machine; to hang, it need not even be loaded.
    budget_s, timeout_s = (6.0, 8.0) if row == -2 else (20.0, 25.0)
    quick = Limits(model=scoring.Limits(budget_s=budget_s, timeout_s=timeout_s))
    monkeypatch.setattr(ScoringWorld, "limits", quick)
    world = ScoringWorld(tmp_path, models)
    ages = [age / 100 for age in some_ages(50)]
    if row is not None:
        ages[0] = row
    world.log(ages, features=b"" if row is None else None)
    seen = world.seen(to("5"))
    (asked,) = seen.asked
    assert said in asked.why
    assert (asked.scored, asked.absent) == (0, 50 if row is None else 0)
    assert seen.change.whole.sources.unknown == 50
    assert seen.change.whole.denied is None
    world.close()


def test_a_version_that_cannot_be_prepared_is_said(world):
    """The plan says what apply would be refused for."""
    world.log(some_ages(50))
    world.registry.refused.add("3")
    seen = world.seen(to("3"))
    assert "golden rows differ" in seen.asked[0].why
    assert seen.change.whole.sources.unknown == 50


def test_who_may_only_look_does_not_set_a_model_to_work(world):
    """Preparing is for those who may apply; once one of them has planned, everybody sees it."""
    world.log(some_ages(50))
    seen = world.seen(to("3"), actor="")
    assert "not prepared yet" in seen.asked[0].why
    assert not any("/3" in uri for uri, _, _ in world.prepared)
    world.seen(to("3"))
    assert world.seen(to("3"), actor="").change.whole.sources.scored == 50


def test_features_are_found_in_the_archive_once_the_segments_are_gone(world):
    """In Parquet then; and where nothing archives them, they are said to be missing."""
    ages = some_ages(120)
    world.log(ages)
    keep = {NAME: HotRetention(archive_ms=400 * 24 * HOUR)}
    archiver = Archiver(
        world.root,
        world.engine,
        lambda: keep,
        gather_ms=-1 << 50,
        now_ms=world.clock.now_ms,
    )
    world.writer.close()
    world.writer = SegmentWriter(world.root / "journal" / "w0", "w0", WriterLimits())
    world.writer.append([encode_record(OutcomeRecord("o", "d-0", "label", "yes", NOON, NOON, ""))])
    world.ingest()  # a segment is archived once the next one is begun
    assert archiver.turn().decisions == 120
    first, *_ = sorted((world.root / "journal" / "w0").glob("*.seg"))
    first.unlink()
    seen = world.seen(to("3"))
    truth = probabilities("3", ages)[:, 1]
    assert seen.asked[0].scored == 120
    assert seen.change.whole.denied.after == np.mean(truth > 0.5)
    for path in (world.root / "archive" / "decisions").rglob("*.parquet"):
        path.unlink()
    seen = world.seen(to("3"))
    assert (seen.asked[0].scored, seen.asked[0].absent) == (0, 120)
    assert seen.change.whole.sources.unknown == 120


def test_limits_ask_at_apply_whatever_the_plan_showed(limited):
    """A version nobody met that denies more is refused, named by its slice, also after a plan
    without replay; a harmless one passes unasked by people."""
    ages = some_ages(400)
    limited.log(ages)
    (project,) = load_text(to("3", LIMITED))
    planned = limited.projects.plan(project, Intent("ada"))
    assert planned.standing is None
    told = plan_view.outlook(project, planned.course, planned.seen, planned.standing)
    assert (told["limits"], told["replay"]) == (None, None)
    with pytest.raises(HeldError) as caught:
        limited.apply_as(to("3", LIMITED))
    over = " ".join(one.message for one in caught.value.violations)
    assert "points of denials in country=FR" in over
    assert "nobody knows" not in over
    assert limited.apply_as(to("2", LIMITED)).changed


def test_of_a_rollout_the_first_step_and_the_end_are_asked_in_one_go(tmp_path, models):
    """Each has its half of the sample, and says of how many decisions it was drawn."""
    world = ScoringWorld(tmp_path, models)
    ages = some_ages(600)
    world.log(ages)
    text = to("3", variant="challenger") + (
        "  rollout:\n    variant: challenger\n    rule: default\n    steps:\n"
        "      [{setWeight: 10}, {analysis: {hold: 1m}}]\n"
        "    guardrails: [{metric: denied, absolute: 0.1}]\n"
    )
    seen = world.seen(text, sample=400)
    (first,), (full,) = seen.asked, seen.asked_full
    assert first.decisions == first.scored == seen.change.moved < 100
    assert (full.decisions, full.drawn, full.scored) == (600, 200, 200)
    truth = np.mean(probabilities("3", ages)[:, 1] > 0.5)
    assert seen.full.whole.denied.after == pytest.approx(truth, abs=0.08)
    assert seen.change.whole.denied.low == seen.change.whole.denied.high
    world.close()
