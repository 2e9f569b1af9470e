"""report: Evidently's pages over decisions and what became of them."""

# ruff: noqa: FBT002 - a parameter of a command is an option of it

import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from pointsman.cli.export_commands import moment, to_file
from pointsman.cli.output import say, warn
from pointsman.cli.session import ProjectName, Session, reporting
from pointsman.domain.errors import Kind, PointsmanError

_NAMED = frozenset({"string", "boolean"})


def register(app: typer.Typer) -> None:
    app.command()(report)


def report(  # noqa: PLR0913, PLR0917 - one parameter an option
    context: typer.Context,
    project: ProjectName,
    evidently: Annotated[
        bool, typer.Option("--evidently", help="As Evidently makes it: drift, summary, quality.")
    ] = False,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE", help="NAME-report.html without it.")
    ] = "",
    since: Annotated[
        str, typer.Option("--since", help="2026-03-01, 2026-03-01T12:00, or 7d: so long ago.")
    ] = "7d",
    until: Annotated[str, typer.Option("--until", help="As --since; not included.")] = "",
    reference: Annotated[
        str,
        typer.Option(
            "--reference",
            metavar="FROM..UNTIL|FILE",
            help="Beside what: other decisions (30d..7d), or a file such as the training data; "
            "as long a time before without it.",
        ),
    ] = "",
    label: Annotated[
        str, typer.Option("--label", metavar="COLUMN", help="The reference file's labels.")
    ] = "",
    version: Annotated[str, typer.Option("--version", help="Version that answered.")] = "",
    served_by: Annotated[str, typer.Option("--served-by", help="Variant that answered.")] = "",
    sample: Annotated[
        int, typer.Option("--sample", min=100, help="Rows of either window, at most.")
    ] = 50_000,
    python: Annotated[
        str,
        typer.Option(
            "--python",
            metavar="PROGRAM",
            envvar="POINTSMAN_EVIDENTLY_PYTHON",
            help="Another Python, which has Evidently.",
        ),
    ] = "",
    keep: Annotated[
        bool,
        typer.Option("--keep/--no-keep", help="Whether the dashboard shows it to who may export."),
    ] = True,
    browser: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Delete the one that is kept.")] = False,
) -> None:
    """Make a page on inputs, answers and labels of some days, beside those of others."""
    session: Session = context.obj
    with reporting():
        client, place = session.client(), session.project(project)
        if forget:
            say(client.call("DELETE", f"{place}/report").body["sentence"])
            return
        if not evidently:
            raise PointsmanError(
                Kind.INVALID,
                "which report is meant?",
                hint=f"pointsman report {project} --evidently",
            )
        target = Path(output or f"{project.rpartition('/')[2]}-report.html")
        now = {"since_ms": moment(since), "until_ms": moment(until) or time.time_ns() // 1_000_000}
        chosen = {"version": version, "served_by": served_by}
        before = _before(reference, now)
        with tempfile.TemporaryDirectory(prefix="pointsman-report-") as scratch:
            made = _made(
                session, place, (now | chosen, before, label), (sample, python), Path(scratch)
            )
            try:
                target.write_bytes(made)
            except OSError as error:
                raise PointsmanError(Kind.INVALID, f"{target}: {error.strerror}") from None
        say(str(target))
        if keep:
            say(client.call("PUT", f"{place}/report", body=made).body["sentence"])
        if browser:
            typer.launch(target.resolve().as_uri())


def _made(
    session: Session,
    place: str,
    windows: tuple[dict[str, Any], dict[str, Any] | Path, str],
    how: tuple[int, str],
    scratch: Path,
) -> bytes:
    """The page. windows: what is wanted of now, of before, and the label of a file"""
    from pointsman.cli import reporting as evidently

    (now, before, label), (sample, python) = windows, how
    found = session.client().get(place)
    spec = found["document"]["spec"]
    kinds: evidently.Kinds = {
        feature["name"]: "category" if feature["type"] in _NAMED else "number"
        for feature in found["features"]
    }
    positive = spec.get("positive", "") if len(spec["classes"]) == 2 else ""
    form = evidently.shape(kinds, positive, sample)

    def decisions(name: str, wanted: dict[str, Any]) -> evidently.Window:
        export, span = scratch / f"{name}-export.parquet", _span(wanted)
        to_file(session, f"{place}/decisions:export", {"format": "parquet", **wanted}, export)
        made = evidently.of_decisions(export, scratch / f"{name}.parquet", form)
        if not made.rows:
            raise PointsmanError(
                Kind.NOT_FOUND,
                f"there are no such decisions {span}",
                hint="name other times with --since, --until and --reference",
            )
        warn(f"{name}: {_counted(made)} decisions {span}")
        return made

    current = decisions("current", now)
    if isinstance(before, Path):
        reference = evidently.of_file(before, scratch / "reference.parquet", form, label)
        warn(f"reference: {_counted(reference)} rows of {before}")
    else:
        chosen = {key: now[key] for key in ("version", "served_by")}
        reference = decisions("reference", before | chosen)
    answers = {form.predicted: "category"} | ({form.score: "number"} if positive else {})
    page = scratch / "report.html"
    job = evidently.Job(
        current=str(current.path),
        reference=str(reference.path),
        output=str(page),
        title=f"{found['project']} {_span(now)}",
        columns=kinds | answers,
        label=form.label,
        predicted=form.predicted,
        score=form.score,
        positive=positive,
    )
    for note in evidently.make(job, python, scratch)["notes"]:
        warn(note)
    return page.read_bytes()


def _before(text: str, now: dict[str, int]) -> dict[str, int] | Path:
    """The reference: a span of time, or a file."""
    if not text:
        long = now["until_ms"] - now["since_ms"]
        return {"since_ms": max(now["since_ms"] - long, 1), "until_ms": now["since_ms"]}
    if Path(text).is_file():
        return Path(text)
    first, dots, last = text.partition("..")
    if not dots:
        raise PointsmanError(
            Kind.INVALID,
            f"{text} is no file, and no span of time",
            hint="write --reference 30d..7d, or the path of a file",
        )
    return {"since_ms": moment(first), "until_ms": moment(last) or now["since_ms"]}


def _span(wanted: dict[str, Any]) -> str:
    from pointsman.cli.output import when

    return f"from {when(wanted['since_ms'])} until {when(wanted['until_ms'])}"


def _counted(window: Any) -> str:
    return f"{window.n:,}" if window.rows == window.n else f"{window.rows:,} of {window.n:,}"
