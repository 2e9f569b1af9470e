"""promote, pause, resume, abort, retry, approve: what people ask of a rollout."""

# ruff: noqa: FBT002 - a parameter of a command is an option of it

from typing import Annotated, Any
from urllib.parse import quote

import typer

from pointsman.cli.output import say, structured
from pointsman.cli.session import ProjectName, Reason, Session, reporting
from pointsman.cli.spec_commands import serving_line

_WAIT_S = 10.0


def register(app: typer.Typer) -> None:
    for command in (promote, pause, resume, abort, retry, approve):
        app.command()(command)


def promote(
    context: typer.Context,
    project: ProjectName,
    full: Annotated[bool, typer.Option("--full", help="Skip every remaining step.")] = False,
    reason: Reason = "",
) -> None:
    """Let a rollout go on without waiting for time, minima or signals."""
    _ask(context.obj, project, "promote", {"reason": reason, "full": full})


def pause(context: typer.Context, project: ProjectName, reason: Reason = "") -> None:
    """Hold a rollout where it is; guardrails still act."""
    _ask(context.obj, project, "pause", {"reason": reason})


def resume(context: typer.Context, project: ProjectName, reason: Reason = "") -> None:
    """Let a paused rollout go on."""
    _ask(context.obj, project, "resume", {"reason": reason})


def abort(context: typer.Context, project: ProjectName, reason: Reason = "") -> None:
    """Send all traffic of a rollout back to the champion, at once."""
    _ask(context.obj, project, "abort", {"reason": reason})


def retry(context: typer.Context, project: ProjectName, reason: Reason = "") -> None:
    """Try a version again whose rollout has ended."""
    _ask(context.obj, project, "retry", {"reason": reason})


def approve(
    context: typer.Context,
    project: ProjectName,
    plan: Annotated[
        str, typer.Option("--plan", help="Hash of a plan that is over the limits.")
    ] = "",
    reason: Reason = "",
) -> None:
    """Agree to the step of a rollout that waits for it, or to somebody else's plan."""
    if plan:
        session: Session = context.obj
        with reporting():
            path = f"{session.project(project)}/plans/{quote(plan, safe='')}:approve"
            result = session.client().post(path, {"reason": reason})
            if not structured(result, session.output):
                say(result["sentence"])
        return
    _ask(context.obj, project, "approve", {"reason": reason})


def _ask(session: Session, project: str, verb: str, body: dict[str, Any]) -> None:
    with reporting():
        path = f"{session.project(project)}:{verb}"
        result = session.client().post(path, body, {"wait": _WAIT_S})
        if not structured(result, session.output):
            say(result["sentence"])
            say(serving_line(result))
