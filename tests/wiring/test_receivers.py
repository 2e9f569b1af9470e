"""Receivers as an operator sets them up: by name, without a secret in plain text."""

import pytest

from pointsman.domain.errors import PointsmanError
from pointsman.wiring import receivers, settings
from pointsman.wiring.control import SystemClock

KEY = "e93facc04764012d7bfb002500d5d1a6"


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUTY", KEY)
    monkeypatch.setenv("CHAT", "https://hooks.slack.com/services/T/B/x")
    monkeypatch.setenv("MAIL", "smtp://me:hidden@mail.example.com/?from=a@b.com&to=c@d.com")
    monkeypatch.setenv("SIGN", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")


def test_receivers_are_made_of_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """By variables as by flags; each of its type. Variables with secrets are kept from models."""
    monkeypatch.setenv(
        "POINTSMAN_RECEIVERS",
        "oncall=pagerduty:${env:DUTY},team=slack:${env:CHAT},mail=email:${env:MAIL},"
        "hook=webhook:https://hooks.example.com/x",
    )
    monkeypatch.setenv("POINTSMAN_RECEIVER_SECRETS", "hook=${env:SIGN}")
    wanted = settings.load()
    wanted.check_secrets()
    made = receivers.receivers(wanted, SystemClock())

    assert {name: one.type for name, one in made.items()} == {
        "oncall": "pagerduty",
        "team": "slack",
        "mail": "email",
        "hook": "webhook",
    }
    assert {"DUTY", "CHAT", "MAIL", "SIGN"} <= wanted.secret_variables
    assert "hidden" not in repr(wanted)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"receivers": ["a=pigeon:loft"]}, "a is not written TYPE:WHERE"),
        ({"receivers": ["a=slack:https://hooks.slack.com/hidden"]}, "is given in plain text"),
        ({"receivers": ["a=pagerduty:hidden"]}, "is given in plain text"),
        ({"receivers": ["a=email:smtp://me:hidden@h/"]}, "password in plain text"),
        ({"receiver_secrets": ["a=${env:SIGN}"]}, "there is no receiver 'a'"),
        ({"http_receivers": ["a"]}, "there is no receiver 'a'"),
        (
            {"receivers": ["a=slack:${env:CHAT}"], "receiver_secrets": ["a=${env:SIGN}"]},
            "a is no webhook",
        ),
        (
            {"receivers": ["a=webhook:https://h"], "receiver_secrets": ["a=hidden"]},
            "given in plain text",
        ),
        ({"dashboard_url": "pointsman.example.com"}, "write it like https://"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_starts(
    given: dict[str, list[str]], what: str
) -> None:
    """By the name of the flag, and without repeating what may be a secret."""
    with pytest.raises(PointsmanError) as caught:
        settings.load(**given)

    assert what in caught.value.message
    assert "hidden" not in caught.value.message


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("webhook:http://hooks.example.com/", "http beyond this machine"),
        ("webhook:ftp://hooks.example.com/", "not the address of a webhook"),
        ("pagerduty:${env:CHAT}", "routing key"),
        ("slack:${env:NOT_THERE}", "there is no such variable"),
    ],
)
def test_a_receiver_that_cannot_be_reached_so_stops_the_start(where: str, what: str) -> None:
    """Better now than when something is wrong."""
    with pytest.raises(PointsmanError, match=what):
        receivers.receivers(settings.load(receivers=[f"a={where}"]), SystemClock())


def test_http_beyond_this_machine_has_to_be_said() -> None:
    wanted = settings.load(receivers=["a=webhook:http://hooks.lan/"], http_receivers=["a"])

    assert receivers.receivers(wanted, SystemClock())["a"].type == "webhook"
