"""A store, a journal with two streams, and records that are quick to write down."""

from pathlib import Path

import msgspec
import pytest

from pointsman.controller.ingest import Ingester
from pointsman.controller.join import IngestProject
from pointsman.domain.records import DecisionRecord, OutcomeRecord, ShadowRecord
from pointsman.journal.codec import encode_record
from pointsman.journal.writer import Limits, SegmentWriter
from pointsman.store.database import open_database, reader

HOUR = 3_600_000
NOON = 1_750_075_200_000
PROJECT = IngestProject(
    classes=("no", "yes"),
    positive="yes",
    label_horizon_ms=HOUR,
    reward_horizon_ms=HOUR,
    slices=("country",),
    shares={"default": (("challenger", 0.1), ("champion", 0.9))},
)


class Catalog:
    """Knows the project `default/loan`, as far as it is told to."""

    def __init__(self) -> None:
        self.projects = {"default/loan": PROJECT, "other/loan": PROJECT}

    def lookup(self, project, _digest):
        return self.projects.get(project)


def decision(name, **changes):
    """A split decision at noon, answered `yes` with probability 0.75."""
    usual = DecisionRecord(
        id=name,
        at_ms=NOON,
        project="default/loan",
        digest="ab" * 32,
        table=3,
        request_id="1",
        unit="anna",
        bucket=17,
        unit_hash=5,
        context={"country": "DE"},
        rule="default",
        epoch=1,
        assigned="champion",
        served="champion",
        version="2",
        reason="SPLIT",
        served_reason="SPLIT",
        propensity=0.9,
        propensities=(("champion", 0.9), ("challenger", 0.1)),
        probabilities=(0.25, 0.75),
        predicted="yes",
        action="deny",
        latency_us=1500,
        cost=0.5,
        features=b'{"age":38}',
    )
    return msgspec.structs.replace(usual, **changes)


def label(name, decision_id, value, *, at=60_000, received=None, tenant="default"):
    """A label, `at` milliseconds after noon, received at once."""
    received = at if received is None else received
    return OutcomeRecord(name, decision_id, "label", value, NOON + at, NOON + received, tenant)


def reward(name, decision_id, value, *, at=60_000):
    return OutcomeRecord(name, decision_id, "reward", value, NOON + at, NOON + at, "default")


def shadow(name, variant="night"):
    return ShadowRecord(
        name, NOON, "default/loan", "ab" * 32, variant, "9", (0.5, 0.5), "no", "allow", 900
    )


class World:
    """Everything between a gateway's journal and the store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.journal = root / "journal"
        self.engine = open_database(root / "store.db")
        self.catalog = Catalog()
        self.now = NOON + 2 * HOUR
        self.writers = {}
        self.ingester = self.new_ingester()

    def new_ingester(self):
        """As after a restart of the controller."""
        return Ingester(self.journal, self.engine, self.catalog, now_ms=lambda: self.now)

    def write(self, *records, stream="w0"):
        """One batch."""
        if stream not in self.writers:
            limits = Limits(max_segment_bytes=4000, low_water_bytes=0)
            self.writers[stream] = SegmentWriter(self.journal / stream, stream, limits)
        self.writers[stream].append([encode_record(record) for record in records])

    def ingest(self, *records, stream="w0"):
        """Writes a batch and takes it in; what the tick says."""
        self.write(*records, stream=stream)
        return self.ingester.tick()

    def drain(self):
        """Takes in everything there is."""
        while self.ingester.tick().more:
            pass

    def all(self, query):
        """Rows of a query, in text or not, as the store stands."""
        with reader(self.engine).connect() as connection:
            if isinstance(query, str):
                return [tuple(row) for row in connection.exec_driver_sql(query)]
            return list(connection.execute(query))

    def states(self):
        """State of each piece of feedback by id, in the order they were received."""
        found: dict[str, list[str]] = {}
        for name, state in self.all("SELECT id, state FROM feedback ORDER BY received_ms, row"):
            found.setdefault(name, []).append(state)
        return found

    def held(self):
        """Values of the registers by (decision, kind)."""
        rows = self.all("SELECT decision_id, kind, value FROM outcome")
        return {(d, k): msgspec.json.decode(v) for d, k, v in rows}

    def read(self, function, *args, **options):
        """What a function of the store answers."""
        with reader(self.engine).connect() as connection:
            return function(connection, *args, **options)

    def close(self):
        self.ingester.close()
        for writer in self.writers.values():
            writer.close()
        self.engine.dispose()


class Records:
    """The makers of records, as one fixture."""

    decision = staticmethod(decision)
    label = staticmethod(label)
    reward = staticmethod(reward)
    shadow = staticmethod(shadow)
    project = PROJECT
    noon = NOON
    hour = HOUR


@pytest.fixture(scope="session")
def make():
    return Records


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture(scope="session")
def new_world(tmp_path_factory):
    """Makes as many worlds as a property test asks for; each is closed by its user."""
    return lambda: World(tmp_path_factory.mktemp("world"))
