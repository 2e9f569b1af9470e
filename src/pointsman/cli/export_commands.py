"""export: decisions as a file."""

# ruff: noqa: FBT002 - a parameter of a command is an option of it

import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pointsman.cli.output import warn
from pointsman.cli.session import ProjectName, Session, reporting
from pointsman.domain.errors import Kind, PointsmanError


class FileFormat(StrEnum):
    """What `--format` takes."""

    PARQUET = "parquet"
    CSV = "csv"
    JSONL = "jsonl"


def register(app: typer.Typer) -> None:
    app.command()(export)


def export(  # noqa: PLR0913, PLR0917 - one parameter an option
    context: typer.Context,
    project: ProjectName,
    output: Annotated[str, typer.Option("-o", "--output", metavar="FILE", help="File, or -.")],
    file_format: Annotated[FileFormat, typer.Option("--format")] = FileFormat.PARQUET,
    since: Annotated[
        str, typer.Option("--since", help="2026-03-01, 2026-03-01T12:00, or 7d: so long ago.")
    ] = "",
    until: Annotated[str, typer.Option("--until", help="As --since; not included.")] = "",
    variant: Annotated[str, typer.Option("--variant", help="Assigned variant.")] = "",
    version: Annotated[str, typer.Option("--version", help="Version that answered.")] = "",
    served_by: Annotated[str, typer.Option("--served-by", help="Variant that answered.")] = "",
    rule: Annotated[str, typer.Option("--rule")] = "",
    reason: Annotated[str, typer.Option("--reason", help="SPLIT, RULE, FALLBACK, ...")] = "",
    slices: Annotated[
        list[str] | None, typer.Option("--slice", metavar="ATTRIBUTE=VALUE", help="Repeatable.")
    ] = None,
    rolled_back: Annotated[
        bool, typer.Option("--rolled-back", help="What the version last rolled back answered.")
    ] = False,
) -> None:
    """Write decisions, with their features and what became of them, to a file."""
    session: Session = context.obj
    query: dict[str, Any] = {
        "format": file_format.value,
        "variant": variant,
        "version": version,
        "served_by": served_by,
        "rule": rule,
        "reason": reason,
        "slice": slices or "",
        "rolled_back": "true" if rolled_back else "",
    }
    with reporting():
        query |= {"since_ms": moment(since) or "", "until_ms": moment(until) or ""}
        path = f"{session.project(project)}/decisions:export"
        if output == "-":
            if sys.stdout.isatty() and file_format is FileFormat.PARQUET:
                raise PointsmanError(Kind.INVALID, "a Parquet file is nothing for a terminal")
            count = session.client().download(path, query, sys.stdout.buffer)
            sys.stdout.flush()
        else:
            count = to_file(session, path, query, Path(output))
        warn(f"{int(count['x-pointsman-decisions']):,} decisions")


def to_file(session: Session, path: str, query: dict[str, Any], target: Path) -> Any:
    """Writes beside the file first: one of that name is whole, or as it was."""
    part = target.with_name(target.name + ".part")
    try:
        with part.open("wb") as file:
            headers = session.client().download(path, query, file)
        part.replace(target)
    except OSError as error:
        raise PointsmanError(Kind.INVALID, f"{target}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    return headers


def moment(text: str) -> int:
    """Unix milliseconds of a day, a time (UTC where it names no zone) or a duration ago; 0 for
    nothing. Raises PointsmanError(INVALID)."""
    from datetime import UTC, datetime

    from pydantic_core import PydanticCustomError

    from pointsman.spec.scalars import parse_duration

    if not text:
        return 0
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        try:
            return max(1, time.time_ns() // 1_000_000 - parse_duration(text))
        except PydanticCustomError:
            raise PointsmanError(
                Kind.INVALID,
                f"not a time: {text!r}",
                hint="write 2026-03-01, 2026-03-01T12:00 or 7d (so long ago)",
            ) from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
