"""A controller's world, and what its `/metrics` says of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.controller.rollout_world import FILE, NAME, World

from pointsman.controller.intake import Intake
from pointsman.controller.metrics import ControllerMetrics
from pointsman.controller.project_metrics import ProjectMetrics
from pointsman.controller.rollcall import RollCall
from pointsman.controller.rollout_view import RolloutViews
from pointsman.controller.status import Statuses
from pointsman.controller.watch import Watch


@contextmanager
def measured(root: Path, text: str = FILE) -> Iterator[tuple[World, Callable[[], str]]]:
    """The world, and a function that gives the text of a scrape."""
    world = World(root, text)
    watch = Watch(world.ledger, world.projects, RollCall(world.reports), world.ledger.now_ms)
    views = RolloutViews(world.ledger, watch, world.rollouts, world.clock.now_ms)
    statuses = Statuses(world.ledger, world.projects, RollCall(world.reports), world.blobs, list)
    intake = Intake(world.ingester, now_ms=world.clock.now_ms)

    def ingest() -> None:
        while intake.turn():
            pass

    world.ingest = ingest
    projects = ProjectMetrics(world.ledger, statuses, views)
    metrics = ControllerMetrics(world.root, world.ledger, projects, intake, [])

    def scrape() -> str:
        views.of(NAME)
        return metrics.exposition().decode()

    try:
        yield world, scrape
    finally:
        world.close()
