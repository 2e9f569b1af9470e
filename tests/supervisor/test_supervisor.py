"""The supervisor with real processes: restarts, order, impatience, and death with the parent."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.supervisor import GIVE_UP, Backoff, Child, Supervisor

QUICK = Backoff(first_s=0.02, most_s=0.2, healthy_s=60.0)

WRITES_ITS_PID = """
import os, sys, time
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(60)
"""

STOPS_SLOWLY = """
import signal, sys, time
def leave(*_):
    time.sleep(float(sys.argv[2]))
    with open(sys.argv[1], "a") as file:
        file.write(sys.argv[3] + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("up", flush=True)
while True:
    time.sleep(0.01)
"""

SUPERVISES_THREE = """
import asyncio, sys
from pointsman.supervisor import Child, Supervisor
children = [Child(str(n), ("-c", sys.argv[2], sys.argv[1])) for n in range(3)]
asyncio.run(Supervisor(children).run())
"""

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(60)
"""


def child(name: str, code: str, *arguments: str, **more: object) -> Child:
    return Child(name, ("-c", code, *arguments), **more)  # type: ignore[arg-type] # by test


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


async def until(found: Callable[[], bool], limit_s: float = 15.0) -> None:
    async with asyncio.timeout(limit_s):
        while not found():  # noqa: ASYNC110 - other processes' files
            await asyncio.sleep(0.01)


def supervised(
    children: list[Child], act: Callable[[Supervisor], Awaitable[None]]
) -> tuple[int, float]:
    """Runs the children, does `act` to them, stops them. The exit code, and seconds to stop."""

    async def both() -> tuple[int, float]:
        supervisor = Supervisor(children, QUICK)
        running = asyncio.create_task(supervisor.run())
        await act(supervisor)
        started = time.monotonic()
        supervisor.stop()
        return await running, time.monotonic() - started

    return asyncio.run(both())


def test_a_killed_child_is_back_at_once(tmp_path: Path) -> None:
    """Killed again and again, by any process: another one is there, under the same name."""
    pids = tmp_path / "pids"

    async def act(supervisor: Supervisor) -> None:
        for count in range(1, 6):
            await until(lambda count=count: len(lines(pids)) == count)  # type: ignore[misc] # bound
            os.kill(supervisor.pids()["one"], signal.SIGKILL)
        await until(lambda: len(lines(pids)) == 6)

    code, _ = supervised([child("one", WRITES_ITS_PID, str(pids))], act)

    assert code == 0
    assert len(set(lines(pids))) == 6


def test_stages_stop_one_after_the_other(tmp_path: Path) -> None:
    """Workers drain before the runner they use, the runner before the controller."""
    order = tmp_path / "order"
    children = [
        child("last", STOPS_SLOWLY, str(order), "0", "last", stage=2),
        child("first", STOPS_SLOWLY, str(order), "0.3", "first", stage=0),
        child("second", STOPS_SLOWLY, str(order), "0.1", "second", stage=1),
    ]

    async def act(supervisor: Supervisor) -> None:
        await until(lambda: len(supervisor.pids()) == 3)
        await asyncio.sleep(0.5)

    code, _ = supervised(children, act)

    assert code == 0
    assert lines(order) == ["first", "second", "last"]


def test_who_does_not_stop_in_time_is_killed() -> None:
    async def act(supervisor: Supervisor) -> None:
        await until(lambda: len(supervisor.pids()) == 1)
        await asyncio.sleep(0.5)

    code, took_s = supervised([child("deaf", STUBBORN, drain_s=0.5)], act)

    assert code == 1
    assert took_s < 5.0


def test_a_second_stop_does_not_wait() -> None:
    async def act(supervisor: Supervisor) -> None:
        await until(lambda: len(supervisor.pids()) == 1)
        await asyncio.sleep(0.5)
        supervisor.stop()

    code, took_s = supervised([child("deaf", STUBBORN, drain_s=60.0)], act)

    assert code == 1
    assert took_s < 5.0


def test_everybody_ready_is_told_once() -> None:
    """Ready means what the child's own check says, not that a process exists."""
    told: list[float] = []
    asked: list[int] = []

    async def ready(pid: int) -> bool:
        asked.append(pid)
        return len(asked) >= 3

    async def both() -> None:
        supervisor = Supervisor(
            [child("one", STUBBORN, ready=ready, drain_s=0.1), child("two", STUBBORN, drain_s=0.1)],
            QUICK,
        )

        async def announce() -> None:
            told.append(len(asked))

        running = asyncio.create_task(supervisor.run(announce))
        await until(lambda: bool(told))
        supervisor.stop()
        supervisor.stop()
        await running

    asyncio.run(both())

    assert told == [3]


def test_a_child_that_can_never_start_ends_everything() -> None:
    """A data directory in use does not become free by trying: the parent stops and says so."""

    async def both() -> int:
        hopeless = child("hopeless", f"raise SystemExit({GIVE_UP})")
        return await Supervisor([hopeless, child("other", "import time; time.sleep(60)")]).run()

    assert asyncio.run(asyncio.wait_for(both(), 20)) == 1


def test_children_die_with_their_parent(tmp_path: Path) -> None:
    """SIGKILL to the parent leaves nobody behind."""
    pids = tmp_path / "pids"
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            SUPERVISES_THREE,
            str(pids),
            WRITES_ITS_PID,
        ]
    )
    try:
        asyncio.run(until(lambda: len(lines(pids)) == 3))
        parent.kill()
        parent.wait(10)

        asyncio.run(until(lambda: not any(alive(int(pid)) for pid in lines(pids)), 5.0))
    finally:
        parent.kill()


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_lines_of_children_carry_their_names(capfd: pytest.CaptureFixture[str]) -> None:
    talks = "import time; print('one'); print('two', end='', flush=True); time.sleep(60)"

    async def act(supervisor: Supervisor) -> None:
        await until(lambda: len(supervisor.pids()) == 1)
        await asyncio.sleep(0.5)

    supervised([child("talker", talks, drain_s=2.0)], act)

    said = capfd.readouterr().err
    assert "talker | one\n" in said
    assert "talker | two\n" in said


def test_a_child_does_not_get_variables_that_are_hidden_from_it(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets of one child are not there for the others to read."""
    monkeypatch.setenv("FOR_ONE_ONLY", "canary")
    code = "import os; print('it is', os.environ.get('FOR_ONE_ONLY')); raise SystemExit(78)"
    curious = child("curious", code, hidden=frozenset({"FOR_ONE_ONLY"}))

    asyncio.run(Supervisor([curious], QUICK).run())

    assert "curious | it is None\n" in capfd.readouterr().err


@given(failures=st.integers(1, 10_000), draw=st.floats(0, 1, exclude_max=True))
def test_backoff_is_bounded_and_never_zero(failures: int, draw: float) -> None:
    backoff = Backoff()

    delay_s = backoff.delay_s(failures, draw)

    assert backoff.first_s / 2 <= delay_s <= backoff.most_s
    assert delay_s <= backoff.delay_s(failures + 1, 0.0)
