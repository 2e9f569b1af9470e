"""From finished rows to the records of the journal."""

from xxhash import xxh3_64_intdigest

from pointsman.decide.hashing import unit_bytes
from pointsman.decide.live import recorded
from pointsman.domain.decision import Reason
from pointsman.domain.records import WITHHELD, DecisionRecord
from pointsman.gateway.work import Job, Row
from pointsman.journal.codec import encode_record

_NOTHING = ()


def decision(job: Job, row: Row, table: int, *, failed: bool) -> bytes:
    """The encoded record of one decision.

    table: version of the manifest it was decided under
    failed: the request ended in an error. Only a row that nobody answered is served by nobody; one
        that was answered keeps its answer, said to be withheld: its variant did not fail
    """
    decided, served = row.decision, job.served
    unit = row.unit
    scores = row.scores
    answered = scores is not None
    withheld = failed and answered
    failed = failed and not answered
    member = row.member
    reason = decided.reason
    return encode_record(
        DecisionRecord(
            row.id,
            job.at_ms,
            served.key,
            served.digest,
            table,
            job.request_id,
            unit,
            decided.bucket,
            xxh3_64_intdigest(unit_bytes(row.id if unit is None else unit)),
            row.context,
            decided.rule,
            decided.epoch,
            decided.assigned,
            "" if failed else member.name,
            "" if failed else member.variant.version,
            reason,
            reason if row.tried == 1 else Reason.FALLBACK,
            decided.propensity,
            decided.propensities,
            tuple(scores) if scores is not None else _NOTHING,
            served.classes[row.chosen] if answered else "",
            member.chooser.actions[row.chosen] if answered else "",
            job.latency_us,
            0.0 if failed else member.variant.cost_per_request,
            row.features,
            recorded(job.live) if job.live.killed or job.live.out else _NOTHING,
            _error(row, withheld=withheld),
            job.pin,
            job.idempotency_key,
            job.key,
            row.fault,
            row.quality,
        )
    )


def _error(row: Row, *, withheld: bool) -> str:
    said = (row.decision.error, row.error, WITHHELD if withheld else "")
    return "; ".join([part for part in said if part])
