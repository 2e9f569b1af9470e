"""A real Pointsman under test: started, asked, killed part by part, started again."""

import http.client
import json
import subprocess
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pointsman.demo import servers
from pointsman.demo.processes import Processes, free_port, python, surroundings
from pointsman.domain.records import Record
from pointsman.journal.codec import decode_payload
from pointsman.journal.reader import Tail, streams

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLE: Final = ROOT / "examples" / "income"
LIMIT_S: Final = 60.0


class Serving:
    """`pointsman serve` on one data directory; `start` may be called again after `kill`."""

    def __init__(
        self, processes: Processes, data: Path, token: str, arguments: tuple[str, ...]
    ) -> None:
        self.processes = processes
        self.data = data
        self.token = token
        self.arguments = arguments
        self.starts = 0
        self.ports = (0, 0)
        self.running: servers.Running

    def launch(self) -> None:
        """Starts it on the ports it had before; returns as soon as it says where it is."""
        self.starts += 1
        # The kernel ends the children of a killed parent a moment after it.
        assert servers.eventually(self._ports_are_free, LIMIT_S, 0.01)
        name = f"serve-{self.data.name}-{self.starts}"
        self.running = servers.pointsman(
            self.processes, self.data, self.arguments, ports=self.ports, name=name
        )
        self.ports = (port_of(self.running.data_url), port_of(self.running.admin_url))

    def _ports_are_free(self) -> bool:
        return all(free_port(port) == port for port in self.ports if port)

    def start(self, project: str = "income") -> None:
        """Launches it, and waits until it serves the project (none where it is empty)."""
        self.launch()
        self.running = servers.ready(self.running)
        self.token = self.running.token or self.token
        if project:
            self.wait(lambda: self.get(f"/v2/models/{project}/ready")[0] == 200)

    def stop(self) -> None:
        """SIGTERM, in order; it has to be enough."""
        assert self.running.process.stop(LIMIT_S), self.running.process.said()[-2000:]

    def kill(self) -> None:
        """SIGKILL to the parent alone: its children must go with it."""
        self.running.process.popen.kill()
        self.running.process.popen.wait()

    def children(self) -> dict[str, int]:
        """Pids of the parent's children by what they are: worker-0, runner, controller."""
        parent = self.running.process.popen.pid
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _parent_of(entry) == parent:
                role = _role(entry)
                if role:
                    found[role] = int(entry.name)
        return found

    def get(self, path: str) -> tuple[int, Any]:
        return call(self.running.data_url, "GET", path)

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        return call(self.running.data_url, "POST", path, body, headers)

    def admin(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {self.token}"}
        return call(self.running.admin_url, method, path, body, headers)

    def cli(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Runs `pointsman ...` against this one's admin API."""
        environment = {"POINTSMAN_URL": self.running.admin_url, "POINTSMAN_TOKEN": self.token}
        return subprocess.run(
            python("-m", "pointsman.cli", *arguments),
            env=surroundings() | environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def apply(self, text: str) -> None:
        """`pointsman apply`; it comes back when the gateways serve it."""
        done = self.cli("apply", "-f", "-", "--yes", given=text)
        assert done.returncode == 0, done.stdout + done.stderr

    def status(self, project: str = "income") -> dict[str, Any]:
        status, found = self.admin("GET", f"/v1/tenants/default/projects/{project}/status")
        assert status == 200, found
        body: dict[str, Any] = found
        return body

    def wait(self, holds: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
        def now() -> bool:
            try:
                return holds()
            except OSError:
                return False

        assert servers.eventually(now, limit_s, 0.05), self.running.process.said()[-3000:]


def call(
    base: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Status and decoded answer of one request on a connection of its own. Raises OSError."""
    where = urllib.parse.urlsplit(base)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=LIMIT_S)
    try:
        content = None if body is None else json.dumps(body).encode()
        sent = {"content-type": "application/json"} | (headers or {})
        connection.request(method, path, content, sent)
        answer = connection.getresponse()
        raw = answer.read()
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()
    return answer.status, json.loads(raw) if raw else None


def journal(data: Path) -> dict[str, list[Record]]:
    """Everything the journal holds, read by its own rules, by the stream of each worker."""
    found: dict[str, list[Record]] = {}
    for stream in streams(data / "journal"):
        tail = Tail(data / "journal" / stream, stream)
        while frames := tail.read().frames:
            for frame in frames:
                records, unknown = decode_payload(frame.payload)
                assert unknown == 0
                found.setdefault(stream, []).extend(records)
        tail.close()
    return found


def port_of(url: str) -> int:
    return urllib.parse.urlsplit(url).port or 0


def _parent_of(entry: Path) -> int:
    try:
        text = (entry / "stat").read_text()
    except OSError:
        return 0
    # The name in parentheses may hold anything, so count from behind it.
    return int(text.rpartition(")")[2].split()[1])


def _role(entry: Path) -> str:
    """What the process is; empty for one that is gone, or not yet what it is going to be."""
    try:
        words = (entry / "cmdline").read_text().split("\0")
        environment = (entry / "environ").read_text().split("\0")
    except OSError:
        return ""
    module = words[words.index("-m") + 1] if "-m" in words else ""
    if module == "pointsman.gateway.worker":
        told = dict(pair.split("=", 1) for pair in environment if "=" in pair)
        return f"worker-{json.loads(told['POINTSMAN_WORKER'])['slot']}"
    known = {"pointsman.runtime.runner": "runner", "pointsman.wiring.control": "controller"}
    return known.get(module, "")


@contextmanager
def database_held(serving: Serving) -> Iterator[None]:
    """Nobody can read the controller's store or write to it."""
    program = Path(__file__).parent / "hold_database.py"
    command = python(str(program), str(serving.data / "store.db"))
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        yield
    finally:
        holder.stdin.close()
        holder.wait(10)
        holder.stdout.close()
