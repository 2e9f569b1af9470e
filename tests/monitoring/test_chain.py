"""From a request to whoever is woken by it: gateway and controller, Prometheus, Alertmanager and a
webhook, all of them real; and every picture drawn from what they say."""

import itertools
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from tests.controller.measured_world import measured
from tests.controller.rollout_world import NAME, started
from tests.end_to_end.serving import Serving
from tests.monitoring.test_dashboards import DASHBOARDS, expressions
from tests.monitoring.test_rules import rules
from tests.monitoring.watching import Heard, Prometheus, Scraped, alertmanager, prometheus

from pointsman.demo.processes import Processes

LIMIT_S = 90.0
WATCHED = """
apiVersion: pointsman/v1
kind: Project
metadata: {name: watched}
spec:
  classes: [legit, fraud]
  unit: account
  context: {account: string, amount: double}
  features: {amount: double}
  decision: {deny: [fraud]}
  outcomes: {label: {horizon: 1h}}
  variants:
    champion: {constant: legit}
    challenger: {constant: fraud}
  rules:
    - {name: large, when: "request.amount > 1000.0", use: champion}
    - {name: default, split: {champion: 60, challenger: 40}}
"""
UNSEEN = re.compile("labels_matured_ratio|local_override|event_timestamp")
"""What has no data in a world that is a minute old: no label is due, no local switch is set, and
what happened last may be longer ago than the mark of it lasts."""


class Chain(NamedTuple):
    serving: Serving
    prometheus: Prometheus
    heard: Heard
    scrapes: Scraped
    world: Any
    now: Callable[[], None]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """A gateway with traffic, a controller; beside it a second controller with a rollout."""
    home = tmp_path_factory.mktemp("chain")
    for name in ("logs", "rollout"):
        (home / name).mkdir()
    with Processes(home / "logs") as processes, measured(home / "rollout") as (world, scrape):
        heard, scrapes = Heard(), Scraped(scrape)
        manager = alertmanager(processes, home / "alertmanager", heard.address)
        serving = Serving(processes, home / "data", "", ("--workers", "1"))
        serving.start(project="")
        serving.apply(WATCHED)
        targets = {
            "pointsman-gateway": [address(serving.running.data_url)],
            "pointsman-controller": [address(serving.running.admin_url), scrapes.address],
        }
        server = prometheus(processes, home / "prometheus", targets, serving.token, manager)

        def now() -> None:
            world.clock.ms = time.time_ns() // 1_000_000

        now()
        started(world)
        world.traffic(200, label={})
        yield Chain(serving, server, heard, scrapes, world, now)
        scrapes.shutdown()
        heard.shutdown()


def address(url: str) -> str:
    return url.removeprefix("http://").rstrip("/")


def traffic(serving: Serving, numbers: Iterator[int], *, whole: bool = True) -> None:
    """A few decisions, one of them with its label; whole: with all the context a rule reads."""
    for number in itertools.islice(numbers, 10):
        context = {"account": f"a-{number}"} | ({"amount": 5.0} if whole else {})
        body = {"context": context, "features": {"amount": 5.0}}
        status, answer = serving.post("/v1/projects/watched:predict", body)
        assert status == 200, answer
    told = [{"decision_id": answer["decision_id"], "label": "legit"}]
    assert serving.post("/v1/feedback", told)[0] == 202


def switched(serving: Serving, verb: str) -> None:
    path = f"/v1/tenants/default/projects/watched:{verb}"
    status, told = serving.admin("POST", path, {"variant": "challenger", "reason": "a drill"})
    assert status == 200, told


def eventually(holds: Callable[[], Any], what: Callable[[], Any]) -> Any:
    """What it gives once it gives something. AssertionError in the end."""
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        found = holds()
        if found:
            return found
        time.sleep(0.3)
    raise AssertionError(what())


def test_an_alert_reaches_the_webhook_and_tells_when_it_is_over(chain: Chain) -> None:
    """What a rule could not decide is counted, scraped, judged, routed and told, in words that say
    what to do; a switch that is lifted is told as resolved."""
    heard = chain.heard
    numbers = itertools.count()
    traffic(chain.serving, numbers)
    switched(chain.serving, "kill")

    def firing() -> Any:
        traffic(chain.serving, numbers, whole=False)
        return heard.alerts("PointsmanConditionErrors") and heard.alerts("PointsmanKillSwitchOn")

    eventually(firing, lambda: (heard.messages, chain.prometheus.query("ALERTS")))
    (path, alert), *_ = heard.alerts("PointsmanConditionErrors")
    killed, _ = heard.alerts("PointsmanKillSwitchOn")[0]
    switched(chain.serving, "unkill")
    eventually(
        lambda: heard.alerts("PointsmanKillSwitchOn", "resolved"),
        lambda: chain.prometheus.query("ALERTS"),
    )

    assert path == "/pointsman/morning"
    assert killed == "/pointsman/info"
    assert alert["labels"]["project"] == "default/watched"
    assert re.search(
        r"^default/watched: [\d.]+% of decisions went .* DEFAULT", alert["annotations"]["summary"]
    )
    assert alert["annotations"]["runbook_url"].endswith("monitoring.md#pointsmanconditionerrors")


def test_every_picture_is_drawn_from_what_they_say(chain: Chain) -> None:
    """No expression of a dashboard or a rule is refused by a live Prometheus, and each that can
    have data within a minute has some."""
    numbers = itertools.count(10_000)
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    drawn = {expr.replace("$project", ".+") for name in DASHBOARDS for expr in expressions(name)}
    for rule in rules():
        chain.prometheus.query(rule["expr"])
    wanted = {expr for expr in recorded | drawn if not UNSEEN.search(expr)}

    def without() -> list[str]:
        return sorted(expr for expr in wanted if not chain.prometheus.query(expr))

    def all_there() -> bool:
        traffic(chain.serving, numbers)
        return not without()

    eventually(all_there, without)
    assert len(wanted) > 50
    for expr in recorded | drawn:
        chain.prometheus.query(expr)


def test_a_rollback_is_told_and_so_is_that_nothing_answers(chain: Chain) -> None:
    """The one by who reads it in the morning, the other at once."""
    chain.now()
    for _ in range(6):
        chain.world.serve()
        chain.world.pass_time(10_000)
        chain.world.traffic(100, deny={"challenger": 0.95})
        chain.world.tick()
    assert chain.world.phase == "rolled_back"
    chain.serving.stop()

    found = {
        name: eventually(lambda name=name: chain.heard.alerts(name), lambda: chain.heard.messages)
        for name in ("PointsmanRolledBack", "PointsmanGatewayDown", "PointsmanControllerDown")
    }

    path, alert = found["PointsmanRolledBack"][0]
    assert path == "/pointsman/morning"
    assert alert["labels"]["project"] == NAME
    assert alert["labels"]["event"] == "guardrail_broken"
    assert {found[name][0][0] for name in found if name.endswith("Down")} == {"/pointsman/now"}
