"""Evidently's report, made by the real Evidently of real decisions, in a real browser."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Page, sync_playwright
from tests.controller.logged_world import LoggedWorld
from tests.controller.rollout_world import DAY
from tests.end_to_end.browser import _ARGUMENTS, SLOW_S, chromium
from tests.peers import environments

from control_process import ControlProcess, running

PLACE = "/v1/tenants/default/projects/loan/report"


class Said(NamedTuple):
    code: int
    out: str
    err: str


def pointsman(control: ControlProcess, *arguments: str, **environment: str) -> Said:
    done = subprocess.run(
        [sys.executable, "-m", "pointsman.cli", *arguments],
        capture_output=True,
        timeout=300,
        check=False,
        text=True,
        env={
            **os.environ,
            "POINTSMAN_URL": control.url,
            "POINTSMAN_TOKEN": control.token,
            **environment,
        },
    )
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlProcess]:
    """A quiet day and then one on which everybody is richer; labels of both."""
    root = tmp_path_factory.mktemp("report")
    today = int(time.time() * 1000) // DAY * DAY
    world = LoggedWorld(root, began_ms=today - 2 * DAY + DAY // 2)
    world.day(200, label=True)
    world.day(200, richer=4.0, label=True)
    world.close()
    with running(root) as found:
        yield found


def days(ago: int) -> str:
    at = int(time.time()) // 86_400 * 86_400 - ago * 86_400
    return time.strftime("%Y-%m-%d", time.gmtime(at))


def test_without_evidently_it_is_said_what_to_install(control: ControlProcess) -> None:
    said = pointsman(control, "report", "loan", "--evidently", "--since", days(1))

    assert said.code == 1
    assert "pip install 'pointsman[evidently]'" in said.err
    about = control.call("GET", PLACE + ":about").json()
    assert about == {"project": "default/loan", "made_ms": None, "bytes": 0}


def test_times_without_decisions_are_refused_before_anything_is_made(
    control: ControlProcess,
) -> None:
    said = pointsman(control, "report", "loan", "--evidently", "--reference", "90d..60d")

    assert said.code == 1
    assert "there are no such decisions" in said.err


def test_a_report_shows_what_drifted_and_is_linked_from_the_dashboard(
    control: ControlProcess, tmp_path: Path
) -> None:
    """It is one file that loads nothing, on disk and from the controller; there its scripts have no
    origin, and its address opens once."""
    page = tmp_path / "loan.html"
    span = ["--since", days(1), "--until", days(0), "--reference", f"{days(2)}..{days(1)}"]
    python = str(environments.python("evidently"))

    said = pointsman(
        control, "report", "loan", "--evidently", "-o", str(page), *span, "--python", python
    )

    assert said.code == 0, said.err
    assert "200 decisions from" in said.err
    assert page.stat().st_size > 1_000_000, "the page holds its scripts"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(_ARGUMENTS))
        try:
            alone = browser.new_page()
            asked = _listening(alone)
            alone.goto(page.as_uri())
            _shows_drift(alone)
            assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []

            kept = browser.new_page()
            kept.goto(f"{control.url}/ui/#token={control.token}&/p/default/loan/drift")
            link = kept.get_by_role("button", name=re.compile("^Evidently report of "))
            link.wait_for(timeout=SLOW_S * 1000)
            with kept.expect_popup() as opened:
                link.click()
            shown = opened.value
            asked = _listening(shown)
            shown.wait_for_url(f"{control.url}/v1/reports/*", timeout=SLOW_S * 1000)
            _shows_drift(shown)
            assert [
                url for url in asked if not url.startswith((control.url, "data:", "blob:"))
            ] == []
            assert shown.evaluate("self.origin") == "null", "it cannot ask for anything as we could"
            ticket = shown.url.removeprefix(control.url)
        finally:
            browser.close()
    assert control.call("GET", ticket, token="").status_code == 404, "once"


def _listening(page: Page) -> list[str]:
    found: list[str] = []
    page.on("request", lambda request: found.append(request.url))
    return found


def _shows_drift(page: Page) -> None:
    """What was moved is detected, what was not is not; and there is a part on classes."""
    for column, drift in (("amount", "Detected"), ("country", "Not Detected")):
        row = page.get_by_role("row").filter(has=page.get_by_role("cell", name=column, exact=True))
        row.get_by_text(drift, exact=True).wait_for(timeout=SLOW_S * 1000)
    page.get_by_text("Classification").first.wait_for(timeout=SLOW_S * 1000)


def test_a_report_is_for_those_who_may_export(control: ControlProcess) -> None:
    """Who may only read learns that there is one, and nothing of what it says."""
    page = b"<!doctype html><html><body>raw values</body></html>"
    assert control.call("PUT", PLACE, page).status_code == 200
    made = control.call("POST", "/v1/tokens", {"name": "eve", "role": "viewer"}).json()["token"]

    assert control.call("GET", PLACE + ":about", token=made).json()["bytes"] == len(page)
    for method, path in (("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", ":open")):
        assert control.call(method, PLACE + path, token=made).status_code == 403, method
    found = control.call("GET", PLACE)
    assert found.content == page
    assert "sandbox allow-scripts;" in found.headers["content-security-policy"]
    assert found.headers["content-disposition"] == "inline"
    assert control.call("DELETE", PLACE).status_code == 200
    assert control.call("GET", PLACE).status_code == 404


def test_what_is_no_page_or_too_large_is_not_kept(control: ControlProcess) -> None:
    assert control.call("PUT", PLACE, {"a": 1}).status_code == 422
    large = b"<html>" + b" " * (16 << 20)
    assert control.call("PUT", PLACE, large).status_code == 413
    fits = b"<html>" + b" " * (2 << 20)
    assert control.call("PUT", PLACE, fits).status_code == 200
    other = PLACE.replace("/report", "/reference")
    assert control.call("PUT", other, fits).status_code == 413, "of a report alone"
