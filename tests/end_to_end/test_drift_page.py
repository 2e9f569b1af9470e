"""The drift page in a real browser, on a real controller, over two weeks that went before."""

import re
import time
from pathlib import Path

from tests.controller.logged_world import LoggedWorld
from tests.controller.rollout_world import DAY
from tests.end_to_end.browser import browsing

from control_process import running


def two_weeks(root: Path) -> None:
    """Quiet days; people who are richer; half of them somewhere else; ages that are missing and a
    model whose scores mean the opposite; and quiet days again, whose labels are still to come."""
    today = int(time.time() * 1000) // DAY * DAY
    world = LoggedWorld(root, began_ms=today - 13 * DAY + DAY // 2)
    world.day(1_000, label=True)
    for _ in range(6):
        world.day(label=True)
    world.day(richer=2.5, label=True)
    world.day(richer=2.5, country="MT", label=True)
    world.day(missing=0.4, honest=False, label=True)
    world.day(label=True)
    world.day()
    world.day()
    world.close()


def test_what_drifted_is_seen_at_a_glance_and_behind_it_both_distributions(tmp_path: Path) -> None:
    two_weeks(tmp_path)
    with running(tmp_path) as control:
        found = control.call("GET", "/v1/tenants/default/projects/loan/drift").json()
        moved = found["starts"][7]
        with browsing(control) as window:
            window.open("/p/default/loan/drift")
            window.sees("Do inputs look as before")
            cell = window.page.get_by_role("button", name=re.compile("^amount.*, drifted$")).first
            cell.click()
            window.sees(re.compile("^amount at "))
            window.sees("Before labels come: estimated beside realised")
            assert f"at={moved}" in window.page.url, "an address that can be sent to others"
            assert window.page.get_by_role("button", name=re.compile(", drifted$")).count() == 4
            window.keep("drift")
            window.check()
            window.page.get_by_role("button", name="Each hour").click()
            window.sees(re.compile("of that hour"))
        with browsing(control, dark=True, width=400) as window:
            window.open(f"/p/default/loan/drift?column=country&at={moved}")
            window.sees(re.compile("^country at "))
            assert window.page.evaluate("document.documentElement.scrollWidth") <= 400
            window.check()
