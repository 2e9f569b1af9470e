"""A real MLflow server for tests: one a session, on a free loopback port, in a temporary directory.

Import `mlflow_server` in a conftest to use it. Starting it takes some seconds, importing mlflow in
the test process some more; the registry's own methods need neither.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

START_S = 120.0


class MlflowServerProcess(NamedTuple):
    url: str
    directory: Path
    process: subprocess.Popen[bytes]


def start(directory: Path, artifacts: str = "") -> MlflowServerProcess:
    """A server that answers. artifacts: its artifact root, below `directory` unless given."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Webhooks go to https and public addresses alone unless told otherwise.
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_CACHE_TTL": "1",
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{directory}/mlflow.db"]
    command += ["--artifacts-destination", artifacts or str(directory / "artifacts")]
    log = (directory / "server.log").open("wb")
    process = subprocess.Popen(
        command, stdout=log, stderr=log, env=environment, cwd=directory, start_new_session=True
    )
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return MlflowServerProcess(url, directory, process)
        except (OSError, urllib.error.URLError):
            if process.poll() is not None or time.monotonic() > deadline:
                stop(process)
                text = (directory / "server.log").read_text(errors="replace")
                raise RuntimeError(f"the MLflow server did not start:\n{text[-3000:]}") from None
            time.sleep(0.2)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the server and the workers it started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            continue


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServerProcess]:
    """The session's MLflow server; its models are shared, so give yours names of their own."""
    server = start(tmp_path_factory.mktemp("mlflow"))
    yield server
    stop(server.process)
