"""What the controller tells Prometheus, beside what gateways count themselves."""

from prometheus_client.parser import text_string_to_metric_families as families
from tests.controller.rollout_world import NAME, World, started

from control_process import ControlProcess, project
from pointsman.controller.ingest import Ingester
from pointsman.controller.intake import Intake
from pointsman.controller.metrics import ControllerMetrics
from pointsman.controller.rollcall import RollCall
from pointsman.controller.rollout_view import RolloutViews
from pointsman.controller.status import Statuses
from pointsman.controller.watch import Watch


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
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


def test_a_rollout_shows_its_phase_weight_and_verdict(tmp_path) -> None:  # type: ignore[no-untyped-def] # pytest's
    """One of each is 1, and all the others are 0."""
    world = World(tmp_path)
    started(world)
    world.traffic(300)
    watch = Watch(world.ledger, world.projects, RollCall(world.reports), world.ledger.now_ms)
    views = RolloutViews(world.ledger, watch, world.rollouts, world.clock.now_ms)
    views.of(NAME)
    statuses = Statuses(world.ledger, world.projects, RollCall(world.reports), world.blobs, list)
    intake = Intake(Ingester(world.root / "none", world.engine, world.ingester._catalog))
    metrics = ControllerMetrics(world.ledger, statuses, views, intake, [])

    told = samples(metrics.exposition().decode())
    world.close()

    of = {"project": NAME, "variant": "challenger"}

    def value(name: str, **more: str) -> float:
        return told[name, tuple(sorted({**of, **more}.items()))]

    assert value("pointsman_rollout_weight") == 0.1
    assert value("pointsman_rollout_phase", phase="running") == 1.0
    assert sum(v for (name, _), v in told.items() if name == "pointsman_rollout_phase") == 1.0
    assert sum(v for (name, _), v in told.items() if name == "pointsman_rollout_verdict") == 1.0
    assert value("pointsman_rollout_verdict", verdict="inconclusive") == 1.0
