"""Live state: what a gateway knows and the table does not, from kill switches to a value.

The champion cannot be out: it is what everything falls back to, so a kill switch on it would leave
nothing to answer. Killing the project is the switch that means "champion only".
"""

from collections.abc import Iterable
from typing import Final

from pointsman.domain.decision import NOTHING_LIVE, Live
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.names import CHAMPION, qualified
from pointsman.domain.table import ProjectTable

KILLED_MARK: Final = "*"
"""How a record's `live` says that the whole project was killed; no variant has this name."""


def live_of(table: ProjectTable, switches: Iterable[str]) -> Live:
    """The live state of one project under all switches that are set.

    switches: `tenant/project` or `tenant/project/variant`, any order, of any project; those of
        other projects, of variants the table does not have, and of the champion are not heeded
    """
    project = qualified(table.tenant, table.project)
    ours = set(switches)
    out = tuple(
        sorted(
            variant.name
            for variant in table.variants
            if variant.name != CHAMPION and f"{project}/{variant.name}" in ours
        )
    )
    killed = project in ours
    return Live(killed=killed, out=out) if killed or out else NOTHING_LIVE


def check_switch(table: ProjectTable, variant: str) -> None:
    """Returns where a kill switch on this variant would take effect.

    Errors: NOT_FOUND for a variant the table does not have, INVALID for the champion.
    """
    names = [known.name for known in table.variants]
    if variant not in names:
        raise PointsmanError(
            Kind.NOT_FOUND,
            f"project {table.project} has no variant {variant}",
            hint=f"its variants are {', '.join(names)}",
        )
    if variant == CHAMPION:
        raise PointsmanError(
            Kind.INVALID,
            "the champion cannot be killed: it is what everything falls back to",
            hint=f"kill the project {table.project} to send everything to the champion, or undo "
            "to an earlier version of it",
        )


def recorded(live: Live) -> tuple[str, ...]:
    """Live state as a decision record holds it: variants out, `*` first where all was killed."""
    return (KILLED_MARK, *live.out) if live.killed else live.out


def from_record(marks: tuple[str, ...]) -> Live:
    """The live state a record was made under: the inverse of `recorded`."""
    if not marks:
        return NOTHING_LIVE
    out = tuple(mark for mark in marks if mark != KILLED_MARK)
    return Live(killed=KILLED_MARK in marks, out=out)
