"""A champion's profile in its registry, as what inputs are compared with."""

import msgspec
import pytest
from tests.controller.logged_world import FILE, LoggedWorld
from tests.controller.rollout_world import MINUTE, NAME
from tests.controller.test_drift import amounts, declared

from pointsman.controller import baseline
from pointsman.controller.drift_routes import DriftRoutes
from pointsman.controller.drifting import Asked
from pointsman.controller.estimates import Estimates
from pointsman.controller.registered import Registered
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.ports import Profiled
from pointsman.store import audit, references
from pointsman.store.database import reader


class Shelf:
    """Profiles in a registry, by version. down: answers nothing"""

    def __init__(self):
        self.bodies = {}
        self.asked = 0
        self.down = False

    def profile(self, source, version):
        self.asked += 1
        if self.down:
            raise PointsmanError(Kind.BACKEND_FAILED, "the registry does not answer")
        body = self.bodies.get(version)
        return None if body is None else Profiled("pointsman_profile.json", body)

    def put(self, version, **changed):
        self.bodies[version] = msgspec.json.encode(amounts(**changed))


class ProfiledWorld(LoggedWorld):
    """A controller whose registry may hold profiles."""

    def __init__(self, root):
        super().__init__(root)
        self.shelf = Shelf()
        self.restart()

    def restart(self):
        self.registered = Registered(self.ledger, self.projects, self.shelf)

    def reference(self):
        """As it is stored: what the API shows may be some seconds old."""
        with reader(self.engine).connect() as connection:
            found = references.current(connection, NAME)
        if found is None:
            return None
        source = baseline.decoded(found.body).source
        return {"actor": found.actor, "version": found.version, "source": source}

    def history(self, action="reference"):
        with reader(self.engine).connect() as connection:
            found = audit.entries(connection, target=NAME, limit=100)
        return [entry.sentence for entry in reversed(found) if entry.action.startswith(action)]

    def forget(self):
        with self.ledger.writing() as connection:
            return references.forget(connection, NAME)


@pytest.fixture
def world(tmp_path):
    made = ProfiledWorld(tmp_path)
    yield made
    made.close()


def test_it_is_compared_with_from_the_first_decision_on(world):
    """Nothing has to be gathered first; the source says which file of which version it is."""
    world.shelf.put("1")
    world.registered.turn()
    world.log(200)

    found = world.drifts.of(NAME, Asked("day"))

    assert found["reference"]["actor"] == "registry"
    assert found["reference"]["source"] == (
        "training.parquet (pointsman_profile.json of models://main/loan/1)"
    )
    assert found["columns"][0]["n"] == [200]
    (sentence,) = world.history()
    assert "models://main/loan/1) from now on, n=1,000" in sentence

    world.log(1_200)
    world.registered.turn()
    world.restart()
    world.registered.turn()
    assert world.reference()["actor"] == "registry", "first decisions make no other"
    assert len(world.history()) == 1, "it is told once"


def test_it_takes_the_place_of_first_decisions_when_it_comes_later(world):
    world.log(1_200)
    assert world.reference()["actor"] == ""
    world.registered.turn()

    world.shelf.put("1")
    world.registered.turn()
    assert world.reference()["actor"] == "", "a registry is not asked all the time"
    world.pass_time(2 * MINUTE)
    world.registered.turn()

    assert world.reference()["actor"] == "registry"


def test_it_counts_while_its_version_is_champion(world):
    """A new champion without one gathers its own first decisions; back at the old one, its profile
    counts again."""
    world.shelf.put("1")
    world.registered.turn()
    world.log(100)

    world.pass_time(MINUTE)
    world.point("champion", "2")
    world.registered.turn()
    world.log(1_200)
    gathered = world.reference()
    assert (gathered["actor"], gathered["version"]) == ("", "2")

    world.pass_time(MINUTE)
    world.point("champion", "1")
    world.registered.turn()
    world.log(100)
    assert world.reference()["actor"] == "registry"
    assert "of models://main/loan/1)" in world.reference()["source"]

    world.shelf.put("3")
    world.pass_time(MINUTE)
    world.point("champion", "3")
    world.registered.turn()
    assert "of models://main/loan/3)" in world.reference()["source"]


def test_what_a_person_declares_goes_before_it(world):
    """Whichever came first; given up, the profile counts."""
    declared(world, amounts(edges=[30.0]))
    world.shelf.put("1")
    world.registered.turn()

    assert world.reference()["actor"] == "ada"
    assert "what ada declared is compared with" in world.history()[-1]

    assert world.forget() == 1
    assert world.reference()["actor"] == "registry"
    assert world.forget() == 0, "nobody declared it, so nobody gives it up"
    declared(world, amounts(edges=[40.0]))
    assert world.reference()["actor"] == "ada"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (msgspec.json.encode(amounts(name="amout")), "the project has no feature 'amout'"),
        (b"{", "it is no profile"),
        (msgspec.json.encode(amounts(counts=[1, 2])), "2 counts, 3 bins"),
    ],
)
def test_one_that_does_not_fit_is_told_once_and_ignored(world, body, why):
    world.shelf.bodies["1"] = body
    for _ in range(2):
        world.registered.turn()
        world.restart()

    (sentence,) = world.history()
    assert "pointsman_profile.json of its champion does not fit and is ignored" in sentence
    assert why in sentence
    assert world.reference() is None
    world.log(1_200)
    assert world.reference()["actor"] == "", "its first decisions count"


def test_it_is_looked_at_again_when_the_project_has_other_features(world):
    world.shelf.bodies["1"] = msgspec.json.encode(amounts(name="income"))
    world.registered.turn()
    assert world.reference() is None

    world.apply(FILE.replace("{name: amount", "{name: income"))
    world.registered.turn()

    assert world.reference()["actor"] == "registry"


def test_a_registry_that_is_down_is_asked_again_and_keeps_nothing_back(world):
    world.shelf.put("1")
    world.shelf.down = True
    world.registered.turn()
    world.registered.turn()
    assert (world.shelf.asked, world.history()) == (1, [])

    world.shelf.down = False
    world.pass_time(2 * MINUTE)
    world.registered.turn()

    assert world.reference()["actor"] == "registry"


def test_the_api_gives_up_only_what_a_person_declared(world):
    world.shelf.put("1")
    world.registered.turn()
    routes = DriftRoutes(
        world.ledger, world.projects, world.drifts, Estimates(world.ledger, world.projects)
    )

    class Caller:
        class state:  # noqa: N801 - as starlette has it
            from pointsman.controller.permissions import Principal
            from pointsman.store.access import Role

            principal = Principal("t", "ada", Role.ADMIN)

    with pytest.raises(PointsmanError) as refused:
        routes.forget(Caller(), "default", "loan")

    assert refused.value.kind is Kind.NOT_FOUND
