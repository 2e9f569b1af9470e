"""`pointsman serve` and `pointsman gateway` as processes: what they print, refuse and survive."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from control_process import free_port, project, running

LIMIT_S = 60.0
RESTARTED_S = 15.0
"""On a machine that does much else."""


class Parent:
    """A parent process on ports of its own."""

    def __init__(self, verb: str, data: Path, *arguments: str) -> None:
        self.data = data
        data.mkdir(exist_ok=True)
        self.log = data / "log"
        self.port, self.admin_port = free_port(), free_port()
        ports = ["--port", str(self.port)]
        if verb == "serve":
            ports += ["--admin-port", str(self.admin_port)]
        self.arguments = [verb, "--data", str(data), *ports, "--workers", "2", *arguments]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pointsman.cli", *self.arguments],
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def ready(self) -> str:
        """Everything it said until it was ready."""
        until(lambda: "\nready; try:" in self.said() or self.process.poll() is not None, self)
        return self.said()

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def ask(self, name: str, unit: str = "u") -> httpx2.Response:
        body = {"unit": unit, "context": {"account": unit}, "features": {"amount": 1.0}}
        url = f"http://127.0.0.1:{self.port}/v1/projects/{name}:predict"
        return httpx2.post(url, json=body, timeout=5.0, trust_env=False)

    def admin(self, token: str, method: str, path: str, body: Any = None) -> Any:
        answer = httpx2.request(
            method,
            f"http://127.0.0.1:{self.admin_port}{path}",
            json=body,
            headers={"authorization": f"Bearer {token}"},
            timeout=30.0,
            trust_env=False,
        )
        assert answer.status_code < 300, answer.text
        return answer.json()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


def run_to_its_end(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """`pointsman ...` that is to refuse."""
    return subprocess.run(
        [sys.executable, "-m", "pointsman.cli", *arguments],
        capture_output=True,
        timeout=60,
        check=False,
    )


def until(found: Any, parent: Parent) -> Any:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        try:
            value = found()
        except httpx2.TransportError:
            value = None
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {LIMIT_S} s\n{parent.said()[-4000:]}")


def _serving(name: str, reports: Path) -> int:
    """How many workers say that they serve a project."""
    texts = [path.read_bytes() for path in reports.glob("*.json")]
    return sum(bool(json.loads(text)["projects"].get(name, {}).get("digest")) for text in texts)


@pytest.fixture(scope="module")
def datagrams() -> Iterator[socket.socket]:
    """The UDP socket of a Datadog agent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        yield listening


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, datagrams: socket.socket
) -> Iterator[tuple[Parent, str]]:
    """A parent that is ready, and the admin token it printed."""
    address = f"127.0.0.1:{datagrams.getsockname()[1]}"
    parent = Parent("serve", tmp_path_factory.mktemp("serve"), "--dogstatsd", address)
    try:
        found = re.search(r"pmt_\S+", parent.ready())
        assert found, parent.said()
        parent.admin(
            found[0], "PUT", "/v1/tenants/default/projects/story?wait=20", project("story")
        )
        yield parent, found[0]
    finally:
        parent.end()


def test_it_says_where_it_is_and_what_to_do_next(served: tuple[Parent, str]) -> None:
    parent, _ = served
    said = parent.said()

    assert f"data directory  {parent.data}" in said
    assert f"data plane      http://127.0.0.1:{parent.port}" in said
    assert f"admin API       http://127.0.0.1:{parent.admin_port}" in said
    curl = re.search(r"curl (\S+)", said)
    assert curl
    assert httpx2.get(curl[1], trust_env=False).status_code == 200


def test_decisions_are_stored_explained_and_counted(served: tuple[Parent, str]) -> None:
    """From a prediction over HTTP to its explanation: the same decision when made again."""
    parent, token = served
    ids = [parent.ask("story", f"u{n}").json()["decision_id"] for n in range(50)]

    status = "/v1/tenants/default/projects/story/status"
    until(lambda: parent.admin(token, "GET", status)["rules"][0]["decisions"] >= len(ids), parent)
    explained = [parent.admin(token, "GET", f"/v1/decisions/{name}:explain") for name in ids[:5]]
    found = parent.admin(token, "GET", status)

    assert all(one["equal"] for one in explained), explained
    assert found["phase"] == "serving"
    assert [worker["digest"] for worker in found["table"]["workers"]] == (
        [found["table"]["digest"]] * 2
    )
    assert sum(arm["actual"] for arm in found["rules"][0]["arms"]) == pytest.approx(1.0)


def test_a_local_kill_switch_needs_no_controller(served: tuple[Parent, str]) -> None:
    """Set on disk; heeded within a second; told by status."""
    parent, token = served
    command = [sys.executable, "-m", "pointsman.cli", "kill", "story", "--local", "--data"]

    subprocess.run([*command, str(parent.data)], check=True, capture_output=True)
    started = time.monotonic()
    until(lambda: parent.ask("story").json()["reason"] == "KILLED", parent)
    took_s = time.monotonic() - started
    status = parent.admin(token, "GET", "/v1/tenants/default/projects/story/status")
    command[3] = "unkill"
    subprocess.run([*command, str(parent.data)], check=True, capture_output=True)

    assert took_s < 1.5
    assert status["phase"] == "killed"
    assert status["kill_switches"][0]["where"] == "gateway"
    until(lambda: parent.ask("story").json()["reason"] == "SPLIT", parent)


def test_a_kill_switch_is_heeded_within_a_second(served: tuple[Parent, str]) -> None:
    """Through the controller, by every worker, from the call on."""
    parent, token = served
    path = "/v1/tenants/default/projects/story"
    until(lambda: parent.ask("story").json()["reason"] == "SPLIT", parent)

    started = time.monotonic()
    killed = parent.admin(token, "POST", f"{path}:kill?wait=10")
    took_s = time.monotonic() - started
    reasons = {parent.ask("story", f"u{n}").json()["reason"] for n in range(20)}
    parent.admin(token, "POST", f"{path}:unkill?wait=10")

    assert (killed["workers"]["serving"], reasons) == (2, {"KILLED"})
    assert took_s < 1.0


def test_what_the_workers_count_reaches_a_datadog_agent(
    served: tuple[Parent, str], datagrams: socket.socket
) -> None:
    """Told by their parent, every ten seconds, added up over both."""
    parent, _ = served
    parent.ask("story")
    datagrams.settimeout(LIMIT_S)
    lines: list[str] = []
    wanted = re.compile(r"pointsman\.requests:\d+\|c\|#route:predict,status:200")
    deadline = time.monotonic() + LIMIT_S
    while not any(map(wanted.fullmatch, lines)) and time.monotonic() < deadline:
        lines = datagrams.recv(65_535).decode().split("\n")

    assert any(map(wanted.fullmatch, lines)), lines


def test_tracing_that_cannot_be_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the variable, and with what it may say; not by every worker at its first request."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "sometimes")
    ports = ("--port", "0", "--admin-port", "0")

    done = run_to_its_end("serve", "--data", str(tmp_path), "--tracing", *ports)

    assert done.returncode == 1
    assert b"OTEL_TRACES_SAMPLER: 'sometimes' is not known" in done.stderr
    assert b"parentbased_traceidratio" in done.stderr


def test_a_second_one_on_the_same_directory_is_refused(served: tuple[Parent, str]) -> None:
    parent, _ = served
    arguments = ["serve", "--data", str(parent.data), "--port", "0", "--admin-port", "0"]

    done = run_to_its_end(*arguments)

    assert done.returncode == 1
    assert b"another `pointsman serve` runs" in done.stderr


def test_a_taken_admin_port_is_refused(served: tuple[Parent, str], tmp_path: Path) -> None:
    """Two installations never share a port unnoticed."""
    parent, _ = served
    arguments = ["serve", "--data", str(tmp_path), "--port", "0"]
    arguments += ["--admin-port", str(parent.admin_port)]

    done = run_to_its_end(*arguments)

    assert done.returncode == 1
    assert b"cannot be used" in done.stderr


def test_a_level_nobody_knows_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """A worker that cannot start because of it would be started again for ever."""
    arguments = ["serve", "--data", str(tmp_path / "data"), "--log-level", "loud"]

    done = run_to_its_end(*arguments)

    assert done.returncode == 1
    assert b"--log-level: must be" in done.stderr
    assert b"'warning'" in done.stderr
    assert b"Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_after_a_kill_of_everything_it_is_back_in_seconds(served: tuple[Parent, str]) -> None:
    """SIGKILL to the parent takes all with it; the next start serves what was served."""
    parent, token = served
    before = parent.ask("story", "sticky").json()["variant"]

    parent.process.kill()
    parent.process.wait(10)
    started = time.monotonic()
    parent.start()
    until(lambda: parent.ask("story", "sticky").status_code == 200, parent)
    answering_s = time.monotonic() - started
    said = parent.ready()

    assert answering_s < RESTARTED_S
    assert parent.ask("story", "sticky").json()["variant"] == before
    assert "pmt_" not in said, "the token is shown at the first start only"
    assert parent.admin(token, "GET", "/v1/projects")["projects"][0]["project"] == "default/story"


def test_a_termination_is_orderly(served: tuple[Parent, str]) -> None:
    parent, _ = served
    parent.ready()

    parent.process.send_signal(signal.SIGTERM)

    assert parent.process.wait(30) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "there is no data key"),
        (["--admin-host", "0.0.0.0"], "without TLS"),
        (["--registry", "nonsense"], "NAME=VALUE"),
        (["--trust-registry", "nobody"], "no registry 'nobody'"),
        (["--workers", "9999"], "--workers: must be less than or equal to 256, not '9999'"),
        (["--port", "99999"], "hint: give --port, or set POINTSMAN_PORT"),
        (["--registry", "foo"], "--registry: write NAME=VALUE"),
        (["--port", "-1", "--log-level", "loud"], "2 settings are not valid"),
        (["--data", "/proc/nowhere"], "--data /proc/nowhere: cannot be written to: No such file"),
    ],
)
def test_an_unsafe_or_wrong_setting_is_refused(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pointsman.cli", "serve", "--data", str(tmp_path), *arguments],
        capture_output=True,
        timeout=30,
        check=False,
        env={**os.environ, "POINTSMAN_ADMIN_PORT": "0"},
    )

    assert done.returncode == 1
    assert words in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_gateway_apart_serves_what_a_controller_elsewhere_publishes(tmp_path: Path) -> None:
    """It needs an address and a gateway token, and serves on when the controller is gone."""
    with running(tmp_path / "control") as control:
        control.apply(project("apart"))
        made = control.call("POST", "/v1/tokens", {"name": "edge", "role": "gateway"}).json()
        token = tmp_path / "token"
        token.write_text(made["token"])
        parent = Parent(
            "gateway",
            tmp_path / "gateway",
            "--admin-url",
            control.url,
            "--gateway-token",
            f"${{file:{token}}}",
        )
        try:
            reports = parent.data / "gateway" / "workers"
            until(lambda: _serving("default/apart", reports) == 2, parent)
            control.stop(signal.SIGKILL)

            assert parent.ask("apart").json()["class"] in ("legit", "fraud")
            parent.end()
            parent.start()
            until(lambda: parent.ask("apart").status_code == 200, parent)
        finally:
            parent.end()


def test_settings_come_from_the_environment_too() -> None:
    code = (
        "from pointsman.wiring.settings import load; import json; s = load(port=1); "
        "print(json.dumps([s.registries, sorted(s.trusted), s.port, s.workers, str(s.data)]))"
    )
    environment = {
        "POINTSMAN_REGISTRIES": "a=http://x:1,b=http://y:2",
        "POINTSMAN_TRUSTED": "a,b",
        "POINTSMAN_PORT": "7",
        "POINTSMAN_WORKERS": "3",
        "POINTSMAN_DATA": "/tmp/somewhere",
    }

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        env={**os.environ, **environment},
    )

    assert json.loads(done.stdout) == [
        {"a": "http://x:1", "b": "http://y:2"},
        ["a", "b"],
        1,
        3,
        "/tmp/somewhere",
    ]
