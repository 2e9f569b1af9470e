"""DogStatsD lines, as the agent's own parser would read them, and what a real socket receives."""

import re
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.gateway.counters import Counters
from pointsman.gateway.datadog import Report
from pointsman.gateway.metrics import Histogram
from pointsman.telemetry import dogstatsd
from pointsman.telemetry.dogstatsd import Client

LINE = re.compile(
    r"(?P<name>[A-Za-z][\w.]*):(?P<value>-?[\d.e+-]+)\|(?P<type>[cgd])"
    r"(?:\|@(?P<rate>[\d.e-]+))?(?:\|#(?P<tags>[^|]+))?"
)


@pytest.fixture
def agent():
    """The UDP socket of an agent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(5)
        yield listening


def address(listening):
    return f"127.0.0.1:{listening.getsockname()[1]}"


def received(listening):
    """Every line of the datagrams that are there."""
    lines = []
    while True:
        try:
            lines += listening.recv(65_535).decode().split("\n")
        except TimeoutError:
            return lines
        listening.settimeout(0.2)


def read(lines):
    """{(name, tags): (value, type, rate)}"""
    found = {}
    for line in lines:
        match = LINE.fullmatch(line)
        assert match, line
        tags = tuple(sorted((match["tags"] or "").split(",")))
        rate = float(match["rate"] or 1)
        found[match["name"], tags] = (float(match["value"]), match["type"], rate)
    return found


def test_counters_reach_the_agent_as_what_was_added_since(tmp_path, agent):
    """Not what was counted before this process looked; gauges as they are."""
    counters = Counters(tmp_path / "0.counters")
    labels = (("route", "predict"), ("status", "200"))
    counters.add("pointsman_requests", labels, 1000)
    counters.set("pointsman_ready", (("worker", "0"),), 1)
    report = Report(tmp_path, Client(address(agent), {"DD_ENV": "prod", "DD_SERVICE": "loans"}))
    report.tell()
    counters.add("pointsman_requests", labels, 7)
    counters.add("pointsman_fallbacks", (("project", "default/fraud"), ("variant", "new")), 2)
    report.tell()
    report.tell()

    lines = received(agent)
    found = read(lines)
    requests = ("env:prod", "route:predict", "service:loans", "status:200")
    assert found["pointsman.requests", requests] == (7, "c", 1)
    fallbacks = ("env:prod", "project:default/fraud", "service:loans", "variant:new")
    assert found["pointsman.fallbacks", fallbacks] == (2, "c", 1)
    assert found["pointsman.ready", ("env:prod", "service:loans", "worker:0")] == (1, "g", 1)
    assert sum("pointsman.requests" in line for line in lines) == 1


def test_a_histogram_reaches_the_agent_with_every_observation_counted(tmp_path, agent):
    """Each bucket is one value with the weight of what fell into it."""
    counters = Counters(tmp_path / "0.counters")
    report = Report(tmp_path, Client(address(agent)))
    seconds = Histogram(counters, "pointsman_request_duration_seconds", (("project", "d/p"),))
    report.tell()
    for latency_us in (90, 90, 90, 400, 20_000_000):
        seconds.observe(latency_us)
    report.tell()

    lines = [line for line in received(agent) if "duration" in line]
    parts = [LINE.fullmatch(line).groupdict() for line in lines]
    got = sorted((float(p["value"]), round(1 / float(p["rate"] or 1))) for p in parts)
    assert got == [(0.0001, 3), (0.0005, 1), (10.0, 1)]
    assert all("|d" in line and line.endswith("|#project:d/p") for line in lines)


@given(st.integers(1, 10**12))
def test_the_weight_of_a_distribution_is_what_the_agent_makes_of_its_rate(times):
    """It weighs a value by one over the rate, rounded."""
    match = LINE.fullmatch(dogstatsd.distribution("a", 1.5, times))
    assert match

    assert round(1 / float(match["rate"] or 1)) == times


@given(st.text(max_size=300), st.text(max_size=6000))
def test_an_event_is_one_line_whose_lengths_are_right(title, text):
    """Whatever people wrote: the agent reads as many bytes as the head says."""
    line = dogstatsd.event(title, text, 1_750_000_000, "error", (("project", "a|b,c#d"),)).encode()
    head = re.match(rb"_e\{(\d+),(\d+)\}:", line)
    assert head
    titled, texted = int(head[1]), int(head[2])
    body = line[head.end() :]

    assert b"\n" not in line
    assert body[titled : titled + 1] == b"|"
    rest = body[titled + 1 + texted :]
    assert rest == b"|d:1750000000|s:pointsman|t:error|#project:a_b_c_d"


def test_datagrams_hold_whole_lines_and_fit_a_frame():
    """However many there are, and however long one is."""
    lines = [f"pointsman.x:{number}|c|#t:{'y' * (number % 90)}" for number in range(400)]
    lines.append("z" * 3000)
    datagrams = list(dogstatsd.packed(lines))

    assert b"\n".join(datagrams).decode().split("\n") == lines
    assert all(len(one) <= dogstatsd.DATAGRAM_BYTES for one in datagrams[:-1])


def test_an_agent_that_is_not_there_is_nobodys_trouble():
    """UDP tells nobody; a name that cannot be found is the same."""
    assert Client("no-such-host.invalid:8125").send(["a:1|c"]) is False


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ""),
        ({"DD_DOGSTATSD_PORT": "9000"}, ""),
        ({"DD_AGENT_HOST": "10.0.0.1"}, "10.0.0.1:8125"),
        ({"DD_AGENT_HOST": "agent", "DD_DOGSTATSD_PORT": "9000"}, "agent:9000"),
        ({"DD_AGENT_HOST": "::1"}, "[::1]:8125"),
    ],
)
def test_the_agent_is_where_datadogs_variables_say(environment, expected):
    """Nowhere without a host."""
    assert dogstatsd.address_from(environment) == expected
