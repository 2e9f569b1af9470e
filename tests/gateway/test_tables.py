"""Tables: pulled, proved, swapped as a whole; a bad one is refused; the last good one survives."""

import json
import time

import msgspec
import pytest

from pointsman.domain.artifact import decode as decode_artifact
from pointsman.domain.artifact import encode as encode_artifact
from pointsman.domain.records import DecisionRecord, OverrideRecord
from pointsman.domain.table import Runtime, TableRow, Variant, encode
from pointsman.gateway.overrides import Switch, lift_switch, set_switch


def eventually(check, timeout_s=10.0):
    """The first truthy answer; fails when none comes."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        found = check()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def report_of(worker, key="default/fraud"):
    return worker.report()["projects"][key]


@pytest.fixture
def served(world):
    """A worker that follows a controller, with table 1 in use."""
    world.start_controller()
    world.publish([world.project({"champion": world.model()})], 1)
    return world.worker()


def test_a_new_table_is_taken_on_within_moments(served, world, kit):
    """Models, rules and all, without a restart or a failed request."""
    assert served.predict()[2]["variant"] == "champion"
    rules = [kit.rule(use="challenger")]
    variants = {"champion": world.model(), "challenger": world.model((0.3, 0.0))}
    started = time.monotonic()
    world.publish([world.project(variants, rules, number=2)], 2)
    eventually(lambda: served.predict()[2]["variant"] == "challenger")

    assert time.monotonic() - started < 2.0
    assert served.report()["table"] == 2
    assert report_of(served)["number"] == 2
    assert served.metrics()['pointsman_table_version{worker="0"}'] == 2.0


def test_swaps_tear_no_request(served, world, kit):
    """While tables change, every answer is of one table, and every record names it."""
    models = [world.model((0.1 * n, 0.0)) for n in range(1, 4)]
    digests = {}
    versions = {}
    statuses = []
    for number in range(2, 12):
        table = world.project({"champion": models[number % 3]}, number=number)
        digests[number] = kit.digest(table)
        world.publish([table], number)
        for _ in range(20):
            status, _, answer = served.predict()
            statuses.append(status)
            versions[answer["decision_id"]] = answer["probabilities"]["fraud"]
    served.kill()
    by_digest = {digest: number for number, digest in digests.items()}

    assert set(statuses) == {200}
    for record in served.records():
        number = by_digest.get(record.digest)
        if number:
            weights = (0.1 * (number % 3 + 1), 0.0)
            assert record.probabilities[1] == pytest.approx(kit.probability(weights, -1.0))
            assert versions[record.id] == record.probabilities[1]


def unsound(world, kit):
    table = world.project({"champion": world.model()}, [kit.rule(use="nobody")], number=2)
    return table, "is not sound"


def broken_condition(world, kit):
    rules = [kit.rule("c", "champion", when="request.nope >"), kit.rule(use="champion")]
    return world.project({"champion": world.model()}, rules, number=2), "is not sound"


def garbage_model(world, _kit):
    model = world.prepared(b"this is no model")
    return world.project({"champion": model}, number=2), "does not load"


def wrong_classes(world, _kit):
    model = world.prepared(b"x", classes=("a", "b"))
    return world.project({"champion": model}, number=2), "was prepared for classes a, b"


def missed_golden_rows(world, _kit):
    manifest = decode_artifact(world.blobs.read(world.model()))
    manifest = msgspec.structs.replace(
        manifest,
        probe_rows=({"amount": 1.0, "age-years": 1},),
        probe_probabilities=((0.9, 0.1),),
    )
    model = world.blobs.put_bytes(encode_artifact(manifest))
    return world.project({"champion": model}, number=2), "misses its golden rows"


def no_runner(world, _kit):
    native = Variant("champion", "2", "", world.model(), Runtime.NATIVE)
    return world.project({"champion": native}, number=2), "needs the model runner"


def damaged_blob(world, _kit):
    table = world.project({"champion": world.model((0.7, 0.7))}, number=2)
    manifest = world.manifest([table])
    world.controller.corrupt.add(manifest.rows[0].blobs[-1])
    return table, "arrived damaged"


def older_number(world, _kit):
    return world.project({"champion": world.model((0.7, 0.7))}, number=1), "is not newer than 1"


def one_class(world, _kit):
    table = world.project({"champion": world.model()}, number=2, classes=("a",), positive="")
    return table, "there must be two or more"


@pytest.mark.parametrize(
    "bad",
    [
        unsound,
        broken_condition,
        garbage_model,
        wrong_classes,
        missed_golden_rows,
        no_runner,
        damaged_blob,
        older_number,
        one_class,
    ],
)
def test_a_bad_table_is_refused_and_the_old_one_serves(served, world, kit, bad):
    """The report says why; other projects, keys and switches of the manifest are taken on."""
    table, reason = bad(world, kit)
    other = world.project({"champion": "legit"}, name="other")
    world.publish([table, other], 2, killed=("default/other",))
    problem = eventually(lambda: served.report()["table"] == 2 and report_of(served)["problem"])

    assert reason in problem
    assert report_of(served)["number"] == 1
    assert served.predict()[2]["version"] == "1"
    assert served.predict(project="other")[2]["reason"] == "KILLED"


def test_a_project_never_served_says_why(served, world):
    """503 with the reason, not 404; and it is served as soon as it can be."""
    table = world.project({"champion": world.model((0.7, 0.7))}, name="late")
    blob = world.manifest([table]).rows[0].blobs[-1]
    world.controller.corrupt.add(blob)
    world.publish([world.project({"champion": world.model()}), table], 2)
    eventually(lambda: served.report()["table"] == 2)
    status, _, answer = served.predict(project="late")
    world.controller.corrupt.clear()
    eventually(lambda: served.predict(project="late")[0] == 200)

    assert (status, answer["kind"]) == (503, "unavailable")
    assert answer["error"].startswith("project late is not served here: ")


def test_an_older_manifest_is_refused(served, world):
    """A restored controller cannot take a gateway back in time."""
    world.publish([world.project({"champion": world.model()})], 5)
    eventually(lambda: served.report()["table"] == 5)
    world.publish([world.project({"champion": "legit"}, number=9)], 4)
    problem = eventually(lambda: served.report()["problem"])

    assert problem == "table 4 is older than 5, which is in use"
    assert served.predict()[2]["version"] == "1"


def test_a_removed_project_is_gone(served, world):
    """404, and its models are let go."""
    world.publish([world.project({"champion": "legit"}, name="other")], 2)
    eventually(lambda: served.predict()[0] == 404)

    assert served.predict(project="other")[0] == 200


def test_unchanged_artifacts_are_not_fetched_again(served, world):
    """A change of rules costs one small blob."""
    model = world.model()
    seen = len(world.controller.seen)
    world.publish([world.project({"champion": model, "safe": "legit"}, number=2)], 2)
    eventually(lambda: served.report()["table"] == 2)
    fetched = [path for path, _ in world.controller.seen[seen:] if "/blobs/" in path]

    assert len(fetched) == 1


def test_serving_goes_on_without_the_controller_even_after_a_restart(served, world):
    """From the last known good table and the models on the gateway's own disk."""
    world.controller.stop()
    assert served.predict()[0] == 200
    served.kill()
    again = world.worker()

    assert again.predict()[2]["version"] == "1"
    problem = eventually(lambda: again.report()["problem"])
    assert "does not answer" in problem


def test_without_any_table_a_worker_is_not_ready(world):
    """It says so, and becomes ready with the first table."""
    world.start_controller()
    worker = world.worker(wait=False)
    eventually(lambda: _status(worker, "/v2/health/live") == 200)
    ready = worker.get("/v2/health/ready")
    status, _, answer = worker.predict()
    world.publish([world.project({"champion": "legit"})], 1)
    worker.wait_ready()

    assert (ready[0], json.loads(ready[2])) == (503, {"ready": False})
    assert (status, answer["error"]) == (503, "no table is loaded yet")
    assert worker.predict()[0] == 200


def _status(worker, path):
    try:
        return worker.get(path)[0]
    except OSError:
        return 0


@pytest.mark.parametrize("content", [b"", b"{", b'{"version":1,"rows":[],"format":99}'])
def test_a_damaged_last_known_good_does_not_stop_the_start(world, content):
    """The worker waits for its controller and says why it serves nothing."""
    path = world.data / "gateway" / "table.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    world.start_controller()
    world.publish([world.project({"champion": "legit"})], 1)
    worker = world.worker()

    good = encode(world.manifest([world.project({"champion": "legit"})]))

    assert worker.predict()[0] == 200
    eventually(lambda: path.read_bytes() == good)


def test_a_project_whose_models_are_gone_does_not_stop_the_others(world):
    """Start from the last known good with a blob missing: that project waits, the others serve."""
    good = world.project({"champion": "legit"}, name="good")
    row = TableRow("default", "bad", "0" * 64, 1, ())
    manifest = world.manifest([good])
    path = world.data / "gateway" / "table.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(encode(type(manifest)(1, (*manifest.rows, row))))
    worker = world.worker()

    assert worker.predict(project="good")[0] == 200
    assert worker.predict(project="bad")[0] == 503


def test_a_kill_switch_from_the_controller_comes_with_the_table(served, world, kit):
    """The whole project: champion. One variant: its share goes to the champion."""
    rules = [kit.rule(use="b")]
    project = world.project({"champion": "legit", "b": "fraud"}, rules, number=2)
    world.publish([project], 2)
    eventually(lambda: served.predict()[2]["variant"] == "b")
    for version, switch in ((3, "default/fraud"), (4, "default/fraud/b")):
        world.publish([project], version, killed=(switch,))
        eventually(lambda version=version: served.report()["table"] == version)
        answer = served.predict()[2]
        assert (answer["variant"], answer["reason"]) == ("champion", "KILLED")
    world.publish([project], 5)
    eventually(lambda: served.predict()[2]["variant"] == "b")
    served.kill()
    live = [r.live for r in served.records() if isinstance(r, DecisionRecord)]

    assert ("*",) in live
    assert ("b",) in live


def test_a_local_kill_switch_needs_nothing_but_the_disk(world, kit):
    """Heeded within a second, in the journal, survives a restart, and is lifted as fast."""
    rules = [kit.rule(use="b")]
    world.publish([world.project({"champion": "legit", "b": "fraud"}, rules)])
    worker = world.worker()
    path = world.data / "gateway" / "overrides.json"
    started = time.monotonic()
    assert set_switch(path, Switch("default/fraud/b", actor="ann", reason="smells"))
    assert not set_switch(path, Switch("default/fraud/b"))
    eventually(lambda: worker.predict()[2]["reason"] == "KILLED")
    took_s = time.monotonic() - started
    worker.kill()
    again = world.worker()
    killed = again.predict()[2]
    path.write_bytes(b"{ torn")
    time.sleep(0.8)
    torn = again.predict()[2]
    problem = again.report()["problem"]
    path.unlink()
    eventually(lambda: again.predict()[2]["variant"] == "b")
    acts = [r for r in again.records() if isinstance(r, OverrideRecord)]

    assert took_s < 1.0
    assert killed["reason"] == torn["reason"] == "KILLED"
    assert "overrides.json" in problem
    assert [(a.target, a.set, a.actor, a.reason) for a in acts] == [
        ("default/fraud/b", True, "ann", "smells"),
        ("default/fraud/b", False, "", "lifted"),  # by whom, the file does not say
    ]
    assert not lift_switch(path, "default/fraud/b")
