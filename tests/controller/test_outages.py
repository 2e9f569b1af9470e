"""With registry or database away the controller says so, and does what can still be done."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from pysqlite3 import dbapi2

from control_process import ControlProcess, free_port, handover, project, running
from pointsman.store.secret import digest_of

GATEWAY = "pmg_test_a-token-only-this-test-knows"


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlProcess]:
    """A controller whose registry does not answer."""
    with running(
        tmp_path_factory.mktemp("outage"),
        POINTSMAN_REGISTRIES=f"main=http://127.0.0.1:{free_port()}",
        POINTSMAN_HANDOVER=handover(digest_of(GATEWAY)),
        POINTSMAN_POLL_S="0.2",
    ) as found:
        yield found


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Somebody else holds the database's write lock."""
    other = dbapi2.connect(str(data / "store.db"))
    other.isolation_level = None
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def test_without_its_registry_everything_else_goes_on(control: ControlProcess) -> None:
    """Applying what needs no model works; what needs one is refused with the address to look at."""
    applied = control.apply(project("offline"))
    needs = project("needs", variants={"champion": {"model": "models:/a@b"}}, rules=[])
    del needs["spec"]["rules"]

    refused = control.apply(needs)
    doctor = control.call("GET", "/v1/doctor").json()["checks"]

    assert applied.status_code == 200
    assert refused.status_code == 422
    assert "127.0.0.1" in refused.text
    (registry,) = [check for check in doctor if check["name"] == "registry main"]
    assert registry["state"] == "warning"
    assert not [check for check in doctor if check["state"] == "failed"]


def test_while_the_database_is_locked_gateways_are_served(control: ControlProcess) -> None:
    """The manifest comes from memory and blobs from disk; reading goes on."""
    control.apply(project("locked"))
    with locked(control.data):
        started = time.monotonic()
        table = control.call("GET", "/v1/gateway/table", token=GATEWAY)
        row = next(row for row in table.json()["rows"] if row["project"] == "locked")
        blob = control.call("GET", f"/v1/gateway/blobs/{row['digest']}", token=GATEWAY)
        status = control.call("GET", "/v1/tenants/default/projects/locked/status")
        took_s = time.monotonic() - started

    after = control.apply(project("locked", {"champion": 1, "challenger": 1}), 1)

    assert (table.status_code, blob.status_code, status.status_code) == (200, 200, 200)
    assert took_s < 3.0
    assert after.status_code == 200


def test_a_write_to_a_locked_database_hears_so_within_seconds(control: ControlProcess) -> None:
    """Several at once wait side by side, not one after the other; afterwards all is as before."""
    for name in ("stuck-a", "stuck-b"):
        control.apply(project(name))
    with locked(control.data), ThreadPoolExecutor(2) as pool:
        started = time.monotonic()
        kills = pool.map(
            lambda name: control.call("POST", f"/v1/tenants/default/projects/{name}:kill"),
            ("stuck-a", "stuck-b"),
        )
        answers = [(answer.status_code, answer.json()["title"]) for answer in kills]
        took_s = time.monotonic() - started

    after = control.call("POST", "/v1/tenants/default/projects/stuck-a:kill")

    assert answers == [(503, "unavailable")] * 2
    assert 1.0 < took_s < 7.0
    assert (after.status_code, after.json()["changed"]) == (200, True)
