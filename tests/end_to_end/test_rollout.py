"""A rollout on real processes that is promoted step by step; one that is taken back is watched in
test_browser.py."""

import csv
import gzip
import http.client
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

from tests.end_to_end.browser import browsing
from tests.end_to_end.conftest import Registry, Start
from tests.end_to_end.serving import EXAMPLE, Serving, call, port_of

CONNECTIONS = 4
NUMERIC = {"age", "education_num", "capital_gain", "capital_loss", "hours_per_week"}
API = "/api/2.0/mlflow"
PROJECT = """
apiVersion: pointsman/v1
kind: Project
metadata: {{name: {name}}}
spec:
  classes: ["<=50K", ">50K"]
  positive: ">50K"
  unit: person_id
  context: {{person_id: string}}
  features: {{from: "models:/{model}@champion"}}
  decision: {{threshold: 0.5, deny: [">50K"]}}
  variants:
    champion: {{model: "models:/{model}@champion"}}
    challenger: {{model: "{challenger}", decision: {{threshold: {threshold}}}}}
  rules:
    - {{name: default, split: {{champion: 80, challenger: 20}}}}
  metrics:
    denied: {{kind: decision, event: denied}}
    errors: {{kind: operational, event: error}}
  rollout:
    variant: challenger
    rule: default
    steps:
      - setWeight: 20
      - analysis: {{hold: 2s, minDecisions: 50}}
      - setWeight: 50
      - analysis: {{hold: 2s, minDecisions: 50}}
    guardrails:
      - {{metric: denied, absolute: 0.15}}
      - {{metric: errors, absolute: 0.15}}
    expectedDecisions: 4000
    cooldown: 0s
    onSuccess: {{setAlias: champion}}
"""


def test_a_good_challenger_is_promoted_and_the_registry_is_told(
    start: Start, registry: Registry
) -> None:
    """Its alias moves and people do nothing: it grows, is shown to hold, and is the champion."""
    serving = start()
    register(registry, "growing")
    challenger = "models:/growing@challenger"
    serving.apply(
        PROJECT.format(name="grows", model="growing", challenger=challenger, threshold=0.5)
    )
    assert rollout(serving, "grows")["phase"] == "none"
    refused = serving.cli("pause", "grows")
    assert (refused.returncode, "no rollout yet" in refused.stderr) == (1, True)

    with browsing(serving) as window, traffic(serving, "grows") as answered:
        window.open("/p/default/grows")
        point(registry, "growing", "challenger", "2")
        window.sees(re.compile("denied.*guardrail", re.DOTALL))
        serving.wait(lambda: rollout(serving, "grows")["phase"] == "succeeded", 180)
        window.sees(re.compile("is version 2 now, was 1"))
        assert window.page.locator("pm-chart canvas").count() == 2, "traffic, and its evidence"
        window.keep("rollout")
        window.check()

    told = history(serving, "grows")
    served = {
        variant["name"]: variant["version"] for variant in serving.status("grows")["variants"]
    }
    assert served["champion"] == "2"
    assert answered["challenger"] > 100
    for sentence in ("goes from 0 % to 20 %", "goes from 20 % to 50 %", "is version 2 now, was 1"):
        assert sentence in told
    serving.wait(lambda: version(registry, "growing", "champion")["version"] == "2", 30)
    tags = {tag["key"]: tag["value"] for tag in version(registry, "growing", "champion")["tags"]}
    assert tags["pointsman.verdict"] == "succeeded"
    assert "denied" in tags["pointsman.metrics"]
    assert "20 %" in tags["pointsman.traffic"]

    undone = serving.cli("undo", "grows", "--reason", "people complain")
    assert undone.returncode == 0, undone.stderr
    assert "champion goes back to version 1" in undone.stdout
    assert "serving on 2/2 workers" in undone.stdout
    assert set(asked(serving, "grows", 50)) == {"champion"}
    serving.wait(lambda: version(registry, "growing", "champion")["version"] == "1", 30)


def taken_back(serving: Serving, name: str) -> None:
    """A harmful challenger is gone: it never had more than its first step, history says why, nobody
    is asked about it any more, and what it answered can be taken out. The gateway's guard and the
    controller see the same; whoever is first acts."""
    found = rollout(serving, name)
    assert max(step["weight"] for step in found["transitions"]) == 0.2
    assert found["target"] == 0.0
    why = history(serving, name).partition("rolled back from 20 %: ")[2]
    assert why.startswith("denied +") or "gateway, by guard: denied of challenger" in why
    late = found["transitions"][-1]
    assert late["event"] in {"guardrail_broken", "stopped"}
    serving.wait(lambda: set(asked(serving, name, 200)) == {"champion"}, 30)
    bad, every = exported(serving, name, "--rolled-back"), exported(serving, name)
    assert bad
    assert {(line["served"], line["version"]) for line in bad} == {("challenger", "2")}
    assert len(bad) == sum(line["served"] == "challenger" for line in every)


def rollout(serving: Serving, name: str) -> dict[str, Any]:
    found: dict[str, Any] = serving.status(name)["rollout"]
    return found


def history(serving: Serving, name: str) -> str:
    """As people read it."""
    done = serving.cli("history", name, "--limit", "100")
    assert done.returncode == 0, done.stderr
    return done.stdout


def exported(serving: Serving, name: str, *arguments: str) -> list[dict[str, Any]]:
    """Decisions as the command line writes them."""
    done = serving.cli("export", name, "--format", "jsonl", "-o", "-", *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@contextmanager
def traffic(serving: Serving, name: str) -> Iterator[Counter[str]]:
    """Requests over several connections until the block ends; who answered so far, by variant."""
    answered: Counter[str] = Counter()
    over = threading.Event()
    threads = [
        threading.Thread(target=_send, args=(serving, name, answered, over, place), daemon=True)
        for place in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield answered
    finally:
        over.set()
        for thread in threads:
            thread.join(30)


def asked(serving: Serving, name: str, n: int) -> Counter[str]:
    """Who answers so many people nobody has asked about yet."""
    answered: Counter[str] = Counter()
    for number, features in zip(range(n), cycle(PEOPLE), strict=False):
        status, body = serving.post(
            f"/v1/projects/{name}:predict", {"unit": f"late-{number}", "features": features}
        )
        assert status == 200
        answered[body["variant"]] += 1
    return answered


def _send(
    serving: Serving, name: str, answered: Counter[str], over: threading.Event, place: int
) -> None:
    connection = http.client.HTTPConnection(
        "127.0.0.1", port_of(serving.running.data_url), timeout=30
    )
    for number, features in enumerate(cycle(PEOPLE[place::CONNECTIONS])):
        if over.is_set():
            break
        unit = f"{id(over)}-{place}-{number}"
        body = json.dumps({"unit": unit, "features": features})
        connection.request("POST", f"/v1/projects/{name}:predict", body)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        if answer.status == 200:
            answered[content["variant"]] += 1
    connection.close()


def _people() -> list[dict[str, Any]]:
    """Features of 2,000 people no model was trained on."""
    with gzip.open(EXAMPLE / "adult.csv.gz", "rt") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == "test"][:2000]
    left_out = {"part", "income", "fnlwgt"}
    return [
        {k: float(v) if k in NUMERIC else v for k, v in row.items() if k not in left_out}
        for row in rows
    ]


PEOPLE = _people()


def register(registry: Registry, name: str) -> None:
    """The logistic regression and the forest again, as versions 1 and 2 of a model of its own;
    both aliases point to the first. A model that is there already only gets its aliases back."""
    known, _ = call(registry.url, "GET", f"{API}/registered-models/get?name={name}")
    if known != 200:
        ask(registry, "POST", "registered-models/create", {"name": name})
    for number in ("1", "2") if known != 200 else ():
        found = ask(registry, "GET", f"model-versions/get?name=income&version={number}")
        source = found["model_version"]["source"]
        made = {"name": name, "source": source, "model_id": source.removeprefix("models:/")}
        ask(registry, "POST", "model-versions/create", made)
    for alias in ("champion", "challenger"):
        point(registry, name, alias, "1")


def point(registry: Registry, name: str, alias: str, number: str) -> None:
    body = {"name": name, "alias": alias, "version": number}
    ask(registry, "POST", "registered-models/alias", body)


def version(registry: Registry, name: str, alias: str) -> dict[str, Any]:
    found: dict[str, Any] = ask(
        registry, "GET", f"registered-models/alias?name={name}&alias={alias}"
    )["model_version"]
    return found


def ask(registry: Registry, method: str, path: str, body: Any = None) -> dict[str, Any]:
    status, found = call(registry.url, method, f"{API}/{path}", body)
    assert status == 200, found
    return found or {}
