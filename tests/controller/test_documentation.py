"""The reference pages name every route and every command there is, and none that is not."""

import re
from pathlib import Path

from control_process import ControlProcess
from pointsman.cli import app
from pointsman.controller.problem import STATUS
from pointsman.domain.errors import Kind

PAGES = Path(__file__).parents[2] / "docs" / "reference"
ROUTE = re.compile(r"`(GET|PUT|POST|DELETE) (/[^`]*)`")


def test_the_admin_api_page_lists_every_route_with_its_permission(control: ControlProcess) -> None:
    schema = control.call("GET", "/v1/openapi.json").json()
    there = {
        (method.upper(), path, operation["x-permission"])
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    }

    page = (PAGES / "admin-api.md").read_text()
    told = {
        (method, path, line.split("|")[2].strip())
        for line in page.splitlines()
        if line.startswith("| `")
        for method, path in ROUTE.findall(line.split("|")[1])
    }

    assert told == there


def test_the_admin_api_page_lists_every_kind_with_its_status() -> None:
    page = (PAGES / "admin-api.md").read_text()
    told = {
        kind: int(line.split("|")[2])
        for line in page.splitlines()
        if re.match(r"\| `[a-z_]+`.* \| \d{3} \|", line)
        for kind in re.findall(r"`([a-z_]+)`", line.split("|")[1])
    }

    assert told == {kind.value: STATUS[kind] for kind in Kind}


def test_the_command_line_page_names_every_command() -> None:
    page = (PAGES / "cli.md").read_text()
    commands = {
        (command.name or getattr(command.callback, "__name__", ""))
        for command in app.registered_commands
    }
    groups = {
        f"{group.name} {command.name}"
        for group in app.registered_groups
        if group.typer_instance is not None
        for command in group.typer_instance.registered_commands
    }

    missing = [name for name in sorted(commands | groups) if f"`{name}" not in page]
    assert missing == []
