"""The servers people use today, each in its fastest form on one core."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import subjects
from bench.servers import HOST, Cores, Door, Server, free_port, running, tree, wait_for
from bench.subjects import Subject
from tests.peers import environments

FASTAPI = "FastAPI + scikit-learn"
MLSERVER = "MLServer 1.7.1"


@contextmanager
def fastapi(subject: Subject, directory: Path, cores: Cores) -> Iterator[Server]:
    """The plain service: one uvicorn process with uvloop and httptools, no access log."""
    environment = {
        "BENCH_MODEL": str(subjects.save(subject, directory / "model.joblib")),
        "BENCH_COLUMNS": ",".join(f"{name}:{kind}" for name, kind in subject.columns.items()),
        "BENCH_ARRAY": "1" if subject.array else "0",
    }
    port = free_port()
    command = [str(environments.python("fastapi")), "-m", "uvicorn"]
    command += ["bench.services.fastapi_app:app", "--host", HOST, "--port", str(port)]
    command += ["--no-access-log", "--log-level", "warning"]
    log = directory / "fastapi.log"
    with running(command, log, cores.server, environment) as process:
        wait_for(f"http://{HOST}:{port}/health", log)
        door = Door(FASTAPI, port, "/predict", subjects.as_row, "class", lambda: tree(process.pid))
        yield Server(process.pid, [door])


@contextmanager
def mlserver(subject: Subject, directory: Path, cores: Cores) -> Iterator[Server]:
    """MLServer with its scikit-learn runtime.

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
    model = _mlserver_model(subject, subjects.save(subject, directory / "model.joblib"))
    (directory / "settings.json").write_text(json.dumps(settings))
    (directory / "model-settings.json").write_text(json.dumps(model))
    # Its program sits beside its interpreter.
    program = environments.python("mlserver").with_name("mlserver")
    log = directory / "mlserver.log"
    with running([str(program), "start", str(directory)], log, cores.server, {}) as process:
        wait_for(f"http://{HOST}:{ports[0]}/v2/models/income/ready", log)
        path = "/v2/models/income/infer"
        door = Door(
            MLSERVER, ports[0], path, subjects.as_bare_tensors, "tensor", lambda: tree(process.pid)
        )
        yield Server(process.pid, [door])


def _mlserver_model(subject: Subject, file: Path) -> dict[str, Any]:
    """Settings of its model: an array where the model takes one, else a table of named columns."""
    parameters: dict[str, Any] = {
        "uri": str(file),
        "version": "1",
        "extra": {"predict_fn": "predict_proba"},
    }
    model: dict[str, Any] = {
        "name": "income",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": parameters,
    }
    if not subject.array:
        parameters["content_type"] = "pd"
        model["inputs"] = [
            {
                "name": name,
                "datatype": "FP64" if kind == "double" else "BYTES",
                "shape": [-1],
                "parameters": {"content_type": "np" if kind == "double" else "str"},
            }
            for name, kind in subject.columns.items()
        ]
    return model
