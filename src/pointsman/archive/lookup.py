"""One decision, found again in the archive."""

from pathlib import Path
from typing import Any

from pointsman.archive import columns, layout, parquet
from pointsman.archive.columns import ArchivedOutcome
from pointsman.archive.jobs import Found, Lookup


def find(lookup: Lookup, archive: Path, scratch: Path) -> Found:
    """Looks through the days its id tells of, or through all where it tells of none.

    Raises OSError or duckdb.Error.
    """
    span = layout.days_of_decision(lookup.decision_id) or ("", "9999-12-31")
    found = Found()
    with parquet.connect(scratch) as connection:

        def rows(kind: layout.Kind, key: str, project: str = "") -> list[dict[str, Any]]:
            files = layout.files(archive, kind, project, *span)
            own = [path for path in files if _may_look(lookup, path)]
            relation = parquet.files_of(kind, own)
            wanted = f"{key} = {parquet.literal(lookup.decision_id)}"
            return parquet.rows(connection, f"SELECT * FROM {relation} WHERE {wanted}")

        decisions = rows("decisions", "id")
        if not decisions:
            return found
        first = min(decisions, key=lambda row: int(row["at_ms"]))
        found.decision = columns.decision_of(first)
        project = found.decision.project
        known = {row["variant"]: columns.shadow_of(row) for row in rows("shadows", "id", project)}
        found.shadows = list(known.values())
        held = [ArchivedOutcome(**row) for row in rows("outcomes", "decision_id", project)]
    held.sort(key=lambda one: (one.at_ms, one.received_ms, one.feedback_id))
    found.outcomes = list({one.kind: one for one in held}.values())
    return found


def _may_look(lookup: Lookup, path: Path) -> bool:
    owner = layout.project_of(path.parent).partition("/")[0]
    return lookup.tenant in ("", owner)
