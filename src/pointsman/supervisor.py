"""Keeps child processes running: starts them, restarts the dead, and stops them in order.

Children are exec'd (never forked from a running interpreter), get a session of their own so that a
Ctrl-C in the terminal reaches only the parent, and die with the parent whatever kills it.
"""

import asyncio
import contextlib
import ctypes
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec
import structlog

_log = structlog.get_logger(__name__)
_PR_SET_PDEATHSIG: Final = 1
_READY_POLL_S: Final = 0.05
_LINE_BYTES: Final = 1 << 20


class Backoff(msgspec.Struct, frozen=True):
    """Waits between restarts: doubling from `first_s` up to `most_s`, each cut by up to half.

    A child that was up for `healthy_s` starts over. The first restart is nearly immediate, since a
    killed process should be back before anybody notices; a crash loop must not burn a core.
    """

    first_s: float = 0.1
    most_s: float = 10.0
    healthy_s: float = 10.0

    def delay_s(self, failures: int, draw: float) -> float:
        """failures: consecutive ones, >= 1; draw: on [0, 1)"""
        full = min(self.most_s, self.first_s * 2.0 ** min(failures - 1, 30))
        return full * (1.0 - draw / 2.0)


GIVE_UP: Final = 78
"""Exit code (EX_CONFIG) of a child that would fail the same way each time: everything stops."""


class Child(msgspec.Struct, frozen=True):
    """One process to keep running.

    arguments: after the interpreter, such as `("-m", "pointsman.gateway.worker")`
    environment: on top of ours; hidden: those of ours that it does not get
    stage: children of a lower stage are stopped, and gone, before those of the next are asked to
    drain_s: how long it may take to stop before it is killed
    ready: whether the process of this pid does its work; None = as soon as it runs
    """

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = {}
    hidden: frozenset[str] = frozenset()
    files: tuple[int, ...] = ()
    stage: int = 0
    drain_s: float = 30.0
    ready: Callable[[int], Awaitable[bool]] | None = None


class _Slot:
    """A child's running state."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.process: asyncio.subprocess.Process | None = None
        self.failures = 0
        self.starts = 0
        self.ready = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Supervisor:
    """Runs the children until told to stop.

    `run` installs handlers for SIGTERM and SIGINT: the first asks everybody to drain, a second one
    ends everything now.
    """

    def __init__(self, children: Sequence[Child], backoff: Backoff | None = None) -> None:
        self._slots = [_Slot(child) for child in children]
        self._backoff = backoff or Backoff()
        self._stopping = asyncio.Event()
        self._now = asyncio.Event()
        self._given_up = False
        self._random = random.Random()  # noqa: S311 - jitter, nothing secret

    async def run(self, on_ready: Callable[[], Awaitable[None]] | None = None) -> int:
        """0 after an orderly stop, 1 where a child had to be killed or could never start.

        on_ready: called once, when every child is ready for the first time
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        try:
            for slot in self._slots:
                slot.task = asyncio.create_task(self._keep(slot), name=slot.child.name)
            announce = asyncio.create_task(self._announce(on_ready))
            await self._stopping.wait()
            announce.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await announce
            return await self._drain()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """Drain; called again: end everything now."""
        if self._stopping.is_set():
            self._now.set()
        self._stopping.set()

    def pids(self) -> dict[str, int]:
        """Of the children that are up, by name."""
        return {
            slot.child.name: slot.process.pid
            for slot in self._slots
            if slot.process is not None and slot.process.returncode is None
        }

    async def _announce(self, on_ready: Callable[[], Awaitable[None]] | None) -> None:
        for slot in self._slots:
            await slot.ready.wait()
        if on_ready is not None:
            await on_ready()

    async def _keep(self, slot: _Slot) -> None:
        """Starts the child again and again, until stopping."""
        while not self._stopping.is_set():
            started = time.monotonic()
            code = await self._once(slot)
            if self._stopping.is_set():
                return
            if code == GIVE_UP:
                _log.error("process cannot start; stopping", process=slot.child.name)
                self._given_up = True
                self.stop()
                return
            up_s = time.monotonic() - started
            slot.failures = 1 if up_s >= self._backoff.healthy_s else slot.failures + 1
            wait_s = self._backoff.delay_s(slot.failures, self._random.random())
            _log.warning(
                "process ended",
                process=slot.child.name,
                exit_code=code,
                up_s=round(up_s, 1),
                restart_in_s=round(wait_s, 2),
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait_s)

    async def _once(self, slot: _Slot) -> int:
        """The exit code of one life of the child."""
        child = slot.child
        ours = {name: value for name, value in os.environ.items() if name not in child.hidden}
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *child.arguments,
                env={**ours, **child.environment, "PYTHONUNBUFFERED": "1"},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=child.files,
                start_new_session=True,
                # Safe here: this process has one thread, and the function only calls prctl.
                preexec_fn=_die_with(os.getpid()),
            )
        except OSError as error:
            _log.error("process could not be started", process=child.name, error=str(error))
            return -1
        slot.process = process
        slot.starts += 1
        if self._stopping.is_set():
            # It was being started while the others were told to stop.
            _send(slot, signal.SIGTERM)
        probe = asyncio.create_task(self._probe(slot, process.pid))
        try:
            await _forward(child.name, process)
            return await process.wait()
        finally:
            probe.cancel()
            slot.ready.clear()

    async def _probe(self, slot: _Slot, pid: int) -> None:
        ready = slot.child.ready
        while ready is not None and not await ready(pid):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(_READY_POLL_S)
        slot.ready.set()

    async def _drain(self) -> int:
        """Stops stage after stage; whoever outlasts its time is killed."""
        killed = False
        for stage in sorted({slot.child.stage for slot in self._slots}):
            slots = [slot for slot in self._slots if slot.child.stage == stage]
            for slot in slots:
                _send(slot, signal.SIGTERM)
            limit_s = max(slot.child.drain_s for slot in slots)
            if not await self._gone(slots, limit_s):
                killed = True
                for slot in slots:
                    _send(slot, signal.SIGKILL)
                await self._gone(slots, 5.0, hurry=False)
        return 1 if killed or self._given_up else 0

    async def _gone(self, slots: Sequence[_Slot], limit_s: float, *, hurry: bool = True) -> bool:
        """Whether all of them ended within the limit and before a second signal."""
        tasks = [slot.task for slot in slots if slot.task is not None]
        everybody = asyncio.ensure_future(asyncio.wait(tasks))
        impatient = asyncio.ensure_future(self._now.wait())
        waiting = {everybody, impatient} if hurry else {everybody}
        await asyncio.wait(waiting, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        impatient.cancel()
        if everybody.done():
            return True
        everybody.cancel()
        return False


def _send(slot: _Slot, number: signal.Signals) -> None:
    if slot.process is not None and slot.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            slot.process.send_signal(number)


async def _forward(name: str, process: asyncio.subprocess.Process) -> None:
    """Writes the child's lines to our own standard error, each under its name."""
    if process.stdout is None:
        return
    rest = b""
    while chunk := await process.stdout.read(_LINE_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _LINE_BYTES:
            lines, rest = [*lines, rest], b""
        _write(name, lines)
    if rest:
        _write(name, [rest])


def _write(name: str, lines: Sequence[bytes]) -> None:
    text = "".join(f"{name} | {line.decode(errors='replace')}\n" for line in lines)
    # Whoever read our output may be gone; the children must not go with him.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _die_with(parent: int) -> Callable[[], None]:
    """What the child does before exec: ask the kernel to kill it when its parent dies."""
    if not sys.platform.startswith("linux"):
        return _nothing
    libc = ctypes.CDLL(None, use_errno=True)

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have died between fork and prctl.
        if os.getppid() != parent:
            os._exit(1)

    return ask


def _nothing() -> None:
    """Elsewhere than on Linux the kernel offers no such help: stopping is up to the parent."""
