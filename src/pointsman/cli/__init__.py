"""The `pointsman` command. It has no door of its own: everything goes through the admin API.

Bodies import what they need, so that `--help` and completion answer at once.
"""

import sys
from collections.abc import Sequence
from typing import Final

import typer

from pointsman import __version__
from pointsman.cli import (
    access_commands,
    alert_commands,
    demo_commands,
    drift_commands,
    export_commands,
    inspect_commands,
    monitoring_commands,
    profile_commands,
    project_commands,
    report_commands,
    rollout_commands,
    serve_commands,
    spec_commands,
)
from pointsman.cli.output import Format
from pointsman.cli.session import DEFAULT_URL, Output, Session, Tenant, Token, Url

_EPILOG = (
    "--url, --token, --tenant and -o may stand before or after the command. Exit codes: 0 done, "
    "1 error; `plan` ends with 2 where there is something to change."
)
_CHANGES: Final = 2
_ANYWHERE: Final = {"--url": 1, "--token": 1, "--tenant": 1, "-o": 1, "--output": 1}
_OF_FILES: Final = ("-o", "--output")
"""Behind `export` and `report` they name a file: what is written is no document for a terminal."""
_WRITERS: Final = (["export"], ["report"])

app = typer.Typer(
    name="pointsman",
    help="Decides, for every inference request, which model version answers.",
    epilog=_EPILOG,
    no_args_is_help=True,
    # Plain help: rich would take longer to import than the command takes to answer.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_GROUPS = (
    spec_commands,
    project_commands,
    rollout_commands,
    inspect_commands,
    drift_commands,
    profile_commands,
    alert_commands,
    export_commands,
    report_commands,
    monitoring_commands,
    serve_commands,
    demo_commands,
)
for commands in _GROUPS:
    commands.register(app)
app.add_typer(access_commands.keys, name="key")
app.add_typer(access_commands.tokens, name="token")
app.add_typer(access_commands.proposals, name="proposals")


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - the signature typer asks for
    if wanted:
        sys.stdout.write(f"pointsman {__version__}\n")
        raise typer.Exit


@app.callback()
def _surroundings(  # noqa: PLR0913, PLR0917 - one parameter an option
    context: typer.Context,
    url: Url = DEFAULT_URL,
    token: Token = "",
    tenant: Tenant = "default",
    output: Output = Format.TABLE,
    version: bool = typer.Option(  # noqa: ARG001, FBT001 - handled by its callback
        False, "--version", help="Print the version.", callback=_print_version, is_eager=True
    ),
) -> None:
    context.obj = Session(url, token, tenant, output)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `pointsman` script."""
    try:
        app(args=_options_first(list(sys.argv[1:] if arguments is None else arguments)))
    except SystemExit as end:
        # A wrong option would end with 2, which a script that runs `plan` takes for changes.
        if end.code == _CHANGES and not isinstance(end.__context__, typer.Exit):
            raise SystemExit(1) from None
        # CPython remembers a Ctrl-C that came out of code made from text, such as a dataclass that
        # is being imported, though it was caught since; with `python -m` the program would then die
        # of the signal instead of ending with 130. Any other such code makes it forget.
        exec("")  # noqa: S102
        raise


def _options_first(arguments: list[str]) -> list[str]:
    """The arguments with the options every command understands moved before the command."""
    first: list[str] = []
    rest: list[str] = []
    index = 0
    while index < len(arguments):
        word = arguments[index]
        if word == "--":
            rest += arguments[index:]
            break
        name, equals, _ = word.partition("=")
        own = rest[:1] in _WRITERS and name in _OF_FILES
        if name in _ANYWHERE and not own and (equals or index + 1 < len(arguments)):
            count = 1 if equals else 2
            first += arguments[index : index + count]
            index += count
        else:
            rest.append(word)
            index += 1
    return first + rest
