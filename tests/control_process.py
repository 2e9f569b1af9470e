"""A real controller under test: a process of its own, on a free port, asked over HTTP."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec

from pointsman.wiring import offline
from pointsman.wiring.handover import Handover, read_ready

START_S: Final = 60.0


class ControlProcess:
    """One controller, and a client that holds its admin token."""

    def __init__(self, data: Path, environment: Mapping[str, str]) -> None:
        self.data = data
        self._environment = dict(environment)
        self.url = ""
        self._client = httpx2.Client(timeout=120.0, trust_env=False)
        self.process: subprocess.Popen[bytes]
        self.start()
        self.token = str(offline.create_token(data, "tester", "admin", "")["token"])

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pointsman.wiring.control"],
            env={
                **os.environ,
                "POINTSMAN_DATA": str(self.data),
                "POINTSMAN_ADMIN_PORT": str(free_port()),
                "POINTSMAN_LOG_LEVEL": "info",
                **self._environment,
            },
            stdout=(self.data / "log").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_S
        while True:
            ready = read_ready(self.data / "run")
            if ready is not None and ready.pid == self.process.pid:
                break
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the controller did not start:\n{self.said()}")
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{ready.port}"

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(20)

    def said(self) -> str:
        return (self.data / "log").read_text(errors="replace")

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """One call, by default with the admin token. body: JSON value, or bytes as they are"""
        content = body if isinstance(body, bytes | None) else msgspec.json.encode(body)
        given = self.token if token is None else token
        sent = {"authorization": f"Bearer {given}"} if given else {}
        return self._client.request(
            method, f"{self.url}{path}", content=content, headers={**sent, **(headers or {})}
        )

    def status(self, method: str, path: str, token: str) -> int:
        """The status of one call; the body, which may never end, is not read."""
        sent = {"authorization": f"Bearer {token}"} if token else {}
        with self._client.stream(method, f"{self.url}{path}", headers=sent) as answer:
            return int(answer.status_code)

    def apply(self, document: Mapping[str, Any], parent: int = 0, **query: str) -> httpx2.Response:
        """PUT of a project; parent 0: a new one"""
        name = document["metadata"]["name"]
        tenant = document["metadata"].get("tenant", "default")
        path = f"/v1/tenants/{tenant}/projects/{name}"
        if query:
            path += "?" + "&".join(f"{key}={value}" for key, value in query.items())
        return self.call("PUT", path, document, headers={"if-match": f'"{parent}"'})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(data: Path, **environment: str) -> Iterator[ControlProcess]:
    """A controller on an empty directory, ended whatever happens."""
    data.mkdir(exist_ok=True)
    control = ControlProcess(data, environment)
    try:
        yield control
    finally:
        control.stop(signal.SIGKILL)


def handover(gateway_digest: str) -> str:
    """The variable a parent hands its controller."""
    return msgspec.json.encode(Handover(gateway_digest=gateway_digest)).decode()


def project(name: str, split: Mapping[str, int] | None = None, **spec: Any) -> dict[str, Any]:
    """A project of constants: it needs no registry and no preparation."""
    return {
        "apiVersion": "pointsman/v1",
        "kind": "Project",
        "metadata": {"name": name},
        "spec": {
            "classes": ["legit", "fraud"],
            "unit": "account",
            "context": {"account": "string"},
            "features": {"amount": "double"},
            "variants": {
                "champion": {"constant": "legit"},
                "challenger": {"constant": "fraud"},
                "third": {"constant": "fraud"},
            },
            "rules": [
                {
                    "name": "default",
                    "split": dict(split or {"champion": 90, "challenger": 10, "third": 1}),
                }
            ],
            **spec,
        },
    }
