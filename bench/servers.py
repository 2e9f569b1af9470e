"""Starts the servers to compare, each on one core, and stops them again."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bench import subjects
from bench.subjects import Subject
from tests.peers import environments

HOST: Final = "127.0.0.1"
ROOT: Final = Path(__file__).resolve().parent.parent
START_LIMIT_S: Final = 120.0
STOP_LIMIT_S: Final = 20.0


class Door(NamedTuple):
    """One way to ask a running server. reader: a key of `load.READERS`"""

    name: str
    port: int
    path: str
    body: Callable[[Subject, int], bytes]
    reader: str

    def requests(self, subject: Subject) -> list[str]:
        host = f"{HOST}:{self.port}"
        rows = range(len(subject.rows))
        return [subjects.http(self.path, host, self.body(subject, row)) for row in rows]


@contextmanager
def fastapi(subject: Subject, directory: Path, core: int | None) -> Iterator[list[Door]]:
    """The plain service, one uvicorn process with uvloop and httptools, no access log."""
    environment = {
        "BENCH_MODEL": str(subjects.save(subject, directory / "model.joblib")),
        "BENCH_COLUMNS": ",".join(f"{name}:{kind}" for name, kind in subject.columns.items()),
        "BENCH_ARRAY": "1" if subject.array else "0",
    }
    port = free_port()
    command = [str(environments.python("fastapi")), "-m", "uvicorn"]
    command += ["bench.services.fastapi_app:app", "--host", HOST, "--port", str(port)]
    command += ["--no-access-log", "--log-level", "warning"]
    with running(command, directory / "fastapi.log", core, environment):
        wait_for(f"http://{HOST}:{port}/health", directory / "fastapi.log")
        yield [Door("FastAPI + scikit-learn", port, "/predict", subjects.as_row, "class")]


@contextmanager
def mlserver(subject: Subject, directory: Path, core: int | None) -> Iterator[list[Door]]:
    """MLServer with its scikit-learn runtime, in its fastest form on one core.

    `parallel_workers: 0` keeps the model in the server's own process; `debug: false` leaves out the
    access log.
    """
    ports = [free_port() for _ in range(3)]
    settings = {
        "host": HOST,
        **dict(zip(("http_port", "grpc_port", "metrics_port"), ports, strict=True)),
        "metrics_dir": str(directory),
        "parallel_workers": 0,
        "debug": False,
    }
    model = {
        "name": "income",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {
            "uri": str(subjects.save(subject, directory / "model.joblib")),
            "version": "1",
            "extra": {"predict_fn": "predict_proba"},
        },
    }
    if not subject.array:
        model["parameters"] |= {"content_type": "pd"}  # type: ignore[operator] # a dict, see above
        model["inputs"] = [
            {
                "name": name,
                "datatype": "FP64" if kind == "double" else "BYTES",
                "shape": [-1],
                "parameters": {"content_type": "np" if kind == "double" else "str"},
            }
            for name, kind in subject.columns.items()
        ]
    (directory / "settings.json").write_text(json.dumps(settings))
    (directory / "model-settings.json").write_text(json.dumps(model))
    # Its program sits beside its interpreter.
    program = environments.python("mlserver").with_name("mlserver")
    log = directory / "mlserver.log"
    with running([str(program), "start", str(directory)], log, core, {}):
        wait_for(f"http://{HOST}:{ports[0]}/v2/models/income/ready", log)
        path = "/v2/models/income/infer"
        yield [Door("MLServer 1.7.1", ports[0], path, subjects.as_array, "tensor")]


@contextmanager
def running(
    command: list[str], log: Path, core: int | None, environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """The process and all its children on one core, ended when the block ends."""
    everywhere = os.sched_getaffinity(0)
    with log.open("wb") as file:
        if core is not None:
            # Ours for a moment: children inherit it, so that not one instruction runs elsewhere.
            os.sched_setaffinity(0, {core})
        try:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        finally:
            os.sched_setaffinity(0, everywhere)
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
