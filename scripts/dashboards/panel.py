"""What one picture of a dashboard shows, in few words."""

from collections.abc import Sequence
from typing import Final, NamedTuple

P: Final = 'project=~"$project"'
"""Selects the project of a dashboard's variable; a regular expression, so that it may be all."""

PERCENT, SECONDS, PER_SECOND, BYTES, SHORT = "percentunit", "s", "reqps", "bytes", "short"


class Line(NamedTuple):
    """A query, and what its series are called."""

    expr: str
    legend: str


class Panel(NamedTuple):
    """What one picture shows. width: of 24"""

    title: str
    lines: Sequence[Line]
    unit: str = SHORT
    description: str = ""
    kind: str = "lines"  # or `stacked`, `number`, `states`, `heatmap`
    width: int = 8
    most: float | None = None


def alerts(where: str) -> Panel:
    return Panel(
        "Alerts firing",
        [Line(f"count(ALERTS{{{where}}}) or vector(0)", "firing")],
        description="Of pointsman.rules.yml; 0 is what you want to see.",
        kind="number",
        width=4,
    )
