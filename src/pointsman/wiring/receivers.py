"""Who hears of alerts, as the operator names them."""

from collections.abc import Callable
from functools import partial

from pointsman.plugins.alert_webhook import WebhookReceiver
from pointsman.plugins.email import EmailReceiver
from pointsman.plugins.pagerduty import PagerDutyReceiver
from pointsman.plugins.slack import SlackReceiver
from pointsman.ports import Clock, Receiver
from pointsman.wiring.settings import Settings


def receivers(wanted: Settings, clock: Clock) -> dict[str, Receiver]:
    """By name. Raises PointsmanError for an address or a secret that is none: better at the start
    than when something is wrong."""
    return {name: _receiver(wanted, name, clock) for name in wanted.receivers}


def _receiver(wanted: Settings, name: str, clock: Clock) -> Receiver:
    where: Callable[[], str] = partial(wanted.receiver_address, name)
    plain = name in wanted.http_receivers
    match wanted.receivers[name].partition(":")[0]:
        case "slack":
            made: SlackReceiver | EmailReceiver | PagerDutyReceiver | WebhookReceiver = (
                SlackReceiver(name, where, plain=plain)
            )
        case "email":
            made = EmailReceiver(name, where, plain=plain)
        case "pagerduty":
            made = PagerDutyReceiver(name, where, plain=plain)
        case _:  # settings know no other type
            secret = partial(wanted.receiver_secret, name)
            made = WebhookReceiver(name, where, secret, clock, plain=plain)
    made.check()
    return made
