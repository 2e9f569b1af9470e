"""monitoring: the rules, routes and dashboards that come with this version, as files."""

# ruff: noqa: FBT002 - a parameter of a command is an option of it

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from pointsman.cli.session import reporting
from pointsman.domain.errors import Kind, PointsmanError

RUNBOOKS: Final = "docs/guide/monitoring.md"
"""What links of alerts begin with in the files that are shipped."""
_WHAT: Final = {
    "prometheus/pointsman.rules.yml": "recording and alerting rules: name it in rule_files",
    "prometheus/prometheus.yml": "how to scrape: take its jobs into your own",
    "alertmanager/pointsman.yml": "routes by severity: put your own addresses in",
    "grafana/pointsman-project.json": "dashboard of a project: import it",
    "grafana/pointsman-fleet.json": "dashboard of gateways and controller: import it",
}


def register(app: typer.Typer) -> None:
    app.command()(monitoring)


def monitoring(
    directory: Annotated[Path, typer.Argument(help="Where to write them; made if missing.")],
    runbooks: Annotated[
        str,
        typer.Option("--runbooks", metavar="URL", help=f"Where your people find {RUNBOOKS}."),
    ] = RUNBOOKS,
    force: Annotated[
        bool, typer.Option("--force", help="Write over files that are there.")
    ] = False,
) -> None:
    """Write rules for Prometheus, routes for Alertmanager and dashboards for Grafana."""
    with reporting():
        for path, what in _written(directory, runbooks, force=force):
            sys.stdout.write(f"{path}  {what}\n")


def _written(directory: Path, runbooks: str, *, force: bool) -> Iterator[tuple[Path, str]]:
    """Each file once it is there, and what it is for. None where one would be written over."""
    there = [name for name in _WHAT if (directory / name).exists()]
    if there and not force:
        raise PointsmanError(
            Kind.CONFLICT,
            f"{directory}: there already: {', '.join(there)}",
            hint="they may hold your own bounds: write beside them and compare, or say --force",
        )
    source = _shipped()
    for name, what in _WHAT.items():
        text = (source / name).read_text(encoding="utf-8").replace(f"{RUNBOOKS}#", f"{runbooks}#")
        try:
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text, encoding="utf-8")
        except OSError as error:
            raise PointsmanError(
                Kind.INVALID, f"{directory / name}: {error.strerror}", hint="name another directory"
            ) from None
        yield directory / name, what


def _shipped() -> Path:
    """In the installed package, else in the repository. Raises PointsmanError(NOT_FOUND)."""
    import pointsman

    package = Path(pointsman.__file__).parent
    for place in (package / "deploy", package.parents[1] / "deploy"):
        if all((place / name).exists() for name in _WHAT):
            return place
    raise PointsmanError(
        Kind.NOT_FOUND,
        f"the files are neither in {package} nor beside it",
        hint="install Pointsman again, or take them from deploy/ of the repository",
    )
