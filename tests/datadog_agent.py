"""Datadog's own test agent: a real receiver of OTLP, by HTTP and by gRPC, that says what came."""

import json
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.peers import environments

from control_process import free_port

START_S = 60.0


class DatadogAgent:
    """A running one. http, grpc: what OTEL_EXPORTER_OTLP_ENDPOINT is set to"""

    def __init__(self, http_port: int, grpc_port: int) -> None:
        self.http = f"http://127.0.0.1:{http_port}"
        self.grpc = f"http://127.0.0.1:{grpc_port}"

    def _get(self, path: str):
        with urllib.request.urlopen(f"{self.http}{path}", timeout=10) as answer:
            return json.loads(answer.read())

    def spans(self):
        """Every span that came in, as OTLP's JSON has it, with its resource's attributes."""
        return [
            {**span, "attributes": plain(span), "resource": plain(one["resource"])}
            for request in self._get("/test/session/traces")
            for one in request["resource_spans"]
            for scope in one["scope_spans"]
            for span in scope["spans"]
        ]

    def events(self):
        """Every log record that came in, likewise."""
        return [
            {**record, "attributes": plain(record), "resource": plain(one["resource"])}
            for request in self._get("/test/session/logs")
            for one in request["resource_logs"]
            for scope in one["scope_logs"]
            for record in scope["log_records"]
        ]

    def wait_for(self, holds, timeout_s: float = 15.0):
        """What `holds` gives once that is something; it is asked again until then."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            found = holds(self)
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"it did not come in; there is: {self.spans()} {self.events()}")

    def trace(self, trace: str, spans: int):
        """The spans of one trace by name, once there are as many."""

        def found(agent):
            own = [s for s in agent.spans() if id_of(s["trace_id"]) == trace]
            return {span["name"]: span for span in own} if len(own) >= spans else None

        return self.wait_for(found)


def plain(thing):
    """Attributes as a dict of plain values."""
    return {
        pair["key"]: next(iter(pair["value"].values()), None)
        for pair in thing.get("attributes", [])
    }


def id_of(encoded: str) -> str:
    """An id as hex digits; the agent gives bytes as protobuf's JSON does, in base64."""
    import base64

    return base64.b64decode(encoded).hex()


@contextmanager
def running() -> Iterator[DatadogAgent]:
    """A fresh one on free ports, ended whatever happens."""
    interpreter = environments.python("datadog")
    ports = {free_port() for _ in range(3)}
    while len(ports) < 3:
        ports.add(free_port())
    port, http_port, grpc_port = ports
    command = [str(interpreter.parent / "ddapm-test-agent"), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--otlp-http-port", str(http_port)]
    command += ["--otlp-grpc-port", str(grpc_port), "--web-ui-port", "0"]
    with tempfile.TemporaryDirectory(prefix="datadog-agent-") as home:
        log = Path(home) / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(command, cwd=home, stdout=out, stderr=out)
        agent = DatadogAgent(http_port, grpc_port)
        try:
            until = time.monotonic() + START_S
            while True:
                try:
                    agent.spans()
                    break
                except OSError:
                    said = log.read_text()
                    assert process.poll() is None, f"the Datadog test agent ended:\n{said}"
                    assert time.monotonic() < until, f"the test agent is not ready:\n{said}"
                    time.sleep(0.1)
            yield agent
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
