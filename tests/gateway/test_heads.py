"""Heads seen before are not parsed again, and nobody can tell."""

import json
import time

import pytest

from pointsman.gateway.heads import Head, KnownHeads

PATH = "/v1/projects/fraud:predict"


@pytest.fixture
def worker(world):
    world.publish([world.project({"champion": world.model()})])
    return world.worker()


def predict(kit, headers=None, **features):
    body = json.dumps({"features": kit.row | features}).encode()
    return kit.request("POST", PATH, body, headers)


def answers(worker, kit, *sent):
    """Each sent on one connection once the one before is answered, so that each comes by itself."""
    with worker.connect() as connection:
        stream = connection.makefile("rb")
        found = []
        for data in sent:
            connection.sendall(data)
            found.append(kit.read_answer(stream))
        return found


def test_a_repeated_head_brings_its_own_body(worker, kit):
    """Only the head is remembered: bodies of one length are read anew each time."""
    amounts = [10.0, 20.0, 30.0, 10.0]
    found = answers(worker, kit, *[predict(kit, amount=amount) for amount in amounts])

    assert [status for status, _, _ in found] == [200] * 4
    scores = [json.loads(body)["probabilities"]["fraud"] for _, _, body in found]
    assert scores == pytest.approx(
        [kit.probability((0.1, 0.01), -1.0, kit.row | {"amount": a}) for a in amounts]
    )
    assert len({json.loads(body)["decision_id"] for _, _, body in found}) == 4


def test_every_repetition_is_recorded(worker, kit):
    """However a request was read, it is decided, logged and counted alike."""
    answered = answers(worker, kit, *[predict(kit)] * 5)
    worker.terminate()
    worker.wait()

    ids = [json.loads(body)["decision_id"] for _, _, body in answered]
    assert [record.id for record in worker.records()] == ids


def test_requests_cut_or_joined_by_the_network_are_told_apart(worker, kit):
    """A known head with half a body waits for the rest; two requests at once are two."""
    data = predict(kit)
    end = data.index(b"\r\n\r\n") + 4
    with worker.connect() as connection:
        stream = connection.makefile("rb")
        for parts in ([data], [data[:end], data[end:]], [data + data], [data[:-3], data[-3:]]):
            for part in parts:
                connection.sendall(part)
        found = [kit.read_answer(stream)[0] for _ in range(5)]

    assert found == [200] * 5


def test_a_head_known_from_a_smaller_body_does_not_shorten_another(worker, kit):
    """The length of the body is a part of the head."""
    small, large = predict(kit, amount=1.5), predict(kit, amount=123456.5)
    found = answers(worker, kit, small, large, small, large)

    assert [status for status, _, _ in found] == [200] * 4


def test_a_key_that_was_revoked_opens_nothing_again(world, kit):
    """Remembered is what a head says, never what it was allowed to do."""
    world.start_controller()
    table = world.project({"champion": world.model()})
    world.publish([table], 1)
    worker = world.worker()
    with worker.connect() as connection:
        stream = connection.makefile("rb")
        for _ in range(3):
            connection.sendall(predict(kit))
            assert kit.read_answer(stream)[0] == 200
        world.publish([table], 2, keyed=True)
        until = time.monotonic() + 10
        while worker.report()["table"] < 2 and time.monotonic() < until:
            time.sleep(0.05)
        connection.sendall(predict(kit))

        assert kit.read_answer(stream)[0] == 401


def test_heads_are_bounded_and_what_is_unique_is_not_kept():
    """In number and in size; room is made at once for others when it is used up."""
    heads = KnownHeads()
    plain = Head(b"/", {b"host": b"localhost"}, 3)
    heads.remember(b"x" * 3000, plain)
    for header in (b"traceparent", b"idempotency-key", b"connection", b"expect"):
        heads.remember(header, Head(b"/", {header: b"1"}, 3))
    assert heads.get(b"x" * 3000) is None
    assert heads.get(b"traceparent") is None

    for number in range(3000):
        heads.remember(str(number).encode(), plain)
    assert heads.get(b"1023") == plain
    assert heads.get(b"1024") is None

    heads.make_room()
    heads.remember(b"1024", plain)
    assert heads.get(b"1024") == plain
