"""demo: the whole system at work, on one machine."""

# ruff: noqa: FBT002 - a parameter of a command is an option of it

from pathlib import Path
from typing import Annotated

import typer

from pointsman.cli.session import reporting


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    leave: Annotated[
        bool, typer.Option("--exit", help="End when all was shown; 0 only if all of it worked.")
    ] = False,
    directory: Annotated[
        Path, typer.Option("--directory", help="Of all its data, made anew each time.")
    ] = Path(".pointsman/demo"),
    rows: Annotated[
        int | None, typer.Option("--rows", min=100, help="Of traffic. [all 16,281]")
    ] = None,
    rollouts: Annotated[
        bool, typer.Option(help="Show two rollouts, too: one that succeeds, and one that must not.")
    ] = True,
) -> None:
    """Show it at work: a registry, three models, real traffic, late labels, an explanation."""
    with reporting():
        from rich.console import Console

        from pointsman.demo.play import Options, run

        raise typer.Exit(run(Options(directory, leave, rows, rollouts), Console()))
