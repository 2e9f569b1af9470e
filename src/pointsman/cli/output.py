"""How results reach the terminal: tables for people, JSON and YAML for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

from pointsman.domain.errors import PointsmanError

_WHOLE: Final = frozenset({"METRIC", "VARIANT", "INTERVAL", "VERSION", "RUNTIME", "RULE"})


class Format(StrEnum):
    """What `-o` takes."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def structured(value: Any, form: Format) -> bool:
    """Prints the value where JSON or YAML was asked for; whether it was."""
    if form is Format.JSON:
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    elif form is Format.YAML:
        sys.stdout.write(yaml_text(value))
    return form is not Format.TABLE


def yaml_text(value: Any) -> str:
    """The value as YAML, keys in their order."""
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return text


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")


def clear() -> None:
    """Empties the screen, where there is one."""
    if sys.stdout.isatty():
        sys.stdout.write("\x1b[2J\x1b[H")


def warn(text: str) -> None:
    sys.stderr.write(text + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Prints rows below headings, as wide as the terminal, or as they are into a pipe."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    shown = Table(box=SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for column in columns:
        numeric = column.startswith("#")
        # Numbers and names stay in one piece; sentences are broken between words, never cut.
        shown.add_column(
            column.removeprefix("#"),
            justify="right" if numeric else "left",
            no_wrap=numeric or column in _WHOLE,
            overflow="fold",
        )
    for row in rows:
        shown.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    if not console.is_terminal:
        console.width = 200
    console.print(shown)


def complain(error: PointsmanError) -> None:
    """Prints where, what and what to do."""
    warn(f"error: {error.message}")
    for violation in error.violations:
        warn(f"  {str(violation).replace(chr(10), chr(10) + '  ')}")
    if error.hint:
        warn(f"hint: {error.hint}")


def when(at_ms: int | None) -> str:
    """A moment for people: UTC, to the second."""
    from datetime import UTC, datetime

    if at_ms is None:
        return ""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def percent(share: float | None) -> str:
    return "" if share is None else f"{share * 100:.4g} %"
