"""A past decision, recomputed from its record and the table of its version."""

import msgspec

from pointsman.decide.engine import decide
from pointsman.decide.hashing import unit_hash
from pointsman.decide.live import from_record
from pointsman.decide.table import CompiledProject
from pointsman.domain.decision import Reason, Request
from pointsman.domain.errors import PointsmanError
from pointsman.domain.names import qualified
from pointsman.domain.records import DecisionRecord


class Difference(msgspec.Struct, frozen=True):
    """One field of a record that does not come out the same, both sides as a person reads them."""

    field: str
    recorded: str
    recomputed: str


def replay(project: CompiledProject, record: DecisionRecord) -> list[Difference]:
    """Every field of the decision that differs when it is made again; empty when it is equal.

    Nothing but the record (live state included) and the table goes into it. A record of another
    project or another version differs by that field, and by whatever follows from it. Of who
    served, it is checked that the decision allowed it.
    """
    request = Request(record.id, record.unit, record.context, record.pin or None)
    name = qualified(project.table.tenant, project.table.project)
    try:
        again = decide(project, from_record(record.live), request)
    except PointsmanError as error:
        return [Difference("pin", record.pin, error.message)]
    compared: list[tuple[str, object, object]] = [
        ("project", record.project, name),
        ("digest", record.digest, project.digest),
        ("unit_hash", record.unit_hash, unit_hash(_drawn_on(record))),
        ("rule", record.rule, again.rule),
        ("epoch", record.epoch, again.epoch),
        ("bucket", record.bucket, again.bucket),
        ("assigned", record.assigned, again.assigned),
        ("reason", record.reason, again.reason.value),
        ("propensity", record.propensity, again.propensity),
        ("propensities", record.propensities, again.propensities),
        ("served_reason", record.served_reason, _served_reason(record)),
    ]
    differences = [
        Difference(field, str(recorded), str(recomputed))
        for field, recorded, recomputed in compared
        if recorded != recomputed
    ]
    could_serve = (again.assigned, *again.fallbacks)
    if record.served and record.served not in could_serve:
        differences.append(Difference("served", record.served, f"one of {', '.join(could_serve)}"))
    return differences


def _drawn_on(record: DecisionRecord) -> str:
    return record.id if record.unit is None else record.unit


def _served_reason(record: DecisionRecord) -> str:
    """By the record's own words: `FALLBACK` where another than the assigned variant served.

    Where nobody served, fallbacks may have been tried in vain or not at all: both are allowed.
    """
    fell_back = Reason.FALLBACK.value
    if record.served == record.assigned:
        return record.reason
    if record.served or record.served_reason == fell_back:
        return fell_back
    return record.reason
