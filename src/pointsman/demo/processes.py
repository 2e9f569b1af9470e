"""The demo's child processes: started on free ports, watched as they start, ended for certain."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pointsman.domain.errors import Kind, PointsmanError

HOST: Final = "127.0.0.1"
_PR_SET_PDEATHSIG: Final = 1
_POLL_S: Final = 0.1
_LOG_TAIL: Final = 2000
_libc: Final = ctypes.CDLL(None, use_errno=True)
_direct: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Everything here is on loopback, which no proxy can reach."""


class Process:
    """One child with a process group of its own.

    A group of its own, because a Ctrl-C in the terminal must reach the demo alone: it ends its
    children in order. Should the demo be killed outright, the kernel ends the child; it ends it
    with the thread that started it, so start from one that lives as long as the child should.
    log: where its output goes; None = to the terminal
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path | None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        parent = os.getpid()
        with log.open("wb") if log else contextlib.nullcontext() as file:
            self.popen = subprocess.Popen(
                list(command),
                env=surroundings() | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT if file else None,
                start_new_session=True,
                preexec_fn=lambda: _die_with(parent),  # noqa: PLW1509 - one system call, no locks
            )

    def said(self) -> str:
        """What is in its log so far."""
        return self.log.read_text(errors="replace") if self.log else ""

    def alive(self) -> bool:
        return self.popen.poll() is None

    def wait_until(self, ready: Callable[[], bool], limit_s: float) -> None:
        """Returns as soon as it is ready.

        Raises PointsmanError(UNAVAILABLE) with the end of its log if it ends or takes too long.
        """
        until = time.monotonic() + limit_s
        while not ready():
            if not self.alive():
                raise self._failed(f"ended with status {self.popen.returncode}")
            if time.monotonic() > until:
                raise self._failed(f"was not ready within {limit_s:.0f} s")
            time.sleep(_POLL_S)

    def finish(self, limit_s: float) -> None:
        """Waits for its end. Raises PointsmanError(UNAVAILABLE) unless it ends well and in time."""
        try:
            status = self.popen.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise self._failed(f"did not end within {limit_s:.0f} s") from None
        if status != 0:
            raise self._failed(f"ended with status {status}")

    def stop(self, limit_s: float) -> bool:
        """Asks it to end, then makes it and all of its group. Whether asking was enough."""
        asked = True
        if self.alive():
            self.popen.terminate()
            try:
                self.popen.wait(limit_s)
            except subprocess.TimeoutExpired:
                asked = False
        # Whoever it left behind has its process group still.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        return asked

    def _failed(self, what: str) -> PointsmanError:
        end = self.said()[-_LOG_TAIL:].strip()
        told = f"; the end of {self.log}:\n{end}" if self.log else ", see above"
        return PointsmanError(Kind.UNAVAILABLE, f"{self.name} {what}{told}")


class Processes:
    """Everything the demo has started; ended last first when the block ends, however it ends."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.running: list[tuple[Process, float]] = []

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        stop_s: float = 10.0,
        shown: bool = False,
    ) -> Process:
        """stop_s: how long it may take to end when asked; shown: on the terminal, not in a log"""
        log = None if shown else self.logs / f"{name}.log"
        process = Process(name, command, log, environment)
        self.running.append((process, stop_s))
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A second signal must not leave anybody behind.
        ours = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGINT, signal.SIGTERM) if ours else ()
        before = [(number, signal.signal(number, signal.SIG_IGN)) for number in numbers]
        try:
            for process, stop_s in reversed(self.running):
                process.stop(stop_s)
        finally:
            for number, handler in before:
                signal.signal(number, handler)


def python(*arguments: str) -> list[str]:
    """A command for the interpreter the demo runs on."""
    return [sys.executable, *arguments]


def surroundings() -> dict[str, str]:
    """The environment children get: nobody's settings for another Pointsman or MLflow, no proxy."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("POINTSMAN_", "MLFLOW_"))
    }
    return kept | {"NO_PROXY": f"{HOST},localhost", "no_proxy": f"{HOST},localhost"}


def free_port(wanted: int = 0) -> int:
    """The wanted port where it is free, else one that is. 0 = any."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            # As servers do it: a port left a moment ago counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise PointsmanError(Kind.UNAVAILABLE, f"no free port on {HOST}")


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with _direct.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def read(url: str, body: bytes | None = None, token: str = "") -> str:
    """The text a GET (with a body: a POST) is answered with. Raises OSError."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - our own servers' addresses
    with _direct.open(request, timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def _die_with(parent: int) -> None:
    """In the child: end when the parent does, also if it is gone already."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
