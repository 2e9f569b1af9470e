"""A controller for the command line to talk to, and the command line as a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from control_process import ControlProcess, running


class Said(NamedTuple):
    code: int
    out: str
    err: str


class CommandLine:
    """`pointsman ...` in a process of its own, as its users run it."""

    def __init__(self, control: ControlProcess) -> None:
        self.control = control

    def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> Said:
        done = subprocess.run(
            [sys.executable, "-m", "pointsman.cli", *arguments],
            input=stdin.encode(),
            capture_output=True,
            timeout=120,
            check=False,
            env={
                **os.environ,
                "POINTSMAN_URL": self.control.url,
                "POINTSMAN_TOKEN": self.control.token,
                "COLUMNS": "200",
                **environment,
            },
        )
        return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlProcess]:
    with running(tmp_path_factory.mktemp("cli")) as found:
        yield found


@pytest.fixture(scope="module")
def run(control: ControlProcess) -> CommandLine:
    return CommandLine(control)
