"""What gateways did by themselves to their live state, as their journals told it. Only reads."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, desc, or_, select

from pointsman.store.evidence_schema import override


class Told(msgspec.Struct, frozen=True):
    """One switch a gateway set or lifted. stream: the journal that said so"""

    at_ms: int
    target: str
    set: bool
    actor: str
    reason: str
    stream: str


def told(connection: Connection, project: str, limit: int = 100) -> list[Told]:
    """Of one project and its variants, the newest first. project: `tenant/project`"""
    target = override.c.target
    found = connection.execute(
        select(
            override.c.at_ms,
            target,
            override.c.set,
            override.c.actor,
            override.c.reason,
            override.c.stream,
        )
        .where(or_(target == project, target.startswith(f"{project}/", autoescape=True)))
        .order_by(desc(override.c.at_ms), desc(override.c.row))
        .limit(limit)
    )
    return [Told(*row) for row in found]


def in_force(newest_first: Sequence[Told]) -> list[Told]:
    """Of each target, the newest word of each journal, where that was that it is set."""
    seen: set[tuple[str, str]] = set()
    found = []
    for one in newest_first:
        if (one.target, one.stream) not in seen:
            seen.add((one.target, one.stream))
            if one.set:
                found.append(one)
    return found


def sentence(one: Told) -> str:
    """What happened, for people."""
    project, _, variant = one.target.rpartition("/") if one.target.count("/") > 1 else ("", "", "")
    what = variant if project else "the project"
    if not one.set:
        return f"{what}: the gateway's own kill switch was lifted"
    who = "the gateway's guard" if one.actor == "guard" else f"{one.actor}, at the gateway,"
    return f"{who} took {what} out" + (f": {one.reason}" if one.reason else "")
