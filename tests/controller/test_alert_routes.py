"""Alerts as people ask for them, by API and by command, of a real controller that is restarted."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from tests.alerting_world import SECRET, Receiver

from control_process import ControlProcess, project, running

LIMIT_S = 60.0


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture(scope="module")
def alarmed(
    receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlProcess]:
    environment = {
        "POINTSMAN_RECEIVERS": "hook=webhook:${env:HOOK}",
        "POINTSMAN_RECEIVER_SECRETS": "hook=${env:HOOK_SECRET}",
        "POINTSMAN_DASHBOARD_URL": "https://pointsman.example.com/",
        "HOOK": receiver.url,
        "HOOK_SECRET": SECRET,
    }
    with running(tmp_path_factory.mktemp("alarmed"), **environment) as found:
        yield found


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.2)


def command(control: ControlProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pointsman.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={
            **os.environ,
            "POINTSMAN_URL": control.url,
            "POINTSMAN_TOKEN": control.token,
            "COLUMNS": "200",
        },
    )


def test_from_a_kill_switch_to_the_message_that_it_is_lifted(
    alarmed: ControlProcess, receiver: Receiver
) -> None:
    """Over a restart of the controller, with the receiver down at first: shown, then told."""
    receiver.status = 503
    root = "/v1/tenants/default/projects/loan"
    assert alarmed.apply(project("loan")).status_code == 200
    alarmed.call("POST", f"{root}:kill", {"variant": "challenger", "reason": "looks odd"})

    until(lambda: alarmed.call("GET", "/v1/alerts").json()["receivers"][0]["state"] == "failing")
    found = alarmed.call("GET", "/v1/alerts?project=default/loan").json()
    (alert,) = found["open"]
    assert (alert["kind"], alert["severity"], alert["state"]) == ("killed", "warning", "firing")
    assert alert["link"].startswith("https://pointsman.example.com/ui/#/p/default/loan?from=")
    assert found["receivers"][0]["error"] == "receiver hook answered with 503"
    assert receiver.url not in json.dumps(found)
    troubles = alarmed.call("GET", f"{root}/status").json()["troubles"]
    assert any("alerts do not reach hook" in one for one in troubles)
    told = command(alarmed, "alerts", "loan")
    assert told.returncode == 0
    assert "WARNING  killed  since" in told.stdout
    assert "Pointsman: sends challenger no request" in told.stdout
    assert "failing" in told.stdout

    alarmed.stop()
    receiver.status = 204
    before = set(receiver.ids)
    alarmed.start()
    until(lambda: alarmed.call("GET", "/v1/alerts").json()["receivers"][0]["state"] == "ok")
    assert set(receiver.ids) == before, "it is the message that was not taken"
    alarmed.call("POST", f"{root}:unkill", {"variant": "challenger"})
    until(lambda: receiver.bodies[-1]["type"] == "alerts.resolved")
    assert receiver.forged == []
    found = alarmed.call("GET", "/v1/alerts").json()
    assert (found["open"], found["recent"][0]["id"]) == ([], alert["id"])
    assert "nothing is wrong" in command(alarmed, "alerts").stdout


def test_a_tenant_sees_alerts_of_its_own_projects_alone(alarmed: ControlProcess) -> None:
    other = alarmed.call(
        "POST", "/v1/tokens", {"name": "other", "role": "viewer", "tenant": "other"}
    ).json()["token"]

    every = alarmed.call("GET", "/v1/alerts", token=other).json()
    assert (every["open"], every["recent"]) == ([], [])
    foreign = alarmed.call("GET", "/v1/alerts?project=default/loan", token=other)
    assert foreign.status_code == 404


def test_a_receiver_is_tested_by_command(alarmed: ControlProcess, receiver: Receiver) -> None:
    """It says whether the message was taken; a name that is none ends with 1."""
    taken = command(alarmed, "alerts", "test", "hook")
    assert (taken.returncode, taken.stdout) == (0, "hook has taken a test message\n")
    assert "this is a test" in receiver.bodies[-1]["title"]

    unknown = command(alarmed, "alerts", "test", "hok")
    assert unknown.returncode == 1
    assert "no receiver 'hok'" in unknown.stderr
    assert "did you mean 'hook'?" in unknown.stderr
    viewer = alarmed.call("POST", "/v1/tokens", {"name": "v", "role": "viewer"}).json()["token"]
    refused = alarmed.call("POST", "/v1/receivers/hook:test", token=viewer)
    assert refused.status_code == 403
    assert command(alarmed, "alerts", "a", "b", "c").returncode == 1
