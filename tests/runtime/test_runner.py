"""The model runner, as a real process with real models that crash, stall and lie."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_directories import CLASSES, NUMBERS, NUMERIC, people, save, scripted, version
from sklearn.ensemble import HistGradientBoostingClassifier

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.runtime.blobs import BlobStore
from pointsman.runtime.preparation import Prepared, Request, prepare
from pointsman.runtime.runner_client import RunnerClient

ROWS = people(200)
STALL_S = 2.0


class Store:
    """Two prepared native models: one that behaves and one that does as it is told."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "blobs"
        blobs = BlobStore(self.root)
        self.good = HistGradientBoostingClassifier(max_iter=5).fit(
            ROWS[list(NUMERIC)], ROWS["label"]
        )

        def artifact(name: str, model: Any, form: str) -> Prepared:
            made = save(directory / name, model, NUMBERS, form=form)
            return prepare(Request(version(), made, CLASSES), blobs)

        self.steady = artifact("steady", self.good, "skops").digest
        self.script = artifact("script", scripted(), "cloudpickle").digest


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


class Running:
    """A runner process that can be killed and started again."""

    def __init__(self, root: Path, path: Path) -> None:
        self.path = path
        self._root = root
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "pointsman.runtime.runner", "--socket", str(self.path)]
        command += ["--blobs", str(self._root), "--stall-s", str(STALL_S)]
        self.process = subprocess.Popen(command)
        deadline = time.monotonic() + 30
        while not _listens(self.path):
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def children(self) -> list[int]:
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in text.split()]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@pytest.fixture
def runner(store: Store, tmp_path: Path) -> Iterator[Running]:
    running = Running(store.root, tmp_path / "runner.sock")
    yield running
    running.process.terminate()
    try:
        running.process.wait(10)
    finally:
        running.process.kill()


def ends(pid: int, seconds: float = 5.0) -> bool:
    """Whether the process is gone, or about to be."""
    status = Path(f"/proc/{pid}/status")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if "State:\tZ" in status.read_text():
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


@asynccontextmanager
async def connected(runner: Running, *digests: str) -> AsyncIterator[RunnerClient]:
    client = RunnerClient(runner.path)
    async with asyncio.timeout(60):
        for digest in digests:
            await client.warm(digest)
        yield client
    await client.close()


async def failure(call: Awaitable[Any]) -> PointsmanError:
    with pytest.raises(PointsmanError) as raised:
        await call
    return raised.value


async def eventually(ask: Callable[[], Awaitable[Any]], seconds: float = 30.0) -> Any:
    """The answer of the first call that succeeds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await ask()
        except PointsmanError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


def script(value: float) -> list[tuple[float, float, float]]:
    return [(value, 0.0, 0.0)]


def test_answers_are_those_of_the_model(runner: Running, store: Store) -> None:
    """Alone and many at a time, each caller gets its own rows' probabilities."""
    rows = ROWS[list(NUMERIC)].to_numpy().tolist()
    expected = store.good.predict_proba(ROWS[list(NUMERIC)])

    async def scenario() -> None:
        async with connected(runner) as client:
            features = await client.warm(store.steady)
            assert features == NUMBERS
            whole = await client.score(store.steady, rows, 10)
            np.testing.assert_allclose(whole, expected, atol=1e-12)
            calls = [client.score(store.steady, rows[i : i + 3], 10) for i in range(0, 150, 3)]
            parts = await asyncio.gather(*calls)
            np.testing.assert_allclose(np.concatenate(parts), expected[:150], atol=1e-12)

    asyncio.run(scenario())


def test_one_bad_call_in_a_batch_fails_alone(runner: Running, store: Store) -> None:
    """Calls that wait together are one batch; where that raises, each is asked on its own."""

    async def scenario() -> None:
        async with connected(runner, store.script) as client:
            answers = await asyncio.gather(
                *(client.score(store.script, script(v), 10) for v in (0.1, -3, 0.9, -4, -5, 0.5)),
                return_exceptions=True,
            )
            kinds = [a.kind if isinstance(a, PointsmanError) else a[0, 1] for a in answers]
            failed = Kind.BACKEND_FAILED
            assert kinds[:3] == [0.1, failed, 0.9]
            assert kinds[3] is failed
            assert kinds[4] in {failed, Kind.INVALID}
            assert kinds[5] == 0.5

    asyncio.run(scenario())


def test_a_crash_fails_its_callers_at_once_and_touches_no_other_model(
    runner: Running, store: Store
) -> None:
    """The crashed model answers UNAVAILABLE-like errors until it is back by itself."""

    async def scenario() -> None:
        async with connected(runner, store.steady, store.script) as client:
            started = time.monotonic()
            error = await failure(client.score(store.script, script(-1), 30))
            assert error.kind is Kind.BACKEND_FAILED
            assert "ended with status 7" in error.message
            assert time.monotonic() - started < 5
            again = await failure(client.score(store.script, script(0.5), 30))
            assert again.kind is Kind.BACKEND_FAILED
            good = await client.score(store.steady, [(30.0, 0.0, 40.0)], 5)
            assert good.shape == (1, 2)
            back = await eventually(lambda: client.score(store.script, script(0.25), 5))
            assert back.tolist() == [[0.75, 0.25]]

    asyncio.run(scenario())


def test_kill_9_of_a_models_process(runner: Running, store: Store) -> None:
    """Calls under way fail at once; the next process answers as before."""

    async def scenario() -> None:
        async with connected(runner, store.script) as client:
            stalled = asyncio.create_task(client.score(store.script, script(-2), 30))
            await asyncio.sleep(0.3)
            (child,) = runner.children()
            os.kill(child, signal.SIGKILL)
            error = await failure(stalled)
            assert "SIGKILL" in error.message
            await eventually(lambda: client.score(store.script, script(0.5), 5))
            assert runner.children() != [child]

    asyncio.run(scenario())


def test_a_stalled_model_is_ended_and_others_go_on(runner: Running, store: Store) -> None:
    """Callers leave at their own deadline; the process at the stall limit; nobody else notices."""

    async def scenario() -> None:
        async with connected(runner, store.steady, store.script) as client:
            started = time.monotonic()
            error = await failure(client.score(store.script, script(-2), 0.3))
            assert error.kind is Kind.TIMEOUT
            assert time.monotonic() - started < STALL_S
            assert (await client.score(store.steady, [(30.0, 0.0, 40.0)], 5)).shape == (1, 2)
            await eventually(lambda: client.score(store.script, script(0.5), 5))

    asyncio.run(scenario())


def test_kill_9_of_the_runner(runner: Running, store: Store) -> None:
    """Its models die with it, calls fail at once, and the client finds the next runner."""

    async def scenario() -> None:
        async with connected(runner, store.script) as client:
            (child,) = runner.children()
            stalled = asyncio.create_task(client.score(store.script, script(-2), 30))
            await asyncio.sleep(0.3)
            runner.kill()
            assert (await failure(stalled)).kind is Kind.UNAVAILABLE
            error = await failure(client.score(store.script, script(0.5), 5))
            assert error.kind is Kind.UNAVAILABLE
            assert ends(child)
            runner.start()
            await eventually(lambda: client.score(store.script, script(0.5), 5))

    asyncio.run(scenario())


def test_what_cannot_be_loaded_says_why(runner: Running, store: Store) -> None:
    """Absent blobs, blobs that are no manifests, names that are no digests."""
    blobs = BlobStore(store.root)
    other = blobs.put_bytes(b"not a manifest")

    async def scenario() -> None:
        async with connected(runner) as client:
            assert (await failure(client.warm("0" * 64))).kind is Kind.UNAVAILABLE
            assert (await failure(client.warm(other))).kind is Kind.INVALID
            assert (await failure(client.warm("../etc"))).kind is Kind.INVALID

    asyncio.run(scenario())


def test_overload_is_refused_and_not_queued_without_end(runner: Running, store: Store) -> None:
    """While a model stalls, only so many rows wait; the rest hear OVERLOADED at once."""
    rows = script(0.5) * 1024

    async def scenario() -> None:
        async with connected(runner, store.script) as client:
            calls = [client.score(store.script, script(-2), 1)]
            calls += [client.score(store.script, rows, 1) for _ in range(20)]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            kinds = [a.kind for a in answers if isinstance(a, PointsmanError)]
            assert kinds.count(Kind.OVERLOADED) >= 3
            assert set(kinds) == {Kind.OVERLOADED, Kind.TIMEOUT}
            large = await failure(client.score(store.script, script(0.5) * 1025, 1))
            assert large.kind is Kind.TOO_LARGE

    asyncio.run(scenario())


@pytest.mark.parametrize("nonsense", [b"\xff" * 64, b"\x00\x00\x00\x04nope", b"GET / HTTP/1.1\r\n"])
def test_a_peer_that_does_not_speak_the_protocol(
    runner: Running, store: Store, nonsense: bytes
) -> None:
    """It is disconnected, and others are served."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(10)
        peer.connect(str(runner.path))
        peer.sendall(nonsense)
        with suppress(ConnectionResetError):
            assert peer.recv(1) == b""

    assert runner.process.poll() is None
    assert _listens(runner.path)


def test_a_second_runner_on_the_same_socket_is_refused(runner: Running, store: Store) -> None:
    """A living runner keeps its socket; a dead one's is taken over."""
    command = [sys.executable, "-m", "pointsman.runtime.runner", "--socket", str(runner.path)]
    second = subprocess.run(
        [*command, "--blobs", str(store.root)], check=False, capture_output=True, timeout=30
    )

    assert second.returncode != 0
    assert b"another model runner answers" in second.stderr
    assert _listens(runner.path)


def test_sigterm_leaves_nothing_behind(runner: Running, store: Store) -> None:
    """Models end, and socket and files are gone."""

    async def scenario() -> list[int]:
        async with connected(runner, store.script):
            return runner.children()

    children = asyncio.run(scenario())
    runner.process.terminate()

    assert runner.process.wait(10) == 0
    assert all(ends(child) for child in children)
    assert list(runner.path.parent.iterdir()) == []
