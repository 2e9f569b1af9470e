"""What all servers under test share: where they run, how they start, when they are at rest."""

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from bench import subjects
from bench.subjects import Subject

HOST: Final = "127.0.0.1"
ROOT: Final = Path(__file__).resolve().parent.parent
START_LIMIT_S: Final = 120.0
STOP_LIMIT_S: Final = 20.0
REST_LOOK_S: Final = 0.3
REST_LIMIT_S: Final = 60.0
REST_SHARE: Final = 0.05
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def _as_is() -> None:
    """Most doors need nothing done before they are asked."""


class Door(NamedTuple):
    """One way to ask a running server.

    reader: a key of `load.READERS`
    works: processes whose processor time its requests cost; prepare: called before each phase
    """

    name: str
    port: int
    path: str
    body: Callable[[Subject, int], bytes]
    reader: str
    works: Callable[[], list[int]]
    prepare: Callable[[], None] = _as_is

    def requests(self, subject: Subject) -> list[str]:
        host = f"{HOST}:{self.port}"
        rows = range(len(subject.rows))
        return [subjects.http(self.path, host, self.body(subject, row)) for row in rows]


class Server(NamedTuple):
    """pid: of the process that all others of this server descend from"""

    pid: int
    doors: list[Door]


class Cores(NamedTuple):
    """Where what runs. None on a machine that has only one core to give."""

    server: int | None
    load: int | None


def cores() -> Cores:
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0], allowed[1]) if len(allowed) > 1 else Cores(None, None)


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Processes started in the block run on that core alone, and so do their children."""
    everywhere = os.sched_getaffinity(0)
    if core is not None:
        # Ours for a moment: children inherit it, so that not one instruction runs elsewhere.
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, everywhere)


@contextmanager
def running(
    command: list[str], log: Path, core: int | None, environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """The process on one core, ended when the block ends."""
    with log.open("wb") as file, on_core(core):
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_LIMIT_S)


def wait_for(url: str, log: Path) -> None:
    """Returns when the server answers 200. Raises RuntimeError with the end of its log."""
    until = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    said = log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"no 200 from {url} within {START_LIMIT_S:.0f} s; its log ends:\n{said}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def settle(servers: list[Server]) -> bool:
    """Whether all servers came to rest: what one still does for its last phase must not slow
    another in the next."""
    until = time.monotonic() + REST_LIMIT_S
    while time.monotonic() < until:
        everybody = [pid for server in servers for pid in tree(server.pid)]
        before = worked_s(everybody)
        time.sleep(REST_LOOK_S)
        if worked_s(everybody) - before <= REST_SHARE * REST_LOOK_S * len(servers):
            return True
    return False


def worked_s(pids: list[int]) -> float:
    """Seconds of processor time the processes have used; those that are gone count nothing."""
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            fields = _fields(Path(f"/proc/{pid}/stat"))
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


def tree(root: int) -> list[int]:
    """The process and all that descend from it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parents[int(entry.name)] = int(_fields(entry / "stat")[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def move(pid: int, core: int | None, niceness: int) -> None:
    """Puts every thread of a process on a core with a priority; new threads follow."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, int(task.name), niceness)
            if core is not None:
                os.sched_setaffinity(int(task.name), {core})


def _fields(stat: Path) -> list[str]:
    """From the third on: the second, a name in parentheses, may hold anything."""
    return stat.read_text().rpartition(")")[2].split()
