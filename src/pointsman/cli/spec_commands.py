"""init, lint, plan, apply: from a file to what is served."""

# ruff: noqa: FBT002, PLR0913, PLR0917 - a parameter of a command is an option of it

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pointsman.cli.output import percent, say, structured, warn
from pointsman.cli.session import Force, Reason, Session, reporting
from pointsman.domain.errors import Kind, PointsmanError

if TYPE_CHECKING:
    from pointsman.cli.client import AdminClient
    from pointsman.spec.models import Project

File = Annotated[
    str, typer.Option("-f", "--file", help="A file, a directory of *.yaml, or - for stdin.")
]
Prune = Annotated[
    bool,
    typer.Option("--prune", help="Also delete the tenant's projects that the files do not have."),
]
_WAIT_S = 15.0


def register(app: typer.Typer) -> None:
    for command in (init, schema, lint, plan, apply):
        app.command()(command)


def init(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the new project.")] = "income",
    file: Annotated[str, typer.Option("-f", "--file", help="Where to; - for stdout.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented project file to start from, and the schema by which editors check it."""
    with reporting():
        from pointsman.spec import schema as language
        from pointsman.spec.template import starter

        text = starter(name)
        if file == "-":
            sys.stdout.write(text)
            return
        path = Path(file or f"{name}.yaml")
        if path.exists() and not force:
            raise PointsmanError(
                Kind.CONFLICT, f"{path} exists", hint="give another --file, or --force"
            )
        path.write_text(text, encoding="utf-8")
        beside = path.with_name(language.FILE_NAME)
        beside.write_text(language.text(), encoding="utf-8")
        session: Session = context.obj
        shown = {"file": str(path), "schema": str(beside), "project": name}
        if not structured(shown, session.output):
            say(f"wrote {path} and {beside}; next: pointsman lint {path}")


def schema(
    file: Annotated[str, typer.Option("-f", "--file", help="Where to; stdout without.")] = "",
) -> None:
    """Write the JSON Schema of project files, for editors and other tools."""
    with reporting():
        from pointsman.spec import schema as language

        if file in {"", "-"}:
            sys.stdout.write(language.text())
        else:
            Path(file).write_text(language.text(), encoding="utf-8")


def lint(
    context: typer.Context,
    files: Annotated[list[str], typer.Argument(help="Files, directories, or - for stdin.")],
) -> None:
    """Check files without asking anybody. Reports every problem at once."""
    session: Session = context.obj
    with reporting():
        problems: list[Any] = []
        found: list[Project] = []
        for name in files:
            try:
                found += _load(name)
            except PointsmanError as error:
                if not error.violations:
                    raise
                problems += error.violations
        import msgspec

        names = [f"{project.tenant}/{project.name}" for project in found]
        shown = {"projects": names, "violations": [msgspec.to_builtins(p) for p in problems]}
        if not structured(shown, session.output):
            for problem in problems:
                warn(str(problem))
            verdict = f"{len(problems)} problem(s)" if problems else "no problems"
            say(f"{len(found)} project(s) sound, {verdict}")
        if problems:
            raise typer.Exit(1)


def plan(
    context: typer.Context,
    file: File,
    prune: Prune = False,
    no_replay: Annotated[
        bool, typer.Option("--no-replay", help="Only the difference, no logged decisions.")
    ] = False,
    last: Annotated[
        int, typer.Option("--last", min=1, max=1_000_000, help="Replay so many decisions at most.")
    ] = 100_000,
    since: Annotated[
        str, typer.Option("--since", help="Replay none older than this: 90m, 24h, 7d; or all.")
    ] = "24h",
    value: Annotated[
        str, typer.Option("--value", help="Number of the context to sum up: value at risk.")
    ] = "",
    sample: Annotated[
        int,
        typer.Option(
            "--sample",
            min=0,
            max=100_000,
            help="Ask a version that the log does not know about so many decisions; 0: do not.",
        ),
    ] = 10_000,
) -> None:
    """Show what apply would change, and what it would have done to logged decisions.

    Exits 0: nothing, 2: changes, 1: error.
    """
    session: Session = context.obj
    with reporting():
        client = session.client()
        query = {"replay": "false"} if no_replay else _window(last, since, value, sample)
        plans = _plans(session, client, _load(file), prune=prune, query=query)
        changed = any(found["changed"] for found in plans)
        if not structured({"plans": plans, "changed": changed}, session.output):
            _show(plans)
        if changed:
            raise typer.Exit(2)


def apply(
    context: typer.Context,
    file: File,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    prune: Prune = False,
    force: Force = False,
    reason: Reason = "",
) -> None:
    """Make it so: prepare the models, publish the table, and wait for the workers."""
    session: Session = context.obj
    with reporting():
        client = session.client()
        projects = _load(file)
        plans = _plans(session, client, projects, prune=prune)
        quiet = structured({"plans": plans}, session.output) if dry_run else False
        if not quiet and session.output == "table":
            _show(plans)
        if dry_run or not any(found["changed"] for found in plans):
            if not dry_run:
                structured({"results": [], "changed": False}, session.output)
            return
        if not yes and sys.stdin.isatty() and not typer.confirm("Apply?"):
            raise typer.Exit(1)
        by_name = {f"{project.tenant}/{project.name}": project for project in projects}
        results = []
        for found in plans:
            if found["changed"]:
                project = by_name.get(found["project"])
                how = {"reason": reason, "force": "true" if force else ""}
                results.append(_carry_out(session, client, found, project, how))
        if not structured({"results": results, "changed": True}, session.output):
            for result in results:
                say(result["sentence"])
                say(serving_line(result))


def serving_line(result: dict[str, Any]) -> str:
    """`serving on 2/2 workers`, as far as it is known."""
    workers = result["workers"]
    if not workers["expected"]:
        return "  published; no gateway has reported here (gateways elsewhere fetch it themselves)"
    line = f"  serving on {workers['serving']}/{workers['expected']} workers"
    for problem in workers["problems"]:
        line += f"\n  {problem}"
    return line


def _load(name: str) -> "list[Project]":
    from pointsman.spec.load import load_path, load_text

    if name == "-":
        return list(load_text(sys.stdin.read(), "<stdin>"))
    path = Path(name)
    if not path.exists():
        raise PointsmanError(Kind.NOT_FOUND, f"{name}: no such file or directory")
    return list(load_path(path))


def _window(last: int, since: str, value: str, sample: int) -> dict[str, Any]:
    from pointsman.spec.scalars import parse_duration

    try:
        since_s = 0 if since == "all" else max(1, parse_duration(since) // 1000)
    except ValueError:
        raise PointsmanError(
            Kind.INVALID, f"--since {since}: not a duration", hint="write 90m, 24h, 7d, or all"
        ) from None
    return {"last": last, "since_s": since_s, "value": value, "sample": sample}


def _plans(
    session: Session,
    client: "AdminClient",
    projects: "list[Project]",
    *,
    prune: bool,
    query: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    from pointsman.spec.canonical import canonical

    plans = []
    for project in projects:
        path = f"/v1/tenants/{project.tenant}/projects/{project.name}:plan"
        plans.append(client.post(path, canonical(project), query))
    if not prune:
        return plans
    wanted = {f"{project.tenant}/{project.name}" for project in projects}
    tenants = sorted({project.tenant for project in projects} | {session.tenant})
    for tenant in tenants:
        rows = client.get("/v1/projects", {"tenant": tenant})["projects"]
        plans += [_destruction(row) for row in rows if row["project"] not in wanted]
    return plans


def _destruction(row: dict[str, Any]) -> dict[str, Any]:
    name = row["project"].partition("/")[2]
    return {
        "project": row["project"],
        "parent": row["number"],
        "changed": True,
        "changes": [{"operation": "-", "kind": "project", "name": name, "details": []}],
        "moves": [],
        "pins": {},
        "destroy": True,
        "summary": {"add": 0, "change": 0, "destroy": 1, "text": ""},
    }


def _carry_out(
    session: Session,
    client: "AdminClient",
    found: dict[str, Any],
    project: "Project | None",
    how: dict[str, str],
) -> dict[str, Any]:
    path = session.project(found["project"])
    parent = f'"{found["parent"]}"'
    if project is None:
        answer = client.call("DELETE", path, query={"reason": how["reason"]}, if_match=parent)
    else:
        from pointsman.spec.canonical import canonical

        answer = client.call(
            "PUT",
            path,
            body=canonical(project),
            query={**how, "wait": _WAIT_S},
            if_match=parent,
        )
    result: dict[str, Any] = answer.body
    return result


def _show(plans: list[dict[str, Any]]) -> None:
    totals = dict.fromkeys(("add", "change", "destroy"), 0)
    from pointsman.cli.plan_view import show_limits, show_replay

    for found in plans:
        if found.get("sentence"):
            say(found["sentence"])
            say()
        say(f"{found['project']} (revision {found['parent'] or 'none yet'})")
        show_changes(found)
        for variant, source in found["pins"].items():
            say(f"    {variant} serves {source}")
        if found.get("replay"):
            show_replay(found["replay"])
        if found.get("limits"):
            show_limits(found["project"], found["limits"])
        elif found["changed"] and not found.get("destroy"):
            say()
            say("  limits were not looked at; `apply` holds the change against them")
        for key in totals:
            totals[key] += found["summary"][key]
    say()
    say(
        f"Plan: {totals['add']} to add, {totals['change']} to change, "
        f"{totals['destroy']} to destroy"
    )


def show_changes(found: dict[str, Any]) -> None:
    """Prints changes with + ~ - and, below a rule, who would be assigned anew."""
    moves = {move["rule"]: move for move in found["moves"]}
    if not found["changes"]:
        say("  no changes")
    for change in found["changes"]:
        say(f"  {change['operation']} {change['kind']} {change['name']}")
        for detail in change["details"]:
            say(f"      {detail}")
        move = moves.pop(change["name"], None) if change["kind"] == "rule" else None
        if move is not None:
            _show_move(move)
    for move in moves.values():
        say(f"  ~ rule {move['rule']}")
        _show_move(move)


def _show_move(move: dict[str, Any]) -> None:
    say(f"      {percent(move['share'])} of its units move:")
    for flow in move["flows"]:
        say(f"        {flow['from']} → {flow['to']}: {percent(flow['share'])}")
