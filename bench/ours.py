"""Pointsman under test: `pointsman serve` with one worker and everything on."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import mlflow.models
import mlflow.sklearn
from bench import subjects
from bench.servers import Cores, Door, Server, move, on_core, tree, wait_for
from bench.subjects import Subject

from pointsman.demo import servers as started
from pointsman.demo.processes import Processes, python, surroundings

NATIVE: Final = "Pointsman :predict"
PROTOCOL: Final = "Pointsman infer"
ALL_ON_ONE: Final = "Pointsman :predict, ingest on the same core"
LOWEST: Final = 19

PROJECT: Final = """
apiVersion: pointsman/v1
kind: Project
metadata: {{name: income}}
spec:
  classes: ["<=50K", ">50K"]
  positive: ">50K"
  unit: person_id
  context: {{person_id: string, country: string, amount: double}}
  features: {{from: "{model}"}}
  decision: {{threshold: 0.5, deny: ["<=50K"]}}
  variants:
    champion: {{model: "{model}"}}
    challenger: {{model: "{model}"}}
    refused: {{constant: "<=50K"}}
  rules:
    - {{name: embargo, when: 'request.country in ["KP", "SY"]', use: refused}}
    - {{name: large, when: 'request.amount > 10000.0', use: champion}}
    - {{name: default, split: {{champion: 90, challenger: 10}}, fallback: [champion, refused]}}
"""
"""Two conditions that every request is checked against and none meets, then a split; both arms are
the model that the other servers serve."""


@contextmanager
def pointsman(
    subject: Subject,
    directory: Path,
    cores: Cores,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Everything on: rules, validation, decision log, metrics.

    The gateway, its parent and the model runner have the server's core. The controller with its
    ingester, which is no part of a request, runs beside the load at the lowest priority, as it
    would run on another core or machine; the last door moves it to the gateway's core.
    """
    project = directory / "project.yaml"
    project.write_text(PROJECT.format(model=_saved(subject, directory / "model")))
    with Processes(directory) as processes:
        arguments = ("--workers", "1", "--allow-local", str(directory), "--log-level", "warning")
        with on_core(cores.server):
            serving = started.pointsman(
                processes, directory / "data", arguments, environment=environment
            )
        serving = started.ready(serving)
        _apply(serving, project)
        wait_for(f"{serving.data_url}/v2/models/income/ready", directory / "pointsman.log")
        parent = serving.process.popen.pid
        controller = next(pid for pid in tree(parent) if _is_controller(pid))
        port = int(serving.data_url.rpartition(":")[2])
        native, protocol = "/v1/projects/income:predict", "/v2/models/income/infer"

        def beside() -> None:
            move(controller, cores.load, LOWEST)

        def together() -> None:
            move(controller, cores.server, 0)

        def gateway() -> list[int]:
            return [pid for pid in tree(parent) if pid not in tree(controller)]

        def everything() -> list[int]:
            return tree(parent)

        yield Server(
            parent,
            [
                Door(NATIVE, port, native, subjects.as_features, "class", gateway, beside),
                Door(PROTOCOL, port, protocol, subjects.as_tensors, "tensor", gateway, beside),
                Door(ALL_ON_ONE, port, native, subjects.as_features, "class", everything, together),
            ],
        )


def _saved(subject: Subject, path: Path) -> Path:
    """The pipeline as MLflow writes it: what Pointsman resolves, compiles and proves."""
    rows = subjects.example(subject)
    mlflow.sklearn.save_model(
        subject.framed,
        path,
        signature=mlflow.models.infer_signature(rows, subject.framed.predict_proba(rows)),
        input_example=rows,
        pip_requirements=["scikit-learn"],
    )
    return path


def _apply(serving: started.Running, project: Path) -> None:
    done = subprocess.run(
        python("-m", "pointsman.cli", "apply", "--yes", "-f", str(project)),
        env=surroundings() | {"POINTSMAN_URL": serving.admin_url, "POINTSMAN_TOKEN": serving.token},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"apply failed:\n{done.stdout}{done.stderr}")


def _is_controller(pid: int) -> bool:
    return b"pointsman.wiring.control" in Path(f"/proc/{pid}/cmdline").read_bytes()
