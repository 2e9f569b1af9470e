"""drift, performance: what inputs and scores look like beside what they looked like."""

# ruff: noqa: FBT002 - a parameter of a command is an option of it

from tempfile import NamedTemporaryFile
from typing import Annotated, Any, Final

import typer

from pointsman.cli.export_commands import moment
from pointsman.cli.output import say, structured, table, when
from pointsman.cli.session import ProjectName, Session, reporting
from pointsman.domain.errors import Kind, PointsmanError

_LOGGED: Final = "SELECT * FROM file USING SAMPLE reservoir(20000 ROWS) REPEATABLE (7)"
_LEVEL: Final = 0.01
"""Chance of telling two stretches apart that do not differ."""


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
    together: Annotated[
        str,
        typer.Option(
            "--together",
            metavar="BEFORE..NOW",
            help="Train a classifier to tell two times apart: 14d..7d is the week before the last "
            "beside the last.",
        ),
    ] = "",
) -> None:
    """Say which inputs and answers no longer look like the reference, the worst first."""
    session: Session = context.obj
    with reporting():
        if together:
            _together(session, project, together)
            return
        query = {"step": step} if step else {}
        found = session.client().get(f"{session.project(project)}/drift", query)
        if structured(found, session.output):
            return
        if found["reference"] is None:
            say(f"{found['project']}: {found['waits_for']}")
            return
        _show(found, every=every)


def _together(session: Session, project: str, span: str) -> None:
    """All features together: decisions of one stretch of time beside those of the next."""
    from pointsman.cli import together

    begin, dots, middle = span.partition("..")
    if not dots:
        raise PointsmanError(
            Kind.INVALID,
            f"{span!r} names no two stretches of time",
            hint="--together 14d..7d: from 14 to 7 days ago beside the days since",
        )
    ends = moment(begin), moment(middle)
    if not 0 < ends[0] < ends[1]:
        raise PointsmanError(Kind.INVALID, f"{begin} is not before {middle}")
    before, now = (_logged(session, project, *one) for one in (ends, (ends[1], 0)))
    try:
        found = together.told_apart(
            [row for _, row in before],
            [row for _, row in now],
            [unit for unit, _ in (*before, *now)],
        )
    except ValueError as error:
        raise PointsmanError(
            Kind.INVALID, f"{len(before):,} decisions beside {len(now):,}: {error}"
        ) from None
    except ImportError as error:
        raise PointsmanError(
            Kind.NOT_AVAILABLE_YET,
            f"{error.name} is not installed",
            hint="pip install 'pointsman[mlflow]'",
        ) from None
    import msgspec

    if structured(msgspec.to_builtins(found), session.output):
        return
    said = "can be told apart" if found.p_value <= _LEVEL else "cannot be told apart"
    say(
        f"{project}: decisions since {when(ends[1])} {said} from those since {when(ends[0])}: AUC "
        f"{found.auc:.3f} (0.5 is not at all), p={found.p_value:.4f}, n={found.before:,} and "
        f"{found.now:,} of which {found.units:,} units were asked"
    )
    if found.p_value <= _LEVEL:
        table(
            ["FEATURE", "#AUC LOST WITHOUT IT"],
            ((name, f"{lost:.3f}") for name, lost in found.features[:10]),
        )


def _logged(session: Session, project: str, since: int, until: int) -> list[tuple[str, Any]]:
    """Unit and features of decisions, a sample where there are many."""
    import duckdb

    query = {"format": "parquet", "since_ms": since, "until_ms": until or ""}
    with NamedTemporaryFile(suffix=".parquet") as file:
        session.client().download(f"{session.project(project)}/decisions:export", query, file)
        file.flush()
        with duckdb.connect() as connection:
            found = connection.read_parquet(file.name).query("file", _LOGGED)
            if found is None:
                return []
            names = {
                at: column.removeprefix("feature.")
                for at, column in enumerate(found.columns)
                if column.startswith("feature.")
            }
            unit, own = found.columns.index("unit"), found.columns.index("id")
            return [
                (str(row[own] if row[unit] is None else row[unit]), _features(row, names))
                for row in found.fetchall()
                if any(row[at] is not None for at in names)
            ]


def _features(row: tuple[Any, ...], names: dict[int, str]) -> dict[str, Any]:
    return {name: row[at] for at, name in names.items()}


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
