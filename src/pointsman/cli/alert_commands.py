"""alerts: what is wrong now, what was, and who hears of it."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import typer

from pointsman.cli.output import say, structured, table, when
from pointsman.cli.session import Session, reporting
from pointsman.domain.errors import Kind, PointsmanError

_TEST: Final = "test"
_WORDS: Final = 2


def register(app: typer.Typer) -> None:
    app.command()(alerts)


def alerts(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PROJECT] | test RECEIVER",
            help="One project; or `test` and a receiver, to send it a test message.",
        ),
    ] = None,
    last: Annotated[int, typer.Option("--last", help="Alerts that are over.", min=0)] = 10,
) -> None:
    """Show open alerts, those that are over, and receivers. `alerts test NAME` tests a receiver."""
    session: Session = context.obj
    said = words or []
    with reporting():
        if len(said) == _WORDS and said[0] == _TEST:
            found = session.client().post(f"/v1/receivers/{_path(said[1])}:test")
            if not structured(found, session.output):
                say(found["sentence"])
            return
        if len(said) > 1:
            raise PointsmanError(
                Kind.INVALID,
                f"`alerts` takes one project, not {len(said)}",
                hint="`alerts`, `alerts PROJECT`, or `alerts test RECEIVER`",
            )
        project = session.qualified(said[0]) if said else ""
        found = session.client().get("/v1/alerts", {"project": project, "limit": last})
        if not structured(found, session.output):
            _print(found)


def _print(found: Mapping[str, Any]) -> None:
    if not found["open"]:
        say("nothing is wrong that an alert speaks of")
    for alert in found["open"]:
        _one(alert)
    if found["recent"]:
        say()
        table(
            ["OVER SINCE", "KIND", "SEVERITY", "WHAT IT WAS"],
            (
                (when(one["resolved_ms"]), one["kind"], one["severity"], one["sentence"])
                for one in found["recent"]
            ),
        )
    for trouble in found["troubles"]:
        say(f"! {trouble}")
    _receivers(found["receivers"])


def _one(alert: Mapping[str, Any]) -> None:
    from pointsman.alerts.condition import Measure, number
    from pointsman.rollout.words import span

    say(f"{alert['severity'].upper()}  {alert['kind']}  since {when(alert['since_ms'])}")
    say(f"  {alert['sentence']}")
    measure = Measure(alert["measure"])
    window = alert["window_ms"]
    facts = {
        "value": number(alert["value"], measure),
        "bound": number(alert["bound"], measure),
        "window": "" if window is None else span(window),
        "n": "" if alert["n"] is None else f"{alert['n']:,}",
    }
    told = "  ".join(f"{name} {text}" for name, text in facts.items() if text)
    if told:
        say(f"  {alert['metric']}: {told}" if alert["metric"] else f"  {told}")
    if alert["deed"]:
        say(f"  Pointsman: {alert['deed']}")
    say(f"  {alert['link']}")


def _receivers(found: Iterable[Mapping[str, Any]]) -> None:
    rows = list(found)
    say()
    if not rows:
        say("nobody hears of alerts: start with --receiver NAME=TYPE:WHERE")
        return
    table(
        ["RECEIVER", "TYPE", "STATE", "LAST TAKEN", "#WAITING", "#GIVEN UP", "WHY"],
        (
            (
                one["name"],
                one["type"],
                one["state"],
                when(one["sent_ms"]),
                one["waiting"],
                one["given_up"],
                one["error"],
            )
            for one in rows
        ),
    )


def _path(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")
