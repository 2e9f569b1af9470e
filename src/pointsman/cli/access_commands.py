"""key, token, proposals: who may come in, and what the registry proposes."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pointsman.cli.output import say, structured, table, when
from pointsman.cli.session import Force, ProjectName, Reason, Session, reporting
from pointsman.cli.spec_commands import serving_line, show_changes

keys = typer.Typer(help="Data-plane keys: who may ask for predictions.", no_args_is_help=True)
tokens = typer.Typer(help="Tokens of the admin API.", no_args_is_help=True)
proposals = typer.Typer(help="Alias moves in the registry, to accept.", no_args_is_help=True)
_WAIT_S = 15.0
Data = Annotated[
    str, typer.Option("--data", help="Make it in this data directory, without the controller.")
]
Id = Annotated[str, typer.Argument(metavar="ID")]


@keys.command("create")
def create_key(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose it is; for people.")],
    permission: Annotated[
        list[str] | None,
        typer.Option("--permission", help="infer, decide, feedback, pin, metrics"),
    ] = None,
    data: Data = "",
) -> None:
    """Make a key of the tenant. It is shown once."""
    session: Session = context.obj
    body: dict[str, Any] = {"name": name, "tenant": session.tenant}
    if permission:
        body["permissions"] = permission
    with reporting():
        if data:
            from pointsman.wiring import offline

            may = tuple(permission or ("infer", "decide", "feedback"))
            made = offline.create_key(Path(data), name, session.tenant, may)
        else:
            made = session.client().post("/v1/keys", body)
        if not structured(made, session.output):
            say(made["key"])
            say(f"tenant {made['tenant']}, may {', '.join(made['permissions'])}; shown only now")


@keys.command("list")
def list_keys(context: typer.Context) -> None:
    """List keys, without their secrets."""
    session: Session = context.obj
    with reporting():
        found = session.client().get("/v1/keys")
        if not structured(found, session.output):
            table(
                ["ID", "NAME", "TENANT", "MAY", "CREATED", "REVOKED"],
                (
                    (
                        key["id"],
                        key["name"],
                        key["tenant"],
                        " ".join(key["permissions"]),
                        when(key["created_ms"]),
                        when(key["revoked_ms"]),
                    )
                    for key in found["keys"]
                ),
            )


@keys.command("revoke")
def revoke_key(context: typer.Context, key: Id) -> None:
    """End a key; gateways refuse it as soon as they have the next table."""
    _revoke(context.obj, f"/v1/keys/{key}:revoke")


@tokens.command("create")
def create_token(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose it is; the audit log names it.")],
    role: Annotated[
        str, typer.Option(help="admin, operator, approver, viewer or gateway.")
    ] = "viewer",
    only_tenant: Annotated[
        str, typer.Option("--only-tenant", help="The one tenant it may touch; empty = all.")
    ] = "",
    data: Data = "",
) -> None:
    """Make a token. It is shown once. --data helps where the admin token is lost."""
    session: Session = context.obj
    with reporting():
        if data:
            from pointsman.wiring import offline

            made = offline.create_token(Path(data), name, role, only_tenant)
        else:
            body = {"name": name, "role": role, "tenant": only_tenant}
            made = session.client().post("/v1/tokens", body)
        if not structured(made, session.output):
            say(made["token"])
            say(f"role {made['role']}, tenant {made['tenant'] or 'all'}; shown only now")


@tokens.command("list")
def list_tokens(context: typer.Context) -> None:
    """List tokens, without their secrets."""
    session: Session = context.obj
    with reporting():
        found = session.client().get("/v1/tokens")
        if not structured(found, session.output):
            table(
                ["ID", "NAME", "ROLE", "TENANT", "CREATED", "REVOKED"],
                (
                    (
                        token["id"],
                        token["name"],
                        token["role"],
                        token["tenant"] or "all",
                        when(token["created_ms"]),
                        when(token["revoked_ms"]),
                    )
                    for token in found["tokens"]
                ),
            )


@tokens.command("revoke")
def revoke_token(context: typer.Context, token: Id) -> None:
    """End a token, at once."""
    _revoke(context.obj, f"/v1/tokens/{token}:revoke")


@proposals.command("list")
def list_proposals(
    context: typer.Context,
    project: ProjectName,
    state: Annotated[str, typer.Option(help="open, accepted, dismissed, ...; empty = all")] = "",
) -> None:
    """List what the registry proposes."""
    session: Session = context.obj
    with reporting():
        found = session.client().get(f"{session.project(project)}/proposals", {"state": state})
        if not structured(found, session.output):
            table(
                ["ID", "VARIANT", "REFERENCE", "FROM", "TO", "STATE", "SINCE", "NOTE"],
                (
                    (
                        row["id"],
                        row["variant"],
                        row["asked"],
                        row["from_version"],
                        row["to_version"],
                        row["state"],
                        when(row["at_ms"]),
                        row["note"],
                    )
                    for row in found["proposals"]
                ),
            )


@proposals.command("accept")
def accept(
    context: typer.Context,
    project: ProjectName,
    proposal: Id,
    force: Force = False,  # noqa: FBT002 - a parameter of a command is an option of it
    reason: Reason = "",
) -> None:
    """Serve the proposed version: prepared, proved, held against the limits, then published."""
    session: Session = context.obj
    with reporting():
        path = f"{session.project(project)}/proposals/{proposal}:accept"
        how = {"wait": _WAIT_S, "force": "true" if force else ""}
        result = session.client().post(path, {"reason": reason}, how)
        if not structured(result, session.output):
            show_changes(result)
            say(result["sentence"])
            say(serving_line(result))


@proposals.command("dismiss")
def dismiss(
    context: typer.Context, project: ProjectName, proposal: Id, reason: Reason = ""
) -> None:
    """Keep the version that serves."""
    session: Session = context.obj
    with reporting():
        path = f"{session.project(project)}/proposals/{proposal}:dismiss"
        result = session.client().post(path, {"reason": reason})
        if not structured(result, session.output):
            say(f"proposal {result['id']} dismissed; {result['from_source']} keeps serving")


def _revoke(session: Session, path: str) -> None:
    with reporting():
        result = session.client().post(path)
        if not structured(result, session.output):
            say(f"{result['id']} revoked")
