"""Shares are kept exactly where they are 0 or 1, and by everyone alike where they lie between."""

import http.client
import json
import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.end_to_end.conftest import Start
from tests.end_to_end.serving import EXAMPLE, Serving, port_of

from pointsman.demo.checks import bounds
from pointsman.journal.reader import Tail, streams

UNITS = [f"unit-{number}" for number in range(4000)]
CONNECTIONS = 8
FEATURES = json.loads((EXAMPLE / "person.json").read_text())["features"]
PROJECT = """
apiVersion: pointsman/v1
kind: Project
metadata: {{name: shares}}
spec:
  classes: ["<=50K", ">50K"]
  positive: ">50K"
  unit: person_id
  context: {{person_id: string}}
  features: {{from: "models:/income@champion"}}
  variants:
    champion: {{model: "models:/income@champion"}}
    challenger: {{model: "models:/income@challenger"}}
  rules:
    - name: default
      split: {{champion: {champion}, challenger: {challenger}}}
"""


def test_0_percent_gets_no_request_and_100_percent_gets_all(start: Start) -> None:
    """A weight of nothing is nothing, not little."""
    serving = start()
    apply(serving, champion=100, challenger=0)
    nothing = arms(serving)
    apply(serving, champion=0, challenger=100)
    everything = arms(serving)

    assert Counter(nothing.values()) == {"champion": len(UNITS)}
    assert Counter(everything.values()) == {"challenger": len(UNITS)}


def test_a_split_is_fair_and_the_same_for_every_worker_and_after_every_restart(
    start: Start,
) -> None:
    """Who gets whom follows from the unit alone: not from the process, its number, or its age."""
    serving = start()
    apply(serving, champion=90, challenger=10)
    first = arms(serving)
    workers = busy_workers(serving)
    os.kill(serving.children()["worker-0"], signal.SIGKILL)
    serving.wait(lambda: len(serving.children()) == 4)
    after_crash = arms(serving)
    serving.stop()
    serving.arguments = ("--workers", "1", *serving.arguments[2:])
    serving.start(project="shares")
    alone = arms(serving)
    apply(serving, champion=70, challenger=30)
    grown = arms(serving)

    low, high = bounds(len(UNITS), 0.1)
    assert low <= Counter(first.values())["challenger"] <= high
    assert workers == {"worker-0", "worker-1"}, "both have to have served for this to show anything"
    assert after_crash == first
    assert alone == first
    assert {u for u in UNITS if first[u] == "challenger"} <= {
        u for u in UNITS if grown[u] == "challenger"
    }, "growing a challenger keeps everyone who is in it"
    low, high = bounds(len(UNITS), 0.3)
    assert low <= Counter(grown.values())["challenger"] <= high


def apply(serving: Serving, *, champion: int, challenger: int) -> None:
    serving.apply(PROJECT.format(champion=champion, challenger=challenger))


def arms(serving: Serving) -> dict[str, str]:
    """The variant that answered each unit, asked over several connections at once."""
    port = port_of(serving.running.data_url)
    shares = [UNITS[number::CONNECTIONS] for number in range(CONNECTIONS)]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        answered = pool.map(lambda units: _ask(port, units), shares)
        return {unit: variant for part in answered for unit, variant in part.items()}


def _ask(port: int, units: list[str]) -> dict[str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    found = {}
    for unit in units:
        body = json.dumps({"unit": unit, "features": FEATURES})
        connection.request("POST", "/v1/projects/shares:predict", body)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        assert answer.status == 200, content
        found[unit] = content["variant"]
    connection.close()
    return found


def busy_workers(serving: Serving) -> set[str]:
    """Streams of the journal with anything in them."""
    journal = serving.data / "journal"
    return {name for name in streams(journal) if Tail(journal / name, name).read().frames}
