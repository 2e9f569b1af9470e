"""How results reach the terminal: tables for people, JSON and YAML for programs."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from pointsman.domain.errors import PointsmanError

if TYPE_CHECKING:
    # Rich takes longer to import than most commands take to answer.
    from rich.table import Table

_OF_VARIANTS: Final = frozenset({"VARIANT", "ASSIGNED", "SERVED", "SHADOW"})
"""Columns whose cells have a variant's colour, where it is known."""

_WHOLE: Final = frozenset({"METRIC", "VARIANT", "INTERVAL", "VERSION", "RUNTIME", "RULE"})


_PLAIN: Final[Mapping[str, str]] = {}


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


def warn(text: str) -> None:
    sys.stderr.write(text + "\n")


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    title: str = "",
    colours: Mapping[str, str] = _PLAIN,
) -> None:
    """Prints rows below headings, as wide as the terminal, or as they are into a pipe.

    colours: of variants, by name
    """
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(table_of(columns, rows, title, colours))


def table_of(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    title: str = "",
    colours: Mapping[str, str] = _PLAIN,
) -> "Table":
    """Rows below headings, to be printed by rich."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

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
        texts = ["" if cell is None else str(cell) for cell in row]
        shown.add_row(
            *(
                Text(text, style=colours.get(text, "") if column in _OF_VARIANTS else "")
                for column, text in zip(columns, texts, strict=True)
            )
        )
    return shown


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
