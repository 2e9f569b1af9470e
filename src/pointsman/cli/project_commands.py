"""get, list, status, history, diff, undo, kill, unkill."""

# ruff: noqa: FBT002, PLR0913, PLR0917 - a parameter of a command is an option of it

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pointsman.cli.output import Format, say, structured, table, warn, when, yaml_text
from pointsman.cli.session import Data, Local, ProjectName, Reason, Session, reporting
from pointsman.cli.spec_commands import serving_line, show_changes
from pointsman.domain.errors import Kind, PointsmanError

if TYPE_CHECKING:
    from pointsman.cli.client import AdminClient

_WAIT_S = 10.0
_WATCH_S = 2
Variant = Annotated[str, typer.Option("--variant", help="Only this variant.")]


def register(app: typer.Typer) -> None:
    for command in (get, status, history, diff, undo, kill, unkill):
        app.command()(command)
    app.command("list")(list_projects)


def get(
    context: typer.Context,
    project: ProjectName,
    revision: Annotated[int, typer.Option("--revision", help="An earlier one.")] = 0,
) -> None:
    """Print a project as it is declared (YAML, ready to be applied)."""
    session: Session = context.obj
    with reporting():
        path = session.project(project)
        found = session.client().get(f"{path}/revisions/{revision}" if revision else path)
        if session.output is Format.TABLE:
            say(yaml_text(found["document"]).rstrip())
        else:
            structured(found, session.output)


def list_projects(context: typer.Context) -> None:
    """List the projects of the tenant."""
    session: Session = context.obj
    with reporting():
        found = session.client().get("/v1/projects", {"tenant": session.tenant})
        if structured(found, session.output):
            return
        table(
            ["PROJECT", "#REVISION", "PHASE", "SHARES", "CHANGED", "BY"],
            (
                (
                    row["project"],
                    row["number"],
                    row["phase"],
                    row["shares"],
                    when(row["at_ms"]),
                    row["actor"],
                )
                for row in found["projects"]
            ),
        )


def status(
    context: typer.Context,
    project: ProjectName,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every 2 seconds.")] = False,
) -> None:
    """Show who serves what, whether it follows the plan, and how each variant does."""
    session: Session = context.obj
    with reporting():
        from pointsman.cli.status_view import show_status

        client = session.client()
        path = f"{session.project(project)}/status"
        found = client.get(path)
        if watch and session.output is Format.TABLE and sys.stdout.isatty():
            _live(client, path, found)
            return
        while True:
            if not structured(found, session.output):
                show_status(found)
            if not watch:
                return
            if session.output is Format.TABLE:
                say(_again())
            found = _next(client, path)


def _live(client: "AdminClient", path: str, found: Any) -> None:
    """One picture that is drawn anew in its place, until Ctrl-C. What does not fit below each
    other is cut at the bottom, and shown whole at the end."""
    from rich.live import Live

    from pointsman.cli.status_view import picture

    with Live(picture(found, _again()), auto_refresh=False, redirect_stderr=True) as live:
        while True:
            live.refresh()
            found = _next(client, path)
            live.update(picture(found, _again()))


def _again() -> str:
    return f"{when(time.time_ns() // 1_000_000)}; again every {_WATCH_S} s, Ctrl-C ends it"


def _next(client: "AdminClient", path: str) -> Any:
    """The next status to show. A controller that is away for a while ends no watch."""
    while True:
        time.sleep(_WATCH_S)
        try:
            return client.get(path)
        except PointsmanError as error:
            if error.kind is not Kind.UNAVAILABLE:
                raise
            warn(f"no news: {error.message}")


def history(
    context: typer.Context,
    project: ProjectName,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 30,
) -> None:
    """Show revisions and everything else that happened, newest first."""
    session: Session = context.obj
    with reporting():
        found = session.client().get(f"{session.project(project)}/history", {"limit": limit})
        if structured(found, session.output):
            return
        table(
            ["WHEN", "ACTION", "WHAT", "BY"],
            (
                (when(row["at_ms"]), row["action"], row["sentence"], row["actor"])
                for row in found["entries"]
            ),
        )


def diff(
    context: typer.Context,
    project: ProjectName,
    before: Annotated[int, typer.Argument(metavar="FROM", min=1)],
    after: Annotated[int, typer.Argument(metavar="TO", min=1)],
) -> None:
    """Show what differs between two revisions."""
    session: Session = context.obj
    with reporting():
        path = f"{session.project(project)}/diff"
        found = session.client().get(path, {"from": before, "to": after})
        if not structured(found, session.output):
            show_changes(found)


def undo(
    context: typer.Context,
    project: ProjectName,
    to: Annotated[int, typer.Option("--to", help="Revision to go back to.", min=0)] = 0,
    reason: Reason = "",
) -> None:
    """Go back to an earlier revision, at once: no steps, no analysis, no approval."""
    session: Session = context.obj
    with reporting():
        result = session.client().post(
            f"{session.project(project)}:undo",
            {"to": to or None, "reason": reason},
            {"wait": _WAIT_S},
        )
        if not structured(result, session.output):
            say(result["sentence"])
            say(serving_line(result))


def kill(
    context: typer.Context,
    project: ProjectName,
    variant: Variant = "",
    local: Local = False,
    data: Data = Path("pointsman-data"),
    reason: Reason = "",
) -> None:
    """Send everything to the champion at once (or nothing to one variant)."""
    _switch(context.obj, (project, variant, reason), data if local else None, kill=True)


def unkill(
    context: typer.Context,
    project: ProjectName,
    variant: Variant = "",
    local: Local = False,
    data: Data = Path("pointsman-data"),
    reason: Reason = "",
) -> None:
    """Lift a kill switch."""
    _switch(context.obj, (project, variant, reason), data if local else None, kill=False)


def _switch(session: Session, what: tuple[str, str, str], data: Path | None, *, kill: bool) -> None:
    project, variant, reason = what
    with reporting():
        if data is not None:
            result = _switch_on_disk(session, what, data, kill=kill)
        else:
            verb = "kill" if kill else "unkill"
            result = session.client().post(
                f"{session.project(project)}:{verb}",
                {"variant": variant, "reason": reason},
                {"wait": _WAIT_S},
            )
        if structured(result, session.output):
            return
        target = f"{project}/{variant}" if variant else project
        word = "killed" if kill else "alive again"
        say(f"{target}: {word}" + ("" if result["changed"] else " (it was before)"))
        if data is None and result["changed"]:
            say(serving_line(result))


def _switch_on_disk(
    session: Session, what: tuple[str, str, str], data: Path, *, kill: bool
) -> dict[str, Any]:
    from pointsman.cli.overrides import switch

    project, variant, reason = what
    qualified = session.qualified(project)
    target = f"{qualified}/{variant}" if variant else qualified
    return {"project": qualified, "changed": switch(data, target, reason, on=kill)}
