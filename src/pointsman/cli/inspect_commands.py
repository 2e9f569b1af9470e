"""shadow, quality, explain, decisions, feedback, doctor, version, verify."""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from pointsman.cli.colours import colours
from pointsman.cli.output import Format, say, structured, table, warn, when
from pointsman.cli.quality_view import show_quality
from pointsman.cli.session import ProjectName, Session, reporting
from pointsman.cli.shadow_view import show_shadow
from pointsman.domain.errors import PointsmanError

_MARKS = {"ok": "ok", "warning": "warn", "failed": "FAIL"}


def register(app: typer.Typer) -> None:
    for command in (shadow, quality, explain, decisions, feedback, doctor, version, verify):
        app.command()(command)


def shadow(context: typer.Context, project: ProjectName) -> None:
    """Say how a shadow answers beside the variant that serves, and whether it is shown better."""
    session: Session = context.obj
    with reporting():
        found = session.client().get(f"{session.project(project)}/shadow")
        if not structured(found, session.output):
            show_shadow(found)


def quality(
    context: typer.Context,
    project: ProjectName,
    hours: Annotated[
        int, typer.Option("--hours", min=1, max=336, help="How far back to look.")
    ] = 24,
) -> None:
    """Say which rows were not as the project expects, and what became of them."""
    session: Session = context.obj
    with reporting():
        found = session.client().get(f"{session.project(project)}/quality", {"hours": hours})
        if not structured(found, session.output):
            show_quality(found)


def explain(
    context: typer.Context,
    decision: Annotated[str, typer.Argument(metavar="DECISION_ID")],
) -> None:
    """Say why a request was answered as it was, and make the decision again to prove it."""
    session: Session = context.obj
    with reporting():
        found = session.client().get(f"/v1/decisions/{quote(decision)}:explain")
        if structured(found, session.output):
            raise typer.Exit(0 if found["equal"] else 1)
        say(found["sentence"])
        say()
        table(["", ""], ((name, value) for name, value in found["facts"].items()))
        if found["outcomes"]:
            table(
                ["OUTCOME", "KIND", "VALUE", "AT", "STATE"],
                (
                    (row["id"], row["kind"], row["value"], when(row["at_ms"]), row["state"])
                    for row in found["outcomes"]
                ),
            )
        if found["equal"]:
            say("recomputed from its record and its table: equal")
        else:
            warn(f"recomputed: not equal{': ' + found['problem'] if found['problem'] else ''}")
            for row in found["differences"]:
                warn(f"  {row['field']}: recorded {row['recorded']}, now {row['recomputed']}")
            raise typer.Exit(1)


def decisions(  # noqa: PLR0913, PLR0917 - a parameter of a command is an option of it
    context: typer.Context,
    project: ProjectName,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 20,
    unit: Annotated[str, typer.Option("--unit", help="Only of this unit.")] = "",
    variant: Annotated[str, typer.Option("--variant", help="Only those assigned to it.")] = "",
    reason: Annotated[
        str, typer.Option("--reason", help="Only those with it: SPLIT, PINNED, DEFAULT, ...")
    ] = "",
) -> None:
    """List the newest decisions."""
    session: Session = context.obj
    with reporting():
        query = {"limit": limit, "unit": unit, "variant": variant}
        if reason:
            query["reason"] = reason.upper()
        found = session.client().get(f"{session.project(project)}/decisions", query)
        if structured(found, session.output):
            return
        table(
            ["ID", "AT", "UNIT", "RULE", "ASSIGNED", "SERVED", "REASON", "CLASS"],
            (
                (
                    row["id"],
                    when(row["at_ms"]),
                    row["unit"] or "",
                    row["rule"],
                    row["assigned"],
                    row["served"],
                    row["reason"],
                    row["predicted"],
                )
                for row in found["decisions"]
            ),
            colours=colours(()),
        )


def feedback(
    context: typer.Context,
    feedback_id: Annotated[str, typer.Argument(metavar="FEEDBACK_ID")],
) -> None:
    """Say what became of a piece of feedback."""
    session: Session = context.obj
    with reporting():
        found = session.client().get(f"/v1/feedback/{quote(feedback_id)}")
        if not structured(found, session.output):
            say(f"{found['state']}: {found['sentence']}")
            times = {"at_ms": "at", "received_ms": "received"}
            table(
                ["", ""],
                (
                    (times.get(key, key), when(value) if key in times else value)
                    for key, value in found.items()
                    if key not in ("state", "sentence")
                ),
            )


def doctor(context: typer.Context) -> None:
    """Check the installation. Exits 1 where something is broken."""
    session: Session = context.obj
    with reporting():
        found = session.client().get("/v1/doctor")
        if not structured(found, session.output):
            table(
                ["", "CHECK", "FOUND", "WHAT TO DO"],
                (
                    (_MARKS[row["state"]], row["name"], row["detail"], row["hint"])
                    for row in found["checks"]
                ),
            )
        if any(row["state"] == "failed" for row in found["checks"]):
            raise typer.Exit(1)


def version(context: typer.Context) -> None:
    """Print the versions of this program and of the controller, and where its data is."""
    from pointsman import __version__

    session: Session = context.obj
    shown: dict[str, Any] = {"pointsman": __version__, "url": session.url}
    try:
        shown["controller"] = session.client().get("/v1/version")
    except PointsmanError as error:
        shown["controller"] = None
        shown["problem"] = error.message
    if structured(shown, session.output):
        return
    say(f"pointsman {__version__}")
    if shown["controller"] is None:
        say(f"controller: {shown['problem']}")
        return
    table(["", ""], ((key, value) for key, value in shown["controller"].items()))


def verify(
    context: typer.Context,
    data: Annotated[
        Path, typer.Option("--data", envvar="POINTSMAN_DATA", help="Data directory.")
    ] = Path("pointsman-data"),
) -> None:
    """Check journal and audit log against their own hashes, offline. Exits 1 where they differ."""
    session: Session = context.obj
    with reporting():
        from pointsman.wiring import offline

        found = offline.verify_all(data)
        if not structured(found, session.output):
            for line in found["lines"]:
                say(line)
        if not found["ok"]:
            if session.output is Format.TABLE:
                warn("not everything is as it was written")
            raise typer.Exit(1)
