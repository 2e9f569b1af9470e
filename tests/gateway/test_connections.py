"""Connections: kept alive, pipelined in order, bounded in size and time, drained on SIGTERM."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

PATH = "/v1/projects/fraud:predict"


@pytest.fixture
def worker(world):
    world.publish([world.project({"champion": world.model()})])
    limits = {"head_s": 0.6, "body_s": 0.8, "idle_s": 1.0, "write_s": 0.6, "connections": 20}
    return world.worker(limits=limits)


def predict(kit, **features):
    body = json.dumps({"features": kit.row | features}).encode()
    return kit.request("POST", PATH, body)


def test_one_connection_answers_many_requests(worker, kit):
    """Fast and slow lane share a kept-alive connection."""
    with worker.connect() as connection:
        stream = connection.makefile("rb")
        for _ in range(3):
            for data in (predict(kit), kit.request("GET", "/v2/health/live")):
                connection.sendall(data)

                assert kit.read_answer(stream)[0] == 200


def test_pipelined_requests_are_answered_in_order(worker, kit):
    """However many arrive at once, and whichever lane they take."""
    sent = [predict(kit, amount=float(n)) for n in range(40)]
    sent.insert(5, kit.request("GET", "/v2/health/live"))
    sent.insert(20, kit.request("GET", "/nope"))
    with worker.connect() as connection:
        connection.sendall(b"".join(sent))
        stream = connection.makefile("rb")
        answers = [kit.read_answer(stream) for _ in sent]

    assert [a[0] for a in answers] == [404 if n == 20 else 200 for n in range(42)]
    scores = [
        json.loads(a[2])["probabilities"]["fraud"]
        for n, a in enumerate(answers)
        if n not in {5, 20}
    ]
    assert scores == pytest.approx(
        [kit.probability((0.1, 0.01), -1.0, kit.row | {"amount": n}) for n in range(40)]
    )


def test_thousands_of_refusals_may_wait_behind_a_request(worker, kit):
    """They are answered one after the other, however deep the queue."""
    bad = kit.request("POST", PATH, b"{")
    with worker.connect() as connection:
        threading.Thread(
            target=connection.sendall, args=(predict(kit) + bad * 4000 + predict(kit),)
        ).start()
        stream = connection.makefile("rb")
        statuses = [kit.read_answer(stream)[0] for _ in range(4002)]

    assert statuses == [200, *[400] * 4000, 200]


def test_good_requests_before_garbage_are_answered(worker, kit):
    """A refusal takes its turn behind what came before it on the connection."""
    with worker.connect() as connection:
        connection.sendall(predict(kit) * 2 + b"\x00garbage\r\n\r\n")
        stream = connection.makefile("rb")
        answers = [kit.read_answer(stream) for _ in range(4)]

    assert [status for status, _, _ in answers] == [200, 200, 400, 0]


def test_a_request_may_come_byte_by_byte(worker, kit):
    """Nothing depends on how the network cuts a request up."""
    data = predict(kit)
    with worker.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place in range(0, len(data), 7):
            connection.sendall(data[place : place + 7])

        assert kit.read_answer(connection.makefile("rb"))[0] == 200


def test_a_chunked_body_is_read(worker, kit):
    """Clients that do not know the length in advance are served."""
    body = json.dumps({"features": kit.row}).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:9], body[9:]))
    head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n".encode()

    assert worker.raw(head + chunks + b"0\r\n\r\n")[0] == 200


def test_an_endless_chunked_body_is_stopped(worker):
    """A body without a length is bounded like any other."""
    head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    piece = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    with worker.connect() as connection:
        connection.sendall(head)
        with contextlib.suppress(OSError):
            for _ in range(40):
                connection.sendall(piece)
        with contextlib.suppress(OSError):
            assert b"413" in connection.makefile("rb").readline()

    assert worker.predict()[0] == 200


def test_expect_continue_is_answered(worker, kit):
    """A client that asks first is told to go on."""
    body = json.dumps({"features": kit.row}).encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    with worker.connect() as connection:
        stream = connection.makefile("rb")
        connection.sendall(head.encode())
        assert stream.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert stream.readline() == b"\r\n"
        connection.sendall(body)

        assert kit.read_answer(stream)[0] == 200


@pytest.mark.parametrize(("version", "header"), [("1.0", ""), ("1.1", "connection: close\r\n")])
def test_connections_close_when_the_client_wants_it(worker, kit, version, header):
    """HTTP/1.0 and `connection: close` end after one answer."""
    body = json.dumps({"features": kit.row}).encode()
    head = f"POST {PATH} HTTP/{version}\r\nhost: localhost\r\n{header}"
    head += f"content-length: {len(body)}\r\n\r\n"
    with worker.connect() as connection:
        connection.sendall(head.encode() + body)
        stream = connection.makefile("rb")

        assert kit.read_answer(stream)[1]["connection"] == "close"
        assert stream.read() == b""


def test_an_upgrade_is_not_taken_up(worker, kit):
    """h2c offers are ignored: the request is answered as HTTP/1.1."""
    body = json.dumps({"features": kit.row}).encode()
    headers = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "A"}

    assert worker.raw(kit.request("POST", PATH, body, headers))[0] == 200


def test_slow_headers_are_cut_off(worker, kit):
    """A client that never finishes its headers is told so and loses its connection."""
    with worker.connect() as connection:
        started = time.monotonic()
        connection.sendall(b"POST / HTTP/1.1\r\n")
        status, _, body = kit.read_answer(connection.makefile("rb"))

        assert (status, json.loads(body)["error"]) == (
            408,
            "the headers of the request did not arrive in time",
        )
        assert time.monotonic() - started < 2.0


@pytest.mark.parametrize("path", [PATH, "/v1/feedback"])
def test_slow_bodies_are_cut_off(worker, kit, path):
    """On both lanes; trickling bytes buy no time."""
    with worker.connect() as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n".encode()
        )
        with contextlib.suppress(OSError):
            for _ in range(12):
                connection.sendall(b" ")
                time.sleep(0.1)

        assert kit.read_answer(connection.makefile("rb"))[0] == 408


def test_silent_and_idle_connections_are_closed(worker, kit):
    """One that never sends, and one that stops sending, both go without an answer."""
    silent, idle = worker.connect(), worker.connect()
    idle.sendall(predict(kit))
    stream = idle.makefile("rb")
    kit.read_answer(stream)

    assert silent.recv(1) == b""
    assert stream.read(1) == b""


def test_a_client_that_does_not_read_is_dropped(worker, kit):
    """It can make the worker hold no more than a socket buffer and one answer."""
    rows = json.dumps({"features": [kit.row] * 2000}).encode()
    with worker.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with contextlib.suppress(OSError):
            for _ in range(200):
                connection.sendall(kit.request("POST", PATH, rows))
        timeouts = 'pointsman_client_timeouts_total{phase="write"}'

        assert kit.until(lambda: worker.metrics().get(timeouts) == 1)


def test_connections_beyond_the_bound_are_refused(worker, kit):
    """With 503 and retry-after, while those that are open go on."""
    held = [worker.connect() for _ in range(20)]
    for connection in held:  # an answer shows that it was accepted
        connection.sendall(predict(kit))
        assert kit.read_answer(connection.makefile("rb"))[0] == 200
    extra = worker.connect()
    status, headers, body = kit.read_answer(extra.makefile("rb"))
    held[0].sendall(predict(kit))

    assert (status, headers["retry-after"]) == (503, "1")
    assert json.loads(body)["kind"] == "overloaded"
    assert kit.read_answer(held[0].makefile("rb"))[0] == 200
    for connection in (*held, extra):
        connection.close()


def test_bodies_that_wait_are_bounded_together(world, kit):
    """Many half-sent bodies cannot take all memory: 503, and room again once they are gone."""
    world.publish([world.project({"champion": world.model()})])
    worker = world.worker(limits={"buffered_bytes": 4 << 20})
    head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {8 << 20}\r\n\r\n".encode()
    held = []
    refused = 0
    for _ in range(6):
        connection = worker.connect(2.0)
        held.append(connection)
        with contextlib.suppress(OSError):
            connection.sendall(head + b" " * (1 << 20))
        connection.settimeout(0.3)
        with contextlib.suppress(OSError):
            refused += connection.makefile("rb").readline().startswith(b"HTTP/1.1 503")
    for connection in held:
        connection.close()

    assert refused >= 2
    assert kit.until(lambda: worker.predict([kit.row] * 9_000)[0] == 200)


def test_workers_share_connections_evenly(world, kit):
    """Long-lived connections do not end up with whoever wakes first: however a burst of them fell
    on a busy machine, those that follow go where fewest are. And when one worker dies the others
    take what comes."""
    world.publish([world.project({"champion": "legit"})])
    listener = kit.listening()
    workers = [world.worker(slot, listener=listener) for slot in range(3)]
    held = [workers[0].connect() for _ in range(30)]
    kit.until(partial(_are_open, workers[0], 31))
    shares = _shares(workers[0])
    while max(shares) - min(shares) > 2 and len(held) < 90:
        open_by_now = sum(shares) + 3
        held += [workers[0].connect() for _ in range(3)]
        kit.until(partial(_are_open, workers[0], open_by_now))
        shares = _shares(workers[0])
    workers[1].kill()
    later = [workers[0].predict()[0] for _ in range(20)]

    assert max(shares) - min(shares) <= 2
    assert later == [200] * 20
    for connection in held:
        connection.close()


def _are_open(worker, connections):
    return sum(_shares(worker)) >= connections


def _shares(worker):
    metrics = worker.metrics()
    # A gauge is there from the first second of a worker on.
    return [metrics.get(f'pointsman_connections{{worker="{slot}"}}', 0) for slot in range(3)]


def test_a_client_that_leaves_harms_nobody(worker, kit):
    """Requests whose client is gone are answered to nobody; others are."""
    for _ in range(30):
        with worker.connect() as connection:
            connection.sendall(predict(kit) * 3)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    assert worker.predict()[0] == 200
    assert worker.process.poll() is None


def test_draining_answers_what_is_in_flight(world, kit):
    """SIGTERM: not ready, no request lost, exit 0; every answer is in the journal."""
    world.publish([world.project({"champion": world.model()})])
    worker = world.worker()
    answered, failed = [], []
    stop = threading.Event()

    def client():
        with contextlib.suppress(ConnectionRefusedError):
            while not stop.is_set():
                with worker.connect() as connection:
                    stream = connection.makefile("rb")
                    while True:
                        connection.sendall(predict(kit))
                        status, headers, body = kit.read_answer(stream)
                        if status != 200:
                            failed.append(status)
                            break
                        answered.append(json.loads(body)["decision_id"])
                        if headers.get("connection") == "close":
                            break

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    kit.until(lambda: len(answered) > 50)
    worker.terminate()
    code = worker.wait()
    stop.set()
    for thread in threads:
        thread.join()

    assert code == 0, worker.said()
    assert failed == []
    assert len(answered) > 50
    assert {record.id for record in worker.records()} >= set(answered)


def test_not_ready_comes_before_the_listener_closes(world, kit):
    """A load balancer has time to notice, and requests still sent here are answered."""
    world.publish([world.project({"champion": world.model()})])
    worker = world.worker(balancer_wait_s=1.0)
    worker.terminate()

    assert kit.until(lambda: worker.get("/v2/health/ready")[0] == 503)
    assert worker.get("/v2/health/live")[0] == 200
    assert worker.predict()[0] == 200
    assert worker.wait() == 0


def test_a_second_signal_ends_at_once(world, kit):
    """Whoever asks twice does not want to wait."""
    world.publish([world.project({"champion": world.model()})])
    worker = world.worker(balancer_wait_s=20.0)
    worker.terminate()
    assert kit.until(lambda: worker.get("/v2/health/ready")[0] == 503)
    worker.terminate()

    assert worker.wait(2.0) == 1


def test_a_worker_dies_with_its_parent(world, tmp_path):
    """A killed parent leaves no worker behind."""
    world.publish([world.project({"champion": world.model()})])
    pid_file = tmp_path / "pid"
    settings = json.dumps({"slot": 0, "fd": 9, "data_dir": str(world.data)})
    script = (
        "import os, socket, subprocess, sys, time\n"
        "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); os.dup2(s.fileno(), 9)\n"
        "p = subprocess.Popen([sys.executable, '-m', 'pointsman.gateway.worker'], pass_fds=[9],\n"
        f"    env={{**os.environ, 'POINTSMAN_WORKER': {settings!r}}})\n"
        f"open({str(pid_file)!r}, 'w').write(str(p.pid)); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])
    report = world.data / "gateway" / "workers" / "0.json"
    until = time.monotonic() + 15
    while not report.exists() and time.monotonic() < until:
        time.sleep(0.05)
    child = int(pid_file.read_text())
    parent.kill()
    parent.wait()
    while _runs(child) and time.monotonic() < until:
        time.sleep(0.05)

    assert not _runs(child)


def _runs(pid):
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
