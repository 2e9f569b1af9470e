"""A gateway serves from its own disk: without controller, registry and database, and after its own
restart without them."""

import json
import shutil
from pathlib import Path
from typing import Any

from tests.end_to_end.conftest import Registry
from tests.end_to_end.serving import EXAMPLE, LIMIT_S, call

from pointsman.demo import servers
from pointsman.demo.processes import HOST, Process, Processes, answers, free_port, python

PERSON = json.loads((EXAMPLE / "person.json").read_text())
VARIANTS = ("champion", "challenger", "candidate", "too-young")
"""Two that run in the worker, one in the model runner, one nowhere."""


def test_the_gateway_serves_with_everything_else_gone_and_after_its_own_restart(
    prepared: tuple[Path, str], registry: Registry, processes: Processes, tmp_path: Path
) -> None:
    """Every variant, compiled or native, answers the same as before; feedback is still taken."""
    template, token = prepared
    shutil.copytree(template, tmp_path / "control")
    controller, admin_url = _controller(tmp_path / "control", registry, processes)
    key = _gateway_token(tmp_path / "control", processes, admin_url, token)
    gateway, url = _gateway(tmp_path / "gateway", admin_url, key, processes, "gateway-1")
    before = _answers(url)

    controller.popen.kill()
    controller.popen.wait()
    shutil.rmtree(tmp_path / "control")
    registry.stop()
    alone = _answers(url)
    gateway.stop(30)
    again, url = _gateway(tmp_path / "gateway", admin_url, key, processes, "gateway-2")
    at_once = _answer(url, "champion")
    # The model runner, restarted as well, takes some seconds to load the native model.
    assert servers.eventually(lambda: _answer(url, "candidate") == before["candidate"], LIMIT_S)
    restarted = _answers(url)
    decision = call(url, "POST", "/v1/projects/income:predict", PERSON)[1]["decision_id"]
    told = call(url, "POST", "/v1/feedback", [{"decision_id": decision, "label": ">50K"}])
    assert again.stop(30)

    assert {name: answer["variant"] for name, answer in before.items()} == {v: v for v in VARIANTS}
    assert alone == before
    assert at_once == before["champion"]
    assert restarted == before
    assert told[0] == 202, told


def _controller(data: Path, registry: Registry, processes: Processes) -> tuple[Process, str]:
    port = free_port()
    command = python("-m", "pointsman.cli", "controller", "--data", str(data))
    command += ["--admin-host", HOST, "--admin-port", str(port), *registry.arguments]
    process = processes.start("controller-alone", command)
    url = f"http://{HOST}:{port}"
    process.wait_until(lambda: answers(f"{url}/healthz"), servers.START_LIMIT_S)
    return process, url


def _gateway_token(data: Path, processes: Processes, admin_url: str, token: str) -> str:
    """A token with which a gateway may pull tables and blobs, and do nothing else."""
    asked = {"name": "gateway under test", "role": "gateway", "tenant": ""}
    headers = {"authorization": f"Bearer {token}"}
    status, made = call(admin_url, "POST", "/v1/tokens", asked, headers)
    assert status < 300, made
    secret: str = made["token"]
    return secret


def _gateway(
    data: Path, admin_url: str, token: str, processes: Processes, name: str
) -> tuple[Process, str]:
    """`pointsman gateway` with one worker, once it serves the project."""
    port = free_port()
    command = python("-m", "pointsman.cli", "gateway", "--data", str(data), "--workers", "1")
    command += ["--host", HOST, "--port", str(port), "--admin-url", admin_url]
    process = processes.start(name, command, {"POINTSMAN_GATEWAY_TOKEN": token}, stop_s=30.0)
    url = f"http://{HOST}:{port}"
    process.wait_until(lambda: answers(f"{url}/v2/models/income/ready"), servers.START_LIMIT_S)
    return process, url


def _answers(url: str) -> dict[str, Any]:
    """What each variant says about one person, without what differs between any two requests."""
    return {variant: _answer(url, variant) for variant in VARIANTS}


def _answer(url: str, variant: str) -> dict[str, Any]:
    body = PERSON | {"variant": variant}
    _, answer = call(url, "POST", "/v1/projects/income:predict", body)
    found: dict[str, Any] = {name: answer[name] for name in answer if name != "decision_id"}
    return found
