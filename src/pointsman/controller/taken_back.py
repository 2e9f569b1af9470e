"""Where a version that was rolled back had answered: under every name it had, in its own attempt.

A decision names its table, and a table pins what each variant serves. So a version is found though
it went on as the champion, and is told from versions of other models with the same number, and from
what it served in other attempts. No clock is asked: gateways' clocks and the controller's differ.
"""

import msgspec
from sqlalchemy import Connection

from pointsman.controller.pinned import version_of
from pointsman.domain.table import ProjectTable
from pointsman.rollout.machine import Event
from pointsman.rollout.observation import Version
from pointsman.rollout.state import Ended
from pointsman.runtime.blobs import BlobStore
from pointsman.store import revisions, rollouts


def tables(connection: Connection, blobs: BlobStore, project: str) -> dict[str, list[str]]:
    """By variant, digests of the tables in which it was the version that the last rollback took
    out, from that attempt's first traffic until the next table without it.

    Empty where no attempt with traffic was rolled back.
    Raises PointsmanError where a table cannot be read: nothing is left out silently.
    """
    state = rollouts.state(connection, project)
    out = [end for end in (state.ended if state else ()) if end.event is not Event.SUCCEEDED]
    for end in reversed(out):
        found = _of(connection, blobs, project, end)
        if found:
            return found
    return {}


def _of(connection: Connection, blobs: BlobStore, project: str, end: Ended) -> dict[str, list[str]]:
    if not end.first:
        return {}
    since, until = rollouts.carried_by(connection, project, end.first, end.last)
    if not since:
        return {}  # Taken back before any table gave it traffic.
    found: dict[str, list[str]] = {}
    for digest in revisions.tables(connection, project, since, until):
        for variant in _serving(blobs, digest, end.version):
            found.setdefault(variant, []).append(digest)
    return found


def _serving(blobs: BlobStore, digest: str, wanted: Version) -> list[str]:
    """Names of the variants that are this version in a table."""
    table = msgspec.json.decode(blobs.read(digest), type=ProjectTable)
    return [variant.name for variant in table.variants if version_of(variant) == wanted]
