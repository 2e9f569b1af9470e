"""The dashboard's files and its stream of news, as a browser asks for them."""

import http.client
import json
import re
import threading
import time
from urllib.parse import urlsplit

import pytest

from control_process import ControlProcess, project, running
from pointsman.dashboard import STATIC


def fetch(control: ControlProcess, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(control.url).netloc, timeout=10)
    connection.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    return connection.getresponse()


def test_the_entrance_leads_to_the_dashboard(control: ControlProcess) -> None:
    for path in ("/", "/ui"):
        answer = fetch(control, path)
        assert (answer.status, answer.headers["location"]) == (307, "/ui/")


def test_every_file_is_served_as_what_it_is_without_a_token(control: ControlProcess) -> None:
    """They hold no data. Browsers run nothing that is served as something else."""
    kinds = {
        ".html": "text/html",
        ".js": "text/javascript",
        ".css": "text/css",
        ".svg": "image/svg",
    }
    files = [path for path in STATIC.rglob("*") if path.suffix in kinds]
    assert len(files) > 15

    for path in files:
        answer = fetch(control, "/ui/" + path.relative_to(STATIC).as_posix())
        assert answer.status == 200
        assert answer.headers["content-type"].startswith(kinds[path.suffix])
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.read() == path.read_bytes()


def test_a_file_that_is_there_already_is_not_sent_again(control: ControlProcess) -> None:
    first = fetch(control, "/ui/")
    again = fetch(control, "/ui/", if_none_match=first.headers["etag"])

    assert (again.status, again.read()) == (304, b"")
    assert "content-security-policy" in again.headers


@pytest.mark.parametrize(
    "path",
    ["/ui/nope.js", "/ui/../pyproject.toml", "/ui/%2e%2e/__init__.py", "/ui//etc/passwd", "/ui/js"],
)
def test_nothing_but_the_dashboards_own_files_can_be_had(
    control: ControlProcess, path: str
) -> None:
    answer = fetch(control, path)

    assert answer.status == 404
    assert json.loads(answer.read())["title"] == "not_found"


def test_pages_may_load_nothing_from_elsewhere(control: ControlProcess) -> None:
    """By policy, and by what they are made of: no address of another machine is in any file."""
    policy = fetch(control, "/ui/").headers["content-security-policy"]
    own = [p for p in STATIC.rglob("*") if p.suffix in {".js", ".css", ".html"}]
    loads = re.compile(r"""(?:src|href|import|from|url|fetch)\s*[=(:]?\s*["'(`]\s*(?:https?:)?//""")

    assert policy.startswith("default-src 'none'; script-src 'self' 'sha256-")
    assert "connect-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    assert not [path for path in own if loads.search(path.read_text(encoding="utf-8"))]


def test_a_link_from_elsewhere_opens_the_dashboard_and_nothing_else(
    control: ControlProcess,
) -> None:
    """As from a notification. What holds data is still asked for by our own pages alone."""
    followed = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}

    assert fetch(control, "/ui/", **followed).status == 200
    assert fetch(control, "/v1/projects", **followed).status == 403
    assert fetch(control, "/ui/", sec_fetch_site="cross-site", sec_fetch_mode="cors").status == 403


def test_news_comes_when_something_changed_and_not_before(control: ControlProcess) -> None:
    """First where things are, then each change within about a second; only for who may read."""
    assert fetch(control, "/v1/news").status == 401
    stream = fetch(control, "/v1/news", authorization=f"Bearer {control.token}")
    assert stream.headers["content-type"].startswith("text/event-stream")
    first = _next(stream)

    heard: list[dict[str, int]] = []
    reading = threading.Thread(target=lambda: heard.append(_next(stream)), daemon=True)
    reading.start()
    reading.join(2.5)
    assert heard == []
    control.apply(project("newsworthy"))
    reading.join(5.0)

    assert heard
    assert heard[0]["changes"] > first["changes"]


def test_a_controller_that_ends_lets_those_who_watch_go(tmp_path) -> None:  # type: ignore[no-untyped-def] # pytest's
    with running(tmp_path) as control:
        stream = fetch(control, "/v1/news", authorization=f"Bearer {control.token}")
        _next(stream)
        started = time.monotonic()
        control.stop()
        assert time.monotonic() - started < 5.0


def _next(stream: http.client.HTTPResponse) -> dict[str, int]:
    lines = []
    while (line := stream.readline().decode()) not in ("\n", ""):
        lines.append(line.rstrip("\n"))
    assert lines[0] == "event: news", lines
    found: dict[str, int] = json.loads(lines[1].removeprefix("data: "))
    return found


def test_the_list_of_projects_has_target_actual_and_what_happened_last(
    control: ControlProcess,
) -> None:
    control.apply(project("at-a-glance"))
    found = control.call("GET", "/v1/projects").json()["projects"]
    mine = next(one for one in found if one["project"] == "default/at-a-glance")

    assert mine["target"] == {"champion": 1.0} or sum(mine["target"].values()) == pytest.approx(1.0)
    assert mine["actual"] is None
    assert "revision 1 applied" in mine["sentence"]
    assert mine["rollout"] is None
