"""What the controller tells Prometheus, beside what gateways count themselves."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as families
from tests.controller.measured_world import measured
from tests.controller.rollout_world import DAY, FILE, HOUR, NAME, NOON, World, started

from control_process import ControlProcess, project

UNSEEN = {  # in a world without labels and processes
    "pointsman_loop_failing",
    "pointsman_outcomes_total",
    "pointsman_labels_matured_ratio",
}
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families(text)
        for sample in family.samples
    }


def test_a_scraper_is_told_of_its_own_tenants_projects(control: ControlProcess) -> None:
    """With a token of role viewer, in Prometheus' own format; nobody else is told anything."""
    control.apply(project("measured"))
    other = project("hidden") | {"metadata": {"name": "hidden", "tenant": "rivals"}}
    control.apply(other)
    token = control.call(
        "POST", "/v1/tokens", {"name": "scraper", "role": "viewer", "tenant": "default"}
    ).json()["token"]

    assert control.call("GET", "/metrics", token="").status_code == 401
    answer = control.call("GET", "/metrics", token=token)
    told = samples(answer.text)

    assert answer.headers["content-type"].startswith("text/plain")
    names = {value for _, labels in told for name, value in labels if name == "project"}
    assert "default/measured" in names
    assert "rivals/hidden" not in names
    mine = (("project", "default/measured"), ("variant", "champion"))
    assert 0.0 < told["pointsman_target_share", mine] <= 1.0
    assert told["pointsman_loop_failing", (("loop", "ingest"),)] == 0.0
    assert told["pointsman_ingest_lag_seconds", ()] < 30.0
    assert told["pointsman_data_free_bytes", ()] > 0
    assert told["pointsman_published_table_version", ()] >= 2.0
    phases = {v for (name, labels), v in told.items() if name == "pointsman_project_phase"}
    assert phases == {0.0, 1.0}
    assert told["pointsman_kill_switches", (("project", "default/measured"),)] == 0.0


@contextmanager
def scraped(root: Path, text: str = FILE) -> Iterator[tuple[World, Callable[[], Samples]]]:
    """A controller's world, and the samples of its `/metrics`."""
    with measured(root, text) as (world, scrape):
        yield world, lambda: samples(scrape())


def test_a_rollout_shows_its_phase_weight_and_verdict(tmp_path: Path) -> None:
    """One of each is 1, and all the others are 0."""
    with scraped(tmp_path) as (world, scrape):
        started(world)
        world.traffic(300)
        told = scrape()

    of = {"project": NAME, "variant": "challenger"}

    def value(name: str, **more: str) -> float:
        return told[name, tuple(sorted({**of, **more}.items()))]

    assert value("pointsman_rollout_weight") == 0.1
    assert value("pointsman_rollout_phase", phase="running") == 1.0
    assert sum(v for (name, _), v in told.items() if name == "pointsman_rollout_phase") == 1.0
    assert sum(v for (name, _), v in told.items() if name == "pointsman_rollout_verdict") == 1.0
    assert value("pointsman_rollout_verdict", verdict="inconclusive") == 1.0
    assert value("pointsman_rollout_step_timestamp_seconds") == world.clock.ms / 1000
    assert value("pointsman_rollout_event_timestamp_seconds", event="started") == NOON / 1000
    assert sum(v for (n, _), v in told.items() if n == "pointsman_rollout_evidence_unsound") == 0.0


def test_what_took_a_rollout_back_is_told_with_its_time(tmp_path: Path) -> None:
    """An alert can tell harm from a person's abort, and ends by itself. And the reference names
    every metric there is, and none that is not."""
    with scraped(tmp_path) as (world, scrape):
        started(world)
        world.grow(2, deny={"challenger": 0.9})
        told = scrape()
        assert world.phase == "rolled_back"

    page = (Path(__file__).parents[2] / "docs" / "reference" / "admin-api.md").read_text()
    names = {name for name, _ in told}
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []
    assert set(re.findall(r"\| `(pointsman_\w+)`", page)) - names <= UNSEEN
    about = {"project": NAME, "variant": "challenger", "event": "guardrail_broken"}
    at_s = told["pointsman_rollout_event_timestamp_seconds", tuple(sorted(about.items()))]
    assert NOON / 1000 < at_s <= world.clock.ms / 1000


def test_lying_chances_are_told_as_evidence_that_cannot_be_believed(tmp_path: Path) -> None:
    """By what is wrong with it: what is logged is not what happens."""
    with scraped(tmp_path) as (world, scrape):
        started(world)
        world.grow(2, n=2000, lie=0.08)
        told = scrape()

    about = {"project": NAME, "variant": "challenger", "why": "propensity"}
    assert told["pointsman_rollout_evidence_unsound", tuple(sorted(about.items()))] == 1.0
    other = about | {"why": "label_coverage"}
    assert told["pointsman_rollout_evidence_unsound", tuple(sorted(other.items()))] == 0.0


def test_labels_are_told_when_they_are_due_and_feedback_by_what_became_of_it(
    tmp_path: Path,
) -> None:
    """Of a day that is over, what is missing stays so; of today it need not."""
    declared = FILE.replace("  metrics:\n", "  outcomes: {label: {horizon: 2d}}\n  metrics:\n")
    with scraped(tmp_path, declared) as (world, scrape):
        started(world)
        world.traffic(200, label={"champion": 0.9, "challenger": 0.9})
        world.traffic(200)
        fresh = scrape()
        world.pass_time(2 * DAY + 2 * HOUR)
        due = scrape()

    of = (("project", NAME), ("variant", "champion"))
    assert fresh["pointsman_labels_known_ratio", of] == pytest.approx(0.5, abs=0.05)
    assert ("pointsman_labels_matured_ratio", of) not in fresh
    assert due["pointsman_labels_matured_ratio", of] == fresh["pointsman_labels_known_ratio", of]
    applied = (("project", NAME), ("state", "applied"))
    assert due["pointsman_outcomes_total", applied] == 200.0
    assert due["pointsman_ingested_records_total", (("kind", "outcomes"),)] == 200.0


def test_what_is_not_taken_in_yet_is_told_in_bytes(tmp_path: Path) -> None:
    """By the stream it waits in; 0 when all of it is taken in."""
    with scraped(tmp_path) as (world, scrape):
        waiting = (("stream", "w0"),)
        take_in, world.ingest = world.ingest, lambda: None
        world.traffic(50)
        behind = scrape()
        take_in()
        caught_up = scrape()

    assert behind["pointsman_ingest_lag_bytes", waiting] > 50 * 100
    assert caught_up["pointsman_ingest_lag_bytes", waiting] == 0.0
