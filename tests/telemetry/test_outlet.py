"""The queue in front of the exporters: bounded, counted, and never in anybody's way."""

import threading

from pointsman.telemetry.outlet import FAILED, FULL, Bounds, Outlet
from pointsman.telemetry.spans import Event


class Collected:
    """A receiver in memory. taken: events; open: whether it takes any, it waits while not"""

    def __init__(self):
        self.taken = []
        self.open = threading.Event()
        self.asked = threading.Event()
        self.broken = False

    def send(self, spans, events):
        self.asked.set()
        self.open.wait(10)
        if self.broken:
            return len(spans) + len(events)
        self.taken += events
        return 0

    def close(self):
        pass


class Losses:
    def __init__(self):
        self.lost = {}

    def __call__(self, why, count):
        self.lost[why] = self.lost.get(why, 0) + count


def one(number):
    return lambda: [Event(f"e{number}", number, {})]


def made(sink, losses, **bounds):
    return Outlet(lambda: sink, losses, Bounds(**({"delay_s": 0.01} | bounds)))


def test_what_is_told_arrives_once_and_in_order():
    """All that waits at the end is sent before it is closed."""
    sink, losses = Collected(), Losses()
    sink.open.set()
    outlet = made(sink, losses, batch=3)
    outlet.start()
    for number in range(20):
        outlet.tell(one(number))
    outlet.close()

    assert [event.at_ns for event in sink.taken] == list(range(20))
    assert losses.lost == {}


def test_what_does_not_fit_is_dropped_and_counted_while_a_receiver_hangs():
    """The one who tells never waits: 20 beyond the bound are lost, the others arrive later."""
    sink, losses = Collected(), Losses()
    outlet = made(sink, losses, queue=10, batch=1)
    outlet.start()
    outlet.tell(one(0))
    assert sink.asked.wait(10)
    for number in range(30):
        outlet.tell(one(number + 1))
    sink.open.set()
    outlet.close()

    assert losses.lost == {FULL: 20}
    assert [event.at_ns for event in sink.taken] == list(range(11))


def test_what_a_receiver_does_not_take_is_counted():
    """As many as there were."""
    sink, losses = Collected(), Losses()
    sink.open.set()
    sink.broken = True
    outlet = made(sink, losses)
    outlet.start()
    for number in range(5):
        outlet.tell(one(number))
    outlet.close()

    assert losses.lost == {FAILED: 5}


def test_something_that_cannot_be_told_hinders_nothing_else(caplog):
    """It is logged and counted; what comes after it arrives."""
    sink, losses = Collected(), Losses()
    sink.open.set()

    def fails():
        raise RuntimeError("no words for it")

    outlet = made(sink, losses)
    outlet.tell(fails)
    outlet.tell(one(1))
    outlet.start()
    outlet.close()

    assert [event.at_ns for event in sink.taken] == [1]
    assert losses.lost == {FAILED: 1}
    assert "no words for it" in caplog.text
