"""Why a request was answered as it was: its record, its table, and the decision made again."""

from typing import Any

import msgspec

from pointsman.archive.jobs import Lookup
from pointsman.archive.process import Workbench
from pointsman.controller import join
from pointsman.controller.ledger import Ledger
from pointsman.decide import replay, table
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.records import DecisionRecord, ShadowRecord
from pointsman.domain.table import ProjectTable
from pointsman.runtime.blobs import BlobStore
from pointsman.store import overview, rows
from pointsman.store.rows import Piece

_REASONS = {
    "RULE": "rule {rule} sends it there",
    "SPLIT": "rule {rule} splits, and the unit's bucket {bucket} of 2^32 is {assigned}'s",
    "PINNED": "the caller pinned {pin}",
    "HOLDOUT": "the unit is held out of the experiments of rule {rule}",
    "KILLED": "a kill switch was set",
    "DEFAULT": "no rule could be applied",
    "BANDIT": "the bandit of rule {rule} drew it",
    "ENSEMBLE": "rule {rule} combines several variants",
    "FALLBACK": "it stands by for another variant",
}


class Known(msgspec.Struct, frozen=True):
    """A decision and all that is known about it.

    pieces: of feedback, while the hot rows are there; held: what is held to be true, by kind
    """

    record: DecisionRecord
    pieces: list[Piece]
    shadows: list[ShadowRecord]
    held: dict[str, Any]


class Explanations:
    """Explains decisions, and finds what became of feedback. Blocking."""

    def __init__(self, ledger: Ledger, blobs: BlobStore, workbench: Workbench) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._workbench = workbench

    def find(self, decision_id: str, tenant: str = "") -> Known:
        """The decision, from the hot rows or the archive; of one tenant where one is named.

        Raises PointsmanError: NOT_FOUND; OVERLOADED or UNAVAILABLE where the archive cannot be
        asked.
        """
        with self._ledger.reading() as connection:
            hot = overview.find_decision(connection, decision_id)
            if hot is not None:
                known = Known(
                    hot,
                    overview.feedback_about(connection, decision_id),
                    overview.shadows(connection, decision_id),
                    overview.outcomes(connection, decision_id),
                )
        if hot is None:
            found = self._workbench.look_up(Lookup(decision_id, tenant))
            if found.decision is None:
                raise _unknown(decision_id)
            held: dict[str, Any] = {one.kind: rows.value_of(one.value) for one in found.outcomes}
            known = Known(found.decision, [], found.shadows, held)
        if tenant not in ("", known.record.project.partition("/")[0]):
            raise _unknown(decision_id)
        return known

    def explain(self, known: Known) -> dict[str, Any]:
        """The decision in words and facts, and whether it comes out the same when made again."""
        record = known.record
        differences: list[replay.Difference] = []
        problem = ""
        try:
            blob = self._blobs.read(record.digest)
            project = table.load(msgspec.json.decode(blob, type=ProjectTable))
            differences = replay.replay(project, record)
        except (PointsmanError, msgspec.DecodeError) as error:
            problem = f"the table {record.digest[:16]} cannot be read: {error}"
        # What another tenant sent under a guessed id is nobody's business here.
        owner = record.project.partition("/")[0]
        pieces = [piece for piece in known.pieces if piece.tenant == owner]
        return {
            "decision_id": record.id,
            "sentence": sentence(record),
            "equal": not differences and not problem,
            "problem": problem,
            "differences": [msgspec.to_builtins(difference) for difference in differences],
            "facts": facts(record),
            "record": shown(record),
            "outcomes": [self._piece(piece) for piece in pieces],
            "held": known.held,
            "shadows": [msgspec.structs.asdict(shadow) for shadow in known.shadows],
        }

    def decisions(self, name: str, limit: int, wanted: overview.Filter) -> list[dict[str, Any]]:
        """The newest decisions of a project."""
        with self._ledger.reading() as connection:
            found = overview.newest_decisions(connection, name, limit, wanted)
        return [shown(record) for record in found]

    def feedback(self, feedback_id: str, tenant: str = "") -> dict[str, Any] | None:
        """What became of a piece of feedback; None while nothing is known of it."""
        with self._ledger.reading() as connection:
            found = overview.find_feedback(connection, feedback_id, tenant)
        return self._piece(found[0]) if found else None

    def _piece(self, piece: Piece) -> dict[str, Any]:
        """The piece as its sender may see it."""
        state, sentence = join.answer(piece, self._ledger.now_ms())
        body: dict[str, Any] = msgspec.structs.asdict(piece)
        del body["row"], body["note"]
        return {**body, "state": state, "sentence": sentence}


def _unknown(decision_id: str) -> PointsmanError:
    return PointsmanError(
        Kind.NOT_FOUND,
        f"no decision {decision_id[:80]!r} is stored",
        hint="it is read from the journal within about a second, and kept as long as the "
        "project's retention says",
    )


def sentence(record: DecisionRecord) -> str:
    """Who answered, and why, for people."""
    values = {**msgspec.structs.asdict(record), "rule": record.rule or "(none)"}
    why = _REASONS.get(record.reason, record.reason).format(**values)
    who = record.unit if record.unit is not None else "a request without a unit"
    text = (
        f"{record.assigned} was assigned to {who} with probability {record.propensity:.6g}: {why}"
    )
    if record.served != record.assigned:
        text += f"; {record.served or 'nobody'} answered instead"
    if record.error:
        text += f" ({record.error})"
    return text


def facts(record: DecisionRecord) -> dict[str, Any]:
    """The record as lines for people."""
    names = ", ".join(f"{name} {share:.6g}" for name, share in record.propensities)
    return {
        "project": record.project,
        "unit": record.unit or "",
        "context": ", ".join(f"{name}={value}" for name, value in record.context.items()),
        "rule": f"{record.rule} (epoch {record.epoch})" if record.rule else "",
        "bucket": "" if record.bucket < 0 else record.bucket,
        "assigned": record.assigned,
        "served": f"{record.served}:{record.version}" if record.served else "",
        "reason": record.reason,
        "propensities": names,
        "probabilities": ", ".join(f"{value:.6g}" for value in record.probabilities),
        "class": record.predicted,
        "action": record.action,
        "latency": f"{record.latency_us} us",
        "table": f"version {record.table}, {record.digest[:16]}",
        "live": ", ".join(record.live),
        "quality": ", ".join(record.quality),
    }


def shown(record: DecisionRecord) -> dict[str, Any]:
    """The record as JSON values; numbers JSON cannot hold exactly are strings."""
    body: dict[str, Any] = msgspec.structs.asdict(record)
    del body["features"]
    body["unit_hash"] = str(record.unit_hash)
    return body
