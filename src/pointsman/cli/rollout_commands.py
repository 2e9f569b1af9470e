"""promote, pause, resume, abort, retry, approve: what people ask of a rollout."""

# ruff: noqa: FBT002, PLR0913, PLR0917 - a parameter of a command is an option of it

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from pointsman.cli.output import say, structured
from pointsman.cli.session import Data, Local, ProjectName, Reason, Session, reporting
from pointsman.cli.spec_commands import serving_line
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.names import CHAMPION

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


def abort(
    context: typer.Context,
    project: ProjectName,
    variant: Annotated[
        str, typer.Option("--variant", help="With --local: another than the rollout's.")
    ] = "",
    local: Local = False,
    data: Data = Path("pointsman-data"),
    reason: Reason = "",
) -> None:
    """Send all traffic of a rollout back to the champion, at once."""
    if not local:
        _ask(context.obj, project, "abort", {"reason": reason})
        return
    session: Session = context.obj
    with reporting():
        _abort_on_disk(session, project, variant, reason, data)


def _abort_on_disk(session: Session, project: str, variant: str, reason: str, data: Path) -> None:
    from pointsman.cli.overrides import growing, switch

    name = session.qualified(project)
    if variant == CHAMPION:
        raise PointsmanError(
            Kind.INVALID,
            "the champion cannot be taken out: it is what everything goes back to",
            hint="name the variant that a rollout grows",
        )
    out = variant or growing(data, name)
    why = f"aborted: {reason}" if reason else "aborted"
    result = {
        "project": name,
        "variant": out,
        "changed": switch(data, f"{name}/{out}", why, on=True),
    }
    if structured(result, session.output):
        return
    if not result["changed"]:
        say(f"{name}/{out} was taken out of this machine's gateway before")
        return
    say(f"{name}/{out} is taken out of this machine's gateway; the controller ends its rollout")
    say(f"before another one: pointsman unkill {project} --variant {out} --local --data {data}")


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
