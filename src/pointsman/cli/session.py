"""What every command knows of its surroundings: where the API is, who asks, how to print."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pointsman.cli.output import Format, complain
from pointsman.domain.errors import PointsmanError

if TYPE_CHECKING:
    from pointsman.cli.client import AdminClient

DEFAULT_URL: Final = "http://127.0.0.1:8701"

Url = Annotated[
    str, typer.Option("--url", envvar="POINTSMAN_URL", help="Address of the admin API.")
]
Token = Annotated[
    str, typer.Option("--token", envvar="POINTSMAN_TOKEN", help="Admin token.", show_envvar=True)
]
Tenant = Annotated[str, typer.Option("--tenant", envvar="POINTSMAN_TENANT", help="Whose projects.")]
Output = Annotated[Format, typer.Option("-o", "--output", help="table, json or yaml.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the audit log.")]
Local = Annotated[
    bool, typer.Option("--local", help="On this machine's disk, without the controller.")
]
Data = Annotated[
    Path, typer.Option("--data", envvar="POINTSMAN_DATA", help="Data directory, for --local.")
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Past limits and freezes; needs --reason, and is recorded."),
]
ProjectName = Annotated[str, typer.Argument(metavar="PROJECT", help="Name of the project.")]


@dataclass(frozen=True)
class Session:
    """Options that stand before the command, with their environment variables."""

    url: str = DEFAULT_URL
    token: str = ""
    tenant: str = "default"
    output: Format = Format.TABLE

    def client(self) -> "AdminClient":
        from pointsman.cli.client import AdminClient

        return AdminClient(self.url, self.token)

    def project(self, name: str) -> str:
        """Path of a project; `tenant/name` names another tenant than the session's."""
        tenant, slash, rest = name.partition("/")
        return (
            f"/v1/tenants/{tenant}/projects/{rest}"
            if slash
            else f"/v1/tenants/{self.tenant}/projects/{name}"
        )

    def qualified(self, name: str) -> str:
        """`tenant/name`, where that is not what was said already."""
        return name if "/" in name else f"{self.tenant}/{name}"


@contextmanager
def reporting() -> Iterator[None]:
    """Ends the program with 1 and plain words where something expected goes wrong."""
    try:
        yield
    except PointsmanError as error:
        complain(error)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
