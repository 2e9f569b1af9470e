"""The two servers of the demo, as an operator starts them: an MLflow registry and Pointsman."""

import importlib.util
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from pointsman.demo.processes import HOST, Process, Processes, answers, free_port, python
from pointsman.domain.errors import Kind, PointsmanError

REGISTRY: Final = "demo"
START_LIMIT_S: Final = 120.0
"""Generous: a laptop under load imports MLflow in 15 s."""
_GREETING: Final = re.compile(r"^(data plane|admin API|admin token) +(\S+)", re.MULTILINE)


class Running(NamedTuple):
    """A started Pointsman. token: of the admin API, empty where the data directory had one"""

    process: Process
    data_url: str
    admin_url: str
    token: str


def check_installed() -> None:
    """Raises PointsmanError(UNAVAILABLE) naming what the demo needs and is not installed."""
    missing = [name for name in ("mlflow", "sklearn") if importlib.util.find_spec(name) is None]
    if missing:
        raise PointsmanError(
            Kind.UNAVAILABLE,
            f"the demo trains models and needs {' and '.join(missing)}",
            hint="install it: pip install 'pointsman[mlflow]'",
        )


def mlflow(processes: Processes, home: Path, wanted_port: int = 0) -> tuple[Process, str]:
    """An MLflow server with its database and files below `home`, and its address."""
    home.mkdir(parents=True, exist_ok=True)
    port = free_port(wanted_port)
    command = python("-m", "mlflow", "server", "--host", HOST, "--port", str(port))
    command += ["--backend-store-uri", f"sqlite:///{home.absolute() / 'mlflow.db'}"]
    command += ["--artifacts-destination", (home.absolute() / "artifacts").as_uri()]
    command += ["--serve-artifacts", "--workers", "1"]
    environment = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Its job runners: nine more processes that nothing here needs.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    process = processes.start("mlflow", command, environment)
    return process, f"http://{HOST}:{port}"


def pointsman(  # noqa: PLR0913 - what an operator may say
    processes: Processes,
    data: Path,
    arguments: tuple[str, ...],
    *,
    ports: tuple[int, int] = (0, 0),
    name: str = "pointsman",
    environment: Mapping[str, str] | None = None,
) -> Running:
    """`pointsman serve`, as soon as it says where it is; `ready` waits until it serves.

    ports: wanted of the data plane and the admin API; others where they are taken
    """
    data_port, admin_port = (free_port(port) if port else 0 for port in ports)
    command = python("-m", "pointsman.cli", "serve", "--data", str(data))
    command += ["--host", HOST, "--port", str(data_port)]
    command += ["--admin-host", HOST, "--admin-port", str(admin_port), *arguments]
    # Long enough for workers to finish what is in flight, and the ingester its turn.
    process = processes.start(name, command, environment, stop_s=40.0)
    process.wait_until(lambda: "admin API" in _greeting(process), START_LIMIT_S)
    found = _greeting(process)
    return Running(process, found["data plane"], found["admin API"], "")


def ready(running: Running) -> Running:
    """The same once it serves and its controller answers, with the admin token if it is new."""
    process = running.process
    process.wait_until(lambda: answers(f"{running.data_url}/v2/health/ready"), START_LIMIT_S)
    process.wait_until(lambda: answers(f"{running.admin_url}/healthz"), START_LIMIT_S)
    process.wait_until(lambda: "ready; try:" in process.said(), START_LIMIT_S)
    return running._replace(token=_greeting(process).get("admin token", ""))


def _greeting(process: Process) -> dict[str, str]:
    return dict(_GREETING.findall(process.said()))


def eventually(holds: Callable[[], bool], limit_s: float, every_s: float = 0.5) -> bool:
    """Whether it came to hold within the limit."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(every_s)
    return False
