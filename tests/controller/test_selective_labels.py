"""A rollout whose labels come only for what was allowed, and one whose labels come for all."""

import pytest
from tests.controller.rollout_world import NAME, SECOND, World, started
from tests.controller.rough_world import LABELLED

from pointsman.cli.rollout_view import show_rollout
from pointsman.controller.rollout_view import RolloutViews
from pointsman.journal.codec import encode_record

RIGHT = {"challenger": 0.95, "champion": 0.95}


class LabelledWorld(World):
    """Labels come at once. labelled: for which actions"""

    labelled = ("allow", "deny")

    def traffic(self, n, **rates):
        records = super().traffic(n, **rates)
        labels = [self._label(r, RIGHT) for r in records if r.action in self.labelled]
        self.writer.append([encode_record(label) for label in labels])
        self.ingest()
        return records

    def passes(self, turns, phase=""):
        for _ in range(turns):
            self.serve()
            self.pass_time(20 * SECOND)
            self.traffic(600)
            self.tick()
            if self.phase == phase:
                return

    def shown(self):
        views = RolloutViews(self.ledger, self.rollouts._watch, self.rollouts, self.clock.now_ms)
        return views.of(NAME)


@pytest.fixture
def world(tmp_path):
    made = LabelledWorld(tmp_path, LABELLED)
    started(made)
    yield made
    made.close()


def test_a_rollout_is_not_promoted_by_labels_of_what_was_allowed(world, capsys):
    """Whoever was denied is never heard of: it holds, says why once in its history and loudly in
    its status, and goes on judging what needs no labels."""
    world.labelled = ("allow",)
    world.passes(60, "succeeded")
    shown = world.shown()
    show_rollout(shown, 0.1)
    said = capsys.readouterr().out

    assert (world.phase, world.version("champion")) == ("running", "1")
    (sentence,) = [s for s in world.sentences() if "SELECTIVE LABELS" in s]
    assert sentence.startswith("loan: right: neither pass nor fail. SELECTIVE LABELS")
    assert any("SELECTIVE LABELS" in told for told in world.told.sentences)
    verdicts = {metric["metric"]: metric["verdict"] for metric in shown["metrics"]}
    assert verdicts == {"denied": "pass", "errors": "pass", "right": "inconclusive"}
    assert "labels that come for every action" in shown["waits_for"]
    assert "WARNING right: neither pass nor fail. SELECTIVE LABELS" in said
    assert not world.ask("promote", full=True).accepted

    for _ in range(30):
        world.serve()
        world.pass_time(20 * SECOND)
        world.traffic(600, deny={"challenger": 0.9})
        world.tick()
    assert world.phase == "rolled_back"


def test_a_rollout_is_promoted_by_labels_that_come_for_every_action(world):
    """The same rollout, with nothing withheld. What lets it grow is said: never a signal whose
    labels are not there yet."""
    world.passes(60, "succeeded")

    assert world.phase == "succeeded"
    assert not [s for s in world.sentences() if "SELECTIVE" in s]
    (growth,) = [s for s in world.sentences() if "goes from 10 % to 50 %" in s]
    assert "no data" not in growth
    assert "right: right" not in growth
    assert " min" in growth
    assert " decisions; " in growth
