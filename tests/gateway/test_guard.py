"""The local guard: counts of real workers, a real parent's looks, switches on a real disk."""

import json
import time

from pointsman.domain.events import Event, happened
from pointsman.domain.records import DecisionRecord, OverrideRecord
from pointsman.domain.table import Bound, Guard, Runtime, Variant, encode
from pointsman.gateway.counters import merged
from pointsman.gateway.guarding import GuardWatch
from pointsman.gateway.overrides import lift_switch, read
from pointsman.gateway.tally import Seen
from pointsman.judge.guard import MAX_VALUES

EVIDENCE = "a" * 32
DENIED = Bound("deny_rate", "denied", 0.01, relative=False, slices=("channel",))
ERRORS = Bound("errors", "error", 0.10, relative=True)
MALFORMED = Bound("malformed", "malformed", 0.01, relative=False)


def challenger(**more):
    fields = {"constant": "fraud", "deny": ("fraud",)} | more
    return Variant("challenger", "2", "", "", Runtime.CONSTANT, **fields)


def guarded(world, kit, newcomer, *bounds, number=1, evidence=EVIDENCE, **more):
    """A project that splits evenly between a champion that allows and this newcomer."""
    rules = [kit.rule(split={"champion": 1, "challenger": 1}, fallback=("champion",))]
    watched = Guard("all", "challenger", "champion", evidence, 0.5, 0.05, bounds)
    variants = {"champion": "legit", "challenger": newcomer}
    return world.project(variants, rules, number=number, guards=(watched,), **more)


def eventually(check, timeout_s=10.0):
    """The first truthy answer; fails when none comes."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        found = check()
        if found:
            return found
    raise AssertionError("it did not happen in time")


def parent(world):
    gateway = world.data / "gateway"
    return GuardWatch(gateway, world.blobs.root, gateway / "counters")


def ask(worker, units, **more):
    """Answers by unit; each is asked once."""
    return {
        f"u{n}": worker.predict(unit=f"u{n}", context={"amount": 1.0, **more})[2] for n in units
    }


def counted(world, evidence=EVIDENCE):
    """By (name, arm, slice)."""
    directory = world.data / "gateway" / "guards" / evidence
    return {
        (name, dict(labels).get("arm", ""), dict(labels).get("slice")): value
        for (name, labels), value in merged(directory).items()
    }


def switches(world):
    return {s.target: s for s in read(world.data / "gateway" / "overrides.json").switches}


def test_a_breach_is_a_switch_that_every_worker_heeds_and_the_journal_has(world, kit):
    """One look after the evidence is there: nobody gets the variant any more, whoever restarts;
    later records say who was out, with the probabilities that were in force."""
    world.publish([guarded(world, kit, challenger(), DENIED)])
    listener = kit.listening()
    one, two = (world.worker(slot, listener=listener) for slot in (0, 1))
    watch = parent(world)
    before = ask(one, range(60))
    found = watch.tick()
    switch = switches(world)["default/fraud/challenger"]
    eventually(lambda: not _by_challenger(one) and not _by_challenger(two))
    after = ask(one, range(60))
    again = parent(world).tick()
    for worker in (one, two):
        worker.kill()
    third = world.worker(0, listener=listener)
    restarted = ask(third, range(60, 80))
    metrics = third.metrics()
    third.kill()
    records = [*one.records(), *two.records()]
    decisions = [record for record in records if isinstance(record, DecisionRecord)]
    overrides = [record for record in records if isinstance(record, OverrideRecord)]

    assert {answer["variant"] for answer in before.values()} == {"champion", "challenger"}
    assert [breach.metric for breach in found] == ["deny_rate"]
    assert (switch.actor, switch.version) == ("guard", "2")
    assert "deny_rate of challenger is 100.0%" in switch.reason
    assert {answer["variant"] for answer in [*after.values(), *restarted.values()]} == {"champion"}
    assert [(o.target, o.set, o.actor) for o in overrides] == [
        ("default/fraud/challenger", True, "guard")
    ]
    assert overrides[0].reason == switch.reason
    out = [record for record in decisions if record.live == ("challenger",)]
    assert out
    assert {(r.propensity, r.propensities) for r in out} == {(1.0, (("champion", 1.0),))}
    assert {r.propensity for r in decisions if not r.live} == {0.5}
    assert again == []
    label = 'metric="deny_rate",project="default/fraud",variant="challenger"'
    assert metrics[f"pointsman_guard_breaches_total{{{label}}}"] == 1.0


def _by_challenger(worker):
    return any(a["variant"] == "challenger" for a in ask(worker, range(60, 90)).values())


def test_only_first_exposures_of_units_that_the_split_drew_count(world, kit):
    """By assigned variant and slice: not pins, not repeats; a fallback's answer is its own."""
    world.publish([guarded(world, kit, challenger(), DENIED, ERRORS)])
    listener = kit.listening()
    one, two = (world.worker(slot, listener=listener) for slot in (0, 1))
    answers = ask(one, range(20))
    for worker in (one, two):
        ask(worker, range(20), channel="app")
    worker_of_pin = one.predict(unit="u99", context={"amount": 1.0}, variant="challenger")
    own = sum(answer["variant"] == "challenger" for answer in answers.values())
    one.kill()
    two.kill()
    counts = counted(world)

    assert worker_of_pin[2]["reason"] == "PINNED"
    assert 0 < own < 20
    assert counts["n", "challenger", ""] == counts["denied", "challenger", ""] == own
    assert counts["n", "champion", ""] == 20 - own
    assert counts["denied", "champion", ""] == 0
    assert counts["n", "challenger", "channel=web"] == own
    assert counts["n", "challenger", "channel=app"] == own
    assert counts["error", "challenger", ""] == 0


def test_a_worker_counts_what_its_records_say(world, kit):
    """Every kind of event, by the rules of the control plane, from the journal alone."""
    events = [
        *[Event(kind) for kind in ("denied", "positive", "error", "fallback", "malformed")],
        *[Event("timeout"), Event("score", 0.9), Event("cost", 0.5), Event("latency", 1.0)],
    ]
    bounds = [Bound(e.name, e.kind, 0.01, relative=False, limit=e.limit) for e in events]
    # Its probabilities are NaN where the amount is not small.
    nan = world.model((-1.0, 0.0), bias=20.0, function="Sqrt")
    newcomer = Variant(
        "challenger", "2", "models:/fraud/2", nan, Runtime.ONNX, cost_per_request=1.0
    )
    world.publish([guarded(world, kit, newcomer, *bounds)])
    worker = world.worker()
    for n in range(80):
        row = {**kit.row, "amount": 5.0 if n % 3 else 500.0}
        worker.predict(row, unit=f"u{n % 50}", context={"amount": 1.0})
        body = {"unit": f"v{n}", "context": {"amount": 1.0}}
        worker.post("/v1/projects/fraud:decide", body)
    worker.kill()
    expected: dict[tuple[str, str], int] = {}
    seen = set()
    for record in worker.records():
        if not record.action or record.unit in seen:
            continue
        seen.add(record.unit)
        for event in events:
            was = happened(event, record, ("legit", "fraud"), "fraud")
            key = (event.name, record.assigned)
            expected[key] = expected.get(key, 0) + bool(was)
    counts = {(name, arm): v for (name, arm, place), v in counted(world).items() if place == ""}

    assert len(seen) == counts["n", "challenger"] + counts["n", "champion"] == 50
    assert {key: counts[key] for key in expected} == expected
    happening = {name for (name, arm), count in expected.items() if count}
    assert happening == {e.name for e in events} - {"timeout", "denied"}


def test_slices_are_bounded(world, kit):
    """Values that come after the bound share one slice, so nobody can fill the disk with them."""
    world.publish([guarded(world, kit, challenger(), DENIED)])
    worker = world.worker()
    for n in range(3 * MAX_VALUES):
        worker.predict(unit=f"u{n}", context={"amount": 1.0, "channel": f"c{n}"})
    worker.kill()
    counts = counted(world)
    slices = {place for name, _, place in counts if name == "n"} - {""}

    assert len(slices) == MAX_VALUES + 1
    assert sum(v for (name, _, p), v in counts.items() if name == "n" and p == "channel=*") == (
        2 * MAX_VALUES
    )


def test_nothing_is_counted_where_nothing_is_declared(world, kit):
    """A table without a guard leaves no trace of one."""
    rules = [kit.rule(split={"champion": 1, "challenger": 1})]
    world.publish([world.project({"champion": "legit", "challenger": challenger()}, rules)])
    worker = world.worker()
    ask(worker, range(5))

    assert not (world.data / "gateway" / "guards").exists()
    assert parent(world).tick() == []


def test_a_variant_that_answers_nan_is_out_after_five_in_a_row(world, kit):
    """Whatever its fallback says meanwhile; the same caller trying again is no run."""
    nan = world.model((-1.0, 0.0), function="Sqrt")
    world.publish([guarded(world, kit, nan, MALFORMED)])
    worker = world.worker()
    for _ in range(20):
        answers = [worker.predict(unit=_one_of_the_challenger(worker), context={"amount": 1.0})]
    watch = parent(world)
    stubborn = watch.tick()
    ask(worker, range(30))
    found = watch.tick()
    counts = counted(world)

    assert {answer[2]["reason"] for answer in answers} == {"FALLBACK"}
    assert stubborn == []
    assert [(breach.metric, breach.slice) for breach in found] == [("failures", "")]
    assert "failed 5 requests in a row" in switches(world)["default/fraud/challenger"].reason
    assert counts["malformed", "challenger", ""] == counts["n", "challenger", ""] > 5


def _one_of_the_challenger(worker):
    """A unit that the split gives to the challenger, always the same."""
    found = getattr(worker, "unit_of_challenger", "")
    for n in range(100, 200):
        if found:
            break
        answer = worker.predict(unit=f"u{n}", context={"amount": 1.0})[2]
        if answer["reason"] == "FALLBACK":
            found = f"u{n}"
    worker.unit_of_challenger = found
    return found


def test_what_the_caller_sent_wrong_is_no_fault_of_the_variant(world, kit):
    """A value that no model can take fails the request, and ejects nobody."""
    world.publish([guarded(world, kit, world.model(), ERRORS)])
    worker = world.worker()
    for n in range(60):
        row = {**kit.row, "age-years": 2**53 + 1}
        worker.predict(row, unit=f"u{n}", context={"amount": 1.0})
    worker.kill()

    assert parent(world).tick() == []
    assert switches(world) == {}


def test_lifted_by_people_it_begins_anew(world, kit):
    """What was counted before no longer counts, even after a restart of the parent; what is harmful
    still is found harmful again."""
    world.publish([guarded(world, kit, challenger(), DENIED)])
    worker = world.worker()
    ask(worker, range(60))
    path = world.data / "gateway" / "overrides.json"
    first = parent(world).tick()
    eventually(lambda: not _by_challenger(worker))
    assert parent(world).tick() == []
    assert lift_switch(path, "default/fraud/challenger")
    at_once = [*parent(world).tick(), *parent(world).tick()]
    eventually(lambda: _by_challenger(worker))
    ask(worker, range(60))
    second = parent(world).tick()
    eventually(lambda: not _by_challenger(worker))
    records = [record for record in worker.records() if isinstance(record, OverrideRecord)]

    assert len(first) == len(second) == 1
    assert at_once == []
    assert [record.set for record in records] == [True, False, True]
    assert records[1].at_ms > records[0].at_ms


def test_its_switch_ends_with_the_version_it_is_about(world, kit):
    """Another version of the variant in the table: the guard lets it in. New weights alone do not,
    and a switch that people set is theirs."""
    world.publish([guarded(world, kit, challenger(), DENIED)])
    worker = world.worker()
    ask(worker, range(60))
    watch = parent(world)
    watch.tick()
    worker.kill()
    reweighted = guarded(world, kit, challenger(), DENIED, number=2, evidence="b" * 32)
    world.publish([reweighted], 2)
    watch.tick()
    still = switches(world)
    newer = guarded(world, kit, kit.replace(challenger(), version="3"), number=3, evidence="c" * 32)
    world.publish([newer], 3)
    watch.tick()

    assert set(still) == {"default/fraud/challenger"}
    assert switches(world) == {}
    assert [p.name for p in (world.data / "gateway" / "guards").iterdir()] == []


def test_a_switch_set_while_no_worker_ran_is_journaled_when_one_comes(world, kit):
    """Once, however often workers restart."""
    world.publish([guarded(world, kit, challenger(), DENIED)])
    worker = world.worker()
    ask(worker, range(60))
    worker.kill()
    assert len(parent(world).tick()) == 1
    for _ in range(2):
        worker = world.worker()
        worker.terminate()
        worker.wait()
    records = [record for record in worker.records() if isinstance(record, OverrideRecord)]

    assert [(record.target, record.actor) for record in records] == [
        ("default/fraud/challenger", "guard")
    ]


def test_a_torn_override_file_lifts_nothing_and_is_left_alone(world, kit):
    """The guard cannot add to what it cannot read; it says so, and goes on when it can."""
    world.publish([guarded(world, kit, challenger(), DENIED)])
    worker = world.worker()
    ask(worker, range(60))
    path = world.data / "gateway" / "overrides.json"
    path.write_bytes(b"{ torn")
    watch = parent(world)
    torn = watch.tick()
    path.write_bytes(json.dumps({"format": 1, "switches": []}).encode())
    mended = watch.tick()

    assert torn == []
    assert len(mended) == 1


def test_a_damaged_table_leaves_the_guards_of_the_one_before(world, kit):
    """As it is with serving."""
    world.publish([guarded(world, kit, challenger(), DENIED)])
    worker = world.worker()
    ask(worker, range(60))
    watch = parent(world)
    path = world.data / "gateway" / "table.json"
    good = path.read_bytes()
    switches_before = switches(world)
    watch._read_table()
    path.write_bytes(good[:-20])
    found = watch.tick()

    assert switches_before == {}
    assert len(found) == 1


def test_a_place_taken_by_another_unit_leaves_the_second_out(tmp_path):
    """Whoever comes second to a place is never counted, so each unit counts at most once, in every
    worker that shares the file."""
    one, two = Seen(tmp_path / "seen"), Seen(tmp_path / "seen")
    units = [f"u{n}".encode() for n in range(2000)]
    first = [unit for unit in units if one.first(unit, 0)]
    again = [unit for unit in units if two.first(unit, 0)]
    in_a_slice = [unit for unit in units if two.first(unit, 7)]
    one.forget()

    assert 1990 <= len(first) <= 2000
    assert again == []
    assert len(in_a_slice) >= 1980
    assert two.first(units[0], 0)


def test_a_guard_travels_in_the_table(world, kit):
    """A gateway of this release reads it back as it was published."""
    table = guarded(world, kit, challenger(), DENIED, ERRORS)

    assert b'"event":"denied"' in encode(table)


def test_a_disk_without_room_for_counts_does_not_stop_serving(world, kit):
    """The project is served without its guard, and the log says so."""
    guards = world.data / "gateway" / "guards"
    guards.mkdir(parents=True)
    (guards / EVIDENCE).write_bytes(b"in the way")
    world.publish([guarded(world, kit, challenger(), DENIED)])
    worker = world.worker()

    assert len({answer["variant"] for answer in ask(worker, range(30)).values()}) == 2
    assert "is served without its local guard" in worker.said()
    assert parent(world).tick() == []
