"""A request of many rows that fails: who is recorded as having failed, and who is not."""

from pointsman.domain.records import WITHHELD, DecisionRecord

NEGATIVE = {"amount": -100.0, "age-years": 1, "country": "DE"}


def decisions(worker):
    worker.kill()
    return [record for record in worker.records() if isinstance(record, DecisionRecord)]


def test_only_the_rows_that_nobody_answered_are_served_by_nobody(world, kit):
    """Of one request, each row's variant is recorded for itself; the client gets one error."""
    nan = world.prepared(kit.graph((1.0, 0.0), function="Sqrt"))
    rules = [kit.rule(split={"champion": 1, "challenger": 1})]
    world.publish([world.project({"champion": world.model(), "challenger": nan}, rules)])
    worker = world.worker()
    status, _, _ = worker.predict([kit.row, NEGATIVE] * 40)
    records = decisions(worker)
    bad = [r for place, r in enumerate(records) if place % 2 and r.assigned == "challenger"]
    good = [r for r in records if r not in bad]

    assert status == 503
    assert 0 < len(bad) < 40
    assert {r.assigned for r in good} == {"champion", "challenger"}
    assert all(r.served == r.assigned and r.version and r.action for r in good)
    assert all(len(r.probabilities) == 2 and r.error == WITHHELD and r.withheld for r in good)
    assert {(r.served, r.version, r.probabilities, r.action) for r in bad} == {("", "", (), "")}
    assert all("not probabilities" in r.error and not r.withheld for r in bad)


def test_a_fallback_that_answered_keeps_its_answer_too(world, kit):
    """The assigned variant failed, and is recorded so; the fallback did not."""
    by_amount = world.prepared(kit.graph((1.0, 0.0), function="Sqrt"))
    by_age = world.prepared(kit.graph((0.0, 1.0), function="Sqrt"))
    rules = [kit.rule(use="challenger", fallback=("champion",))]
    world.publish([world.project({"champion": by_amount, "challenger": by_age}, rules)])
    worker = world.worker()
    young = kit.row | {"age-years": -1}
    status, _, _ = worker.predict([young, NEGATIVE, NEGATIVE | {"age-years": -1}])
    records = decisions(worker)

    assert status == 503
    assert [r.served for r in records] == ["champion", "challenger", ""]
    assert [r.served_reason for r in records] == ["FALLBACK", "RULE", "FALLBACK"]
    assert [r.withheld for r in records] == [True, True, False]
    assert records[0].error.startswith("challenger: ")
