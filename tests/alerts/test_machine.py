"""The life of one alert: when it begins to count, when it is over, and what leaves it alone."""

from hypothesis import given
from hypothesis import strategies as st

from pointsman.alerts import policy
from pointsman.alerts.condition import Condition
from pointsman.alerts.machine import Alert, Sight, State, step
from pointsman.alerts.policy import Rule
from pointsman.domain.alert import Kind, Severity
from pointsman.spec.alerts import Alerts

RULES = policy.of_project(Alerts()).rules
KIND = Kind.FALLBACK
SECOND = 1_000
NOON = 1_750_075_200_000


def rules(after_s: int = 0, quiet_s: int = 10, **changes: object) -> dict[Kind, Rule]:
    known = RULES[KIND]
    return {
        **RULES,
        KIND: Rule(
            Severity(changes.get("severity", known.severity)),
            after_s * SECOND,
            quiet_s * SECOND,
            known.bound,
            known.window_ms,
            known.least,
            mute=bool(changes.get("mute", False)),
        ),
    }


def seen(look: str, text: str = "it is wrong") -> Sight:
    """look: `true`, `gone` or `unseen`"""
    if look == "unseen":
        return Sight(unseen=frozenset({KIND}))
    return Sight((Condition(KIND, text),) if look == "true" else ())


class Life:
    """Alerts from look to look, as the store keeps them."""

    def __init__(self, wanted: dict[Kind, Rule]) -> None:
        self.rules = wanted
        self.now_ms = NOON
        self.alive: tuple[Alert, ...] = ()
        self.ended: list[Alert] = []

    def look(self, look: str, after_s: int = 1) -> str:
        """The state after another look; empty where there is no alert."""
        self.now_ms += after_s * SECOND
        after = step("default/loan", self.alive, seen(look), self.rules, self.now_ms)
        self.alive = tuple(one for one in after if one.state is not State.RESOLVED)
        over = [one for one in after if one.state is State.RESOLVED]
        self.ended += over
        return after[0].state.value if after else ""


def twin(looks: list[tuple[int, str]], after_ms: int, quiet_ms: int) -> list[tuple[int, int]]:
    """The same said slowly: (fired, resolved) of every incident, resolved 0 while it is open.

    Each moment is looked at by itself, over all that was seen before it. Looks that saw nothing
    are as if they had not been.
    """
    clear = [(at, look == "true") for at, look in looks if look != "unseen"]
    found: list[tuple[int, int]] = []
    for index, (at, _) in enumerate(clear):
        is_open = bool(found) and found[-1][1] == 0
        begin = index
        while begin > 0 and clear[begin - 1][1] == clear[index][1]:
            begin -= 1
        # What was true before the last incident ended belongs to that one.
        lasted = at - clear[begin][0]
        if clear[index][1] and not is_open and lasted >= after_ms:
            found.append((at, 0))
        if not clear[index][1] and is_open and lasted >= quiet_ms:
            found[-1] = (found[-1][0], at)
    return found


LOOKS = st.lists(
    st.tuples(st.integers(1, 20), st.sampled_from(["true", "true", "gone", "gone", "unseen"])),
    max_size=60,
)


@given(LOOKS, st.integers(0, 40), st.integers(10, 60))
def test_an_alert_and_its_slow_twin_agree_on_every_life(
    looks: list[tuple[int, str]], after_s: int, quiet_s: int
) -> None:
    """Fired once true for `after`, over once gone for `quiet`, whatever was unseen."""
    life = Life(rules(after_s, quiet_s))
    seen_at: list[tuple[int, str]] = []
    for wait_s, look in looks:
        life.look(look, wait_s)
        seen_at.append((life.now_ms, look))

    incidents = [(one.fired_ms, one.resolved_ms) for one in life.ended]
    incidents += [(one.fired_ms, 0) for one in life.alive if one.open]
    assert incidents == twin(seen_at, after_s * SECOND, quiet_s * SECOND)


@given(LOOKS)
def test_ids_are_never_used_again(looks: list[tuple[int, str]]) -> None:
    """Two incidents are two alerts, though they are about the same."""
    life = Life(rules(0, 10))
    for wait_s, look in looks:
        life.look(look, wait_s)

    ids = [one.id for one in (*life.ended, *life.alive)]
    assert len(ids) == len(set(ids))


def test_what_comes_and_goes_is_one_alert() -> None:
    """Flapping faster than `quiet` begins nothing and ends nothing."""
    life = Life(rules(0, 30))
    states = {life.look(look, 10) for look in ["true", "gone"] * 20}

    assert states == {"firing"}
    assert life.ended == []


def test_silence_neither_begins_nor_ends_an_alert() -> None:
    """What could not be looked at is not gone."""
    life = Life(rules(0, 10))
    assert life.look("unseen") == ""
    assert life.look("true") == "firing"
    assert {life.look("unseen", 3_600) for _ in range(5)} == {"firing"}
    assert life.look("gone") == "firing"
    assert life.look("gone", 10) == "resolved"


def test_a_clock_that_was_put_back_keeps_no_alert_open() -> None:
    life = Life(rules(60, 10))
    life.look("true")
    life.now_ms -= 86_400_000
    assert life.look("true") == "pending"
    assert life.look("true", 60) == "firing"
    life.look("gone")
    life.now_ms -= 86_400_000
    assert life.look("gone") == "firing"
    assert life.look("gone", 10) == "resolved"


def test_a_kind_that_is_muted_is_never_true_and_what_was_open_ends() -> None:
    life = Life(rules())
    assert life.look("true") == "firing"
    life.rules = rules(mute=True)
    life.look("true")
    assert life.look("true", 10) == "resolved"
    assert life.look("true") == ""


def test_severity_and_words_are_those_of_the_last_look() -> None:
    """A changed file is heeded while an alert is open."""
    life = Life(rules())
    life.look("true")
    after = step(
        "default/loan", life.alive, seen("true", "worse"), rules(severity="critical"), NOON
    )

    assert (after[0].severity, after[0].condition.sentence) == (Severity.CRITICAL, "worse")
    assert after[0].id == life.alive[0].id


def test_of_two_conditions_about_the_same_the_first_counts() -> None:
    sight = Sight((Condition(KIND, "one"), Condition(KIND, "two"), Condition(KIND, "other", "b")))
    after = step("default/loan", (), sight, rules(), NOON)

    assert [one.condition.sentence for one in after] == ["one", "other"]
