"""drift, performance: what inputs and scores look like beside what they looked like."""

# ruff: noqa: FBT002 - a parameter of a command is an option of it

from typing import Annotated, Any

import typer

from pointsman.cli.output import say, structured, table, when
from pointsman.cli.session import ProjectName, Session, reporting


def register(app: typer.Typer) -> None:
    for command in (drift, performance):
        app.command()(command)


def drift(
    context: typer.Context,
    project: ProjectName,
    step: Annotated[str, typer.Option("--step", help="hour or day; as declared without it.")] = "",
    every: Annotated[
        bool, typer.Option("--all", help="Every feature, also those that look as before.")
    ] = False,
) -> None:
    """Say which inputs and answers no longer look like the reference, the worst first."""
    session: Session = context.obj
    with reporting():
        query = {"step": step} if step else {}
        found = session.client().get(f"{session.project(project)}/drift", query)
        if structured(found, session.output):
            return
        if found["reference"] is None:
            say(f"{found['project']}: {found['waits_for']}")
            return
        _show(found, every=every)


def _show(found: dict[str, Any], *, every: bool) -> None:
    reference = found["reference"]
    say(f"{found['project']} beside {reference['source']} (n={reference['n']:,})")
    rows = [_row(column, found["starts"]) for column in found["columns"]]
    compared = [row for row in rows if row is not None]
    if not compared:
        say("no stretch of time has enough decisions to compare yet")
        return
    drifted = [row for row in compared if row["times"]]
    shown = sorted(compared if every else drifted, key=lambda row: -row["worst"])
    if shown:
        table(
            ["COLUMN", "ROLE", "#INDEX NOW", "#LIMIT", "#N", "#WORST", "DRIFTED", "LAST"],
            (
                (
                    row["name"],
                    row["role"],
                    f"{row['psi']:.3f}",
                    f"{row['limit']:.3f}",
                    f"{row['n']:,}",
                    f"{row['worst']:.3f}",
                    f"{row['times']} of {row['compared']}",
                    when(row["last"]) if row["last"] else "",
                )
                for row in shown
            ),
        )
    stretch = "hour" if found["step_s"] < 86_400 else "day"
    say(
        f"{len(drifted)} of {len(compared)} drifted in an {stretch} that is over"
        if stretch == "hour"
        else f"{len(drifted)} of {len(compared)} drifted on a day that is over"
    )


def _row(column: dict[str, Any], starts: list[int]) -> dict[str, Any] | None:
    """The newest comparison of a column, and its worst; None where there is none."""
    places = [at for at, psi in enumerate(column["psi"]) if psi is not None]
    if not places:
        return None
    last = places[-1]
    times = [starts[at] for at in places if column["drifted"][at]]
    return {
        "name": column["name"],
        "role": column["role"],
        "psi": column["psi"][last],
        "limit": column["limit"][last],
        "n": column["n"][last],
        "worst": max(column["psi"][at] for at in places),
        "compared": len(places),
        "times": len(times),
        "last": times[-1] if times else 0,
    }


def performance(context: typer.Context, project: ProjectName) -> None:
    """Say how versions probably do before labels come, beside what labels said, day by day."""
    session: Session = context.obj
    with reporting():
        found = session.client().get(f"{session.project(project)}/performance")
        if structured(found, session.output):
            return
        if found["missing"]:
            say(f"{found['project']}: {found['missing']}")
        for version in found["versions"]:
            say(f"{found['project']} {version['variant']}:{version['version']}")
            table(
                [
                    "DAY",
                    "#DECISIONS",
                    "#LABELLED",
                    "ACCURACY, ESTIMATED",
                    "REALISED",
                    "RECALL, ESTIMATED",
                    "REALISED",
                ],
                (
                    (
                        when(day["at_ms"])[:10],
                        f"{day['n']:,}",
                        f"{day['labelled']:,}",
                        *(
                            _said(day[which], what)
                            for what in ("accuracy", "recall")
                            for which in ("estimated", "realised")
                        ),
                    )
                    for day in version["days"]
                ),
            )
        if not found["versions"] and not found["missing"]:
            say(f"{found['project']}: no decisions yet")


def _said(rates: dict[str, Any] | None, what: str) -> str:
    if rates is None or rates[what]["value"] is None:
        return "-"
    one = rates[what]
    return f"{one['value']:.1%} [{one['low']:.1%}, {one['high']:.1%}]"
