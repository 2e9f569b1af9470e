"""`pointsman demo` where the usual ports are taken: everything it claims, and a clean end."""

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.end_to_end.serving import LIMIT_S, call

from pointsman.demo.processes import HOST, python

USUAL_PORTS = (8700, 8701, 5000)
ROWS = 2000
SENTENCES = ("goes from 0 % to 10 %", "succeeded", "rolled back from 10 %")
DEMO_LIMIT_S = 800.0
CHECKS = 17


def test_the_demo_shows_what_it_claims_and_serves_until_ctrl_c(tmp_path: Path) -> None:
    """All checks hold, the printed curl line works while it serves, Ctrl-C ends it with 0."""
    with _taken(USUAL_PORTS), _demo(tmp_path, "--rows", str(ROWS)) as (demo, output):
        _wait_for(demo, output, "Serving until Ctrl-C")
        shown = output.read_text()
        line = shlex.split(next(text for text in shown.splitlines() if "curl -s http" in text))
        base, path = re.fullmatch(r"(http://[^/]+)(/.*)", line[2]).groups()
        status, answer = call(base, "POST", path, json.loads(line[4]))
        demo.send_signal(signal.SIGINT)
        ended = demo.wait(LIMIT_S)

    assert shown.count("  ok  ") == CHECKS, shown
    assert "  NO  " not in shown, shown
    assert f"all {ROWS:,} labels are joined, none twice" in shown
    assert "recomputed from its record and its table: equal" in shown
    assert all(sentence in shown for sentence in SENTENCES), shown
    assert not any(f":{port}" in shown for port in USUAL_PORTS)
    assert status == 200, answer
    assert answer["class"] in {"<=50K", ">50K"}
    assert ended == 0, output.read_text()
    assert _left_behind(tmp_path) == []


def test_a_demo_that_is_interrupted_leaves_nobody_behind(tmp_path: Path) -> None:
    """Ctrl-C while everything is being started: 130, and no process is left."""
    with _demo(tmp_path, "--exit") as (demo, output):
        _wait_for(demo, output, "[1/8]")
        time.sleep(2)
        demo.send_signal(signal.SIGINT)
        ended = demo.wait(LIMIT_S)

    assert ended == 130, output.read_text()
    assert "interrupted; everything is stopped" in output.read_text()
    assert _left_behind(tmp_path) == []


def test_a_directory_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    """The demo empties only what a demo has made."""
    (tmp_path / "thesis.tex").write_text("precious")

    with _demo(tmp_path, "--exit", directory=tmp_path) as (demo, output):
        ended = demo.wait(LIMIT_S)

    assert ended == 1
    assert "holds something that is not a demo's" in output.read_text()
    assert (tmp_path / "thesis.tex").read_text() == "precious"


@contextlib.contextmanager
def _demo(
    home: Path, *arguments: str, directory: Path | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The demo as a process, and the file its output goes to; killed if it outlives the block."""
    output = home / "output.txt"
    place = directory or home / "demo"
    command = python("-m", "pointsman.cli", "demo", "--directory", str(place), *arguments)
    # In a session of its own: a signal from here reaches the demo alone, as from a terminal.
    with output.open("wb") as file:
        demo = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"COLUMNS": "200", "PYTHONUNBUFFERED": "1"},
        )
    try:
        yield demo, output
    finally:
        demo.kill()
        demo.wait()


def _wait_for(demo: subprocess.Popen[bytes], output: Path, words: str) -> None:
    until = time.monotonic() + DEMO_LIMIT_S
    while words not in output.read_text(errors="replace"):
        assert demo.poll() is None, output.read_text(errors="replace")
        assert time.monotonic() < until, output.read_text(errors="replace")
        time.sleep(0.2)


@contextlib.contextmanager
def _taken(ports: tuple[int, ...]) -> Iterator[None]:
    """Listens on the ports, unless somebody does already."""
    with contextlib.ExitStack() as stack:
        for port in ports:
            listener = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                listener.bind((HOST, port))
                listener.listen()
        yield


def _left_behind(directory: Path) -> list[str]:
    """Command lines of processes that name the directory, after a moment to be gone."""
    for _ in range(50):
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_text() if entry.name.isdigit() else ""
                if str(directory) in words:
                    found.append(words.replace("\0", " "))
        if not found:
            return []
        time.sleep(0.1)
    return found
