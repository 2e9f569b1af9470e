"""Who is told what, and when: nothing twice, nothing never."""

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.alerts import policy
from pointsman.alerts.condition import Condition
from pointsman.alerts.grouping import NEWS_MS, Event, Told, due
from pointsman.alerts.machine import Alert, State
from pointsman.alerts.policy import Policy
from pointsman.domain.alert import Kind, Severity
from pointsman.spec.alerts import AlertRule, Alerts

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
NOON = 1_750_075_200_000
USUAL = policy.of_project(Alerts())


def alert(number: int, fired_ms: int, kind: Kind = Kind.KILLED, resolved_ms: int = 0) -> Alert:
    return Alert(
        f"a-{number}",
        "default/loan",
        State.RESOLVED if resolved_ms else State.FIRING,
        Severity.WARNING,
        Condition(kind, f"number {number}", subject=str(number)),
        since_ms=fired_ms,
        fired_ms=fired_ms,
        gone_ms=resolved_ms or None,
        resolved_ms=resolved_ms or None,
    )


def events(batches: Iterable[object]) -> list[tuple[str, list[tuple[str, str]]]]:
    return [
        (batch.receiver, [(event.value, one.id) for event, one in batch.lines]) for batch in batches
    ]


def test_what_happens_within_the_group_is_one_message() -> None:
    """The first one waits for the others; one that comes later is in the same message."""
    three = [alert(1, NOON), alert(2, NOON + 4 * SECOND), alert(3, NOON + 9 * SECOND)]

    assert due("default/loan", three, {}, USUAL, ["a"], NOON + 9 * SECOND) == ()
    (batch,) = due("default/loan", three, {}, USUAL, ["a"], NOON + 10 * SECOND)
    assert [one.id for _, one in batch.lines] == ["a-1", "a-2", "a-3"]


def test_a_kind_goes_to_those_its_rule_names() -> None:
    said = Alerts(
        receivers=("team",), rules={"killed": AlertRule(receivers=("team", "oncall", "nobody"))}
    )
    wanted = policy.of_project(said)
    both = [alert(1, NOON), alert(2, NOON, Kind.FALLBACK)]
    told = due("default/loan", both, {}, wanted, ["oncall", "team", "other"], NOON + MINUTE)

    assert events(told) == [
        ("oncall", [("firing", "a-1")]),
        ("team", [("firing", "a-1"), ("firing", "a-2")]),
    ]
    assert wanted.unknown(["oncall", "team"]) == ("nobody",)


def test_whoever_heard_of_it_hears_its_end_though_the_file_has_changed() -> None:
    """A page that nobody closes would be worse than one too many."""
    silent = policy.of_project(Alerts(receivers=()))
    over = alert(1, NOON, resolved_ms=NOON + MINUTE)
    told = {("a-1", "a"): Told(Event.FIRING, NOON)}

    assert events(due("default/loan", [over], told, silent, ["a", "b"], NOON + HOUR)) == [
        ("a", [("resolved", "a-1")])
    ]


def test_a_new_receiver_is_not_told_of_what_was_over_long_ago() -> None:
    over = alert(1, NOON, resolved_ms=NOON + MINUTE)

    later = NOON + MINUTE + NEWS_MS
    assert events(due("default/loan", [over], {}, USUAL, ["a"], later - 1)) == [
        ("a", [("resolved", "a-1")])
    ]
    assert due("default/loan", [over], {}, USUAL, ["a"], later) == ()


def test_an_open_alert_is_told_again_after_the_interval() -> None:
    told = {("a-1", "a"): Told(Event.FIRING, NOON)}
    again = NOON + USUAL.repeat_ms

    assert due("default/loan", [alert(1, NOON)], told, USUAL, ["a"], again - 1) == ()
    assert events(due("default/loan", [alert(1, NOON)], told, USUAL, ["a"], again)) == [
        ("a", [("still_firing", "a-1")])
    ]


LIVES = st.lists(
    st.tuples(
        st.integers(0, 600),  # begins after so many seconds
        st.integers(10, 900),  # lasts so long
        st.sampled_from([Kind.KILLED, Kind.FALLBACK]),
    ),
    max_size=8,
)
DOWN = st.lists(st.tuples(st.integers(0, 1_500), st.integers(1, 400)), max_size=3)


@settings(max_examples=25, deadline=None)
@given(LIVES, DOWN)
def test_whatever_happens_each_hears_of_each_once_in_order(
    lives: list[tuple[int, int, Kind]], down: list[tuple[int, int]]
) -> None:
    """With a receiver that is down now and then: beginning, reminders, end; nothing twice, the end
    never missing, nothing told early, and never more than one message under way."""
    wanted = Policy(USUAL.rules, 10 * SECOND, 5 * MINUTE)
    told: dict[tuple[str, str], Told] = {}
    heard: dict[str, list[tuple[Event, int]]] = {}
    under_way: list[tuple[Event, Alert]] | None = None
    for now_s in range(0, 3_000, 5):
        now_ms = NOON + now_s * SECOND
        known = [
            alert(
                number,
                NOON + begin * SECOND,
                kind,
                NOON + (begin + lasts) * SECOND if begin + lasts <= now_s else 0,
            )
            for number, (begin, lasts, kind) in enumerate(lives)
            if begin <= now_s
        ]
        free = [] if under_way is not None else ["a"]
        for batch in due("default/loan", known, told, wanted, free, now_ms):
            under_way = list(batch.lines)
            for event, one in batch.lines:
                told[one.id, "a"] = Told(event, now_ms)
        if under_way is not None and not any(a <= now_s < a + n for a, n in down):
            for event, one in under_way:
                heard.setdefault(one.id, []).append((event, now_s))
            under_way = None

    for number, (begin, lasts, _) in enumerate(lives):
        said = [event for event, _ in heard[f"a-{number}"]]
        middle = [Event.STILL] * (len(said) - 2)
        assert said in ([Event.FIRING, *middle, Event.RESOLVED], [Event.RESOLVED])
        times = [at for _, at in heard[f"a-{number}"]]
        assert begin <= times[0]
        assert times == sorted(times)
        assert times[-1] >= begin + lasts
        if not down:
            assert times[0] <= begin + 15
            assert times[-1] <= begin + lasts + 15
            assert all(b - a >= 300 for a, b in pairwise(times[:-1]))
