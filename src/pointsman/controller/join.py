"""What becomes of feedback: a pure function of all of it and of its decision.

The order in which the pieces came in makes no difference to any register or state, because nothing
here remembers one: whenever a piece comes in, everything about its decision is settled anew.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, assert_never

import msgspec

from pointsman.domain.decision import Reason
from pointsman.domain.events import Event
from pointsman.domain.records import DecisionRecord, OutcomeKind
from pointsman.domain.table import Shadow
from pointsman.store.ingestion import Held
from pointsman.store.rows import Piece

State = Literal[
    "early",  # its decision is not known yet
    "expired",  # its decision did not come in time
    "applied",  # it is what is held to be true
    "late",  # the same, but it came after the horizon
    "corrected",  # another piece of the same kind is newer
    "duplicate",  # the same was received before
    "conflicting",  # something else was received before under this id
    "wrong_tenant",  # its decision belongs to another tenant
    "rejected",  # its value cannot be one
]

KINDS: Final[tuple[OutcomeKind, ...]] = ("label", "reward", "cost")

COPIES: Final = frozenset({"duplicate", "conflicting"})

MAX_AHEAD_MS: Final = 86_400_000
"""A caller's clock may be a day ahead; a time further off would win every later correction."""


INBOX_LIFETIME_MS: Final = 7 * 86_400_000
"""How long feedback waits for a decision that nobody knows before it is said to have expired."""

_SENTENCES: Final[dict[State, str]] = {
    "early": "no decision with this id is known yet; it is kept, and joined when one comes",
    "expired": "no decision with this id came in time",
    "applied": "it is what is held to be true about its decision",
    "late": "it is what is held to be true, but came after the horizon: reports include it, "
    "tests that have read that time already do not",
    "corrected": "newer feedback of the same kind replaces it: {note}",
    "duplicate": "the same was received before; it counts once",
    "conflicting": "something else was received before under this id, and that one counts",
    "rejected": "{note}",
}


class IngestProject(msgspec.Struct, frozen=True):
    """What ingestion has to know of a project, as the table that decided declared it.

    classes: in the project's order; positive: one of them, empty where there is none
    label_horizon_ms, reward_horizon_ms: after the decision; None = never late
    slices: context attributes by whose values evidence is also kept
    shadowed: variants that see other variants' requests, by rule
    slow_us: latencies beyond which an answer counts as slow
    shares: chances of the variants of a split, by rule; they add up to 1
    events: others that metrics are about, besides denied, failed and slow answers
    champion: version that serves as the champion
    watched: features that are watched for drift, and what they are; reference: rows it takes to
        have something to compare with
    """

    classes: tuple[str, ...]
    positive: str = ""
    label_horizon_ms: int | None = None
    reward_horizon_ms: int | None = None
    slices: tuple[str, ...] = ()
    shadowed: dict[str, tuple[Shadow, ...]] = {}
    slow_us: tuple[int, ...] = ()
    shares: dict[str, tuple[tuple[str, float], ...]] = {}
    events: tuple[Event, ...] = ()
    champion: str = ""
    watched: dict[str, Literal["number", "category"]] = {}
    reference: int = 5_000

    def drawn(self, record: DecisionRecord) -> bool:
        """Whether the rule's split drew this decision, with all of its variants to choose from.

        Where a kill switch took one out, the others are no control: nothing beside them is
        concurrent.
        """
        return record.reason == Reason.SPLIT and self.whole(record)

    def whole(self, record: DecisionRecord) -> bool:
        """Whether every variant of the rule's split could be assigned."""
        out = record.live
        return not out or not any(name in out for name, _ in self.shares.get(record.rule, ()))


class Settled(msgspec.Struct, frozen=True):
    """What is true of one decision's feedback now.

    states: row number, state and note of every piece
    registers: what is held to be true, by kind; a kind nobody told anything valid of is left out
    """

    states: tuple[tuple[int, State, str], ...]
    registers: dict[OutcomeKind, Held]


def copies(pieces: Iterable[Piece]) -> dict[int, State]:
    """Which pieces of one (tenant, id) are copies of another, by row number.

    The one received first counts, wherever it was ingested; those like it are duplicates, and those
    that say something else under its id are conflicting.
    """
    first, *others = sorted(pieces, key=lambda p: (p.received_ms, _body(p), p.row))
    return {p.row: "duplicate" if _body(p) == _body(first) else "conflicting" for p in others}


def settle(
    decision: DecisionRecord | None,
    pieces: Sequence[Piece],
    copied: Mapping[int, State],
    project: IngestProject | None,
) -> Settled:
    """States and registers of all feedback about one decision.

    decision: None while it is not known
    copied: as `copies` says, by row number
    project: None where nothing is known of it; labels are then not checked against classes
    """
    states: dict[int, tuple[State, str]] = {}
    valid: dict[OutcomeKind, list[Piece]] = {}
    for piece in pieces:
        if piece.row in copied:
            states[piece.row] = (copied[piece.row], "")
        elif decision is None:
            states[piece.row] = ("expired" if piece.state == "expired" else "early", "")
        elif decision.project.partition("/")[0] != piece.tenant:
            states[piece.row] = ("wrong_tenant", "")
        elif why := _fault(piece, project):
            states[piece.row] = ("rejected", why)
        else:
            valid.setdefault(piece.kind, []).append(piece)
    registers: dict[OutcomeKind, Held] = {}
    for kind, candidates in valid.items():
        newest = max(candidates, key=lambda p: (p.at_ms, p.received_ms, p.id))
        for piece in candidates:
            states[piece.row] = ("corrected", newest.id)
        assert decision is not None
        late = newest.received_ms - decision.at_ms > _horizon_ms(kind, project)
        states[newest.row] = ("late" if late else "applied", "")
        registers[kind] = Held(newest.value, newest.at_ms, newest.received_ms, newest.id)
    return Settled(tuple((row, *state) for row, state in states.items()), registers)


def answer(piece: Piece, now_ms: int) -> tuple[State, str]:
    """State and sentence for whoever sent a piece.

    Of a decision that belongs to another tenant its sender hears what anybody hears of one that
    does not exist.
    """
    state: State = piece.state  # type: ignore[assignment]  # the ingester writes no other
    if state in ("wrong_tenant", "early"):
        # Both by the same clock, or the moment of expiry would tell them apart.
        waited = now_ms - piece.received_ms
        state = "expired" if waited > INBOX_LIFETIME_MS else "early"
    return state, _SENTENCES[state].format(note=piece.note)


def _body(piece: Piece) -> tuple[str, str, str, int]:
    """What a caller said. A caller that names no time sends the same again at another one."""
    said_at = -1 if piece.at_ms == piece.received_ms else piece.at_ms
    return piece.decision_id, piece.kind, repr(piece.value), said_at


def _fault(piece: Piece, project: IngestProject | None) -> str:
    """Why a piece cannot be true of its decision; empty where it can."""
    if piece.at_ms > piece.received_ms + MAX_AHEAD_MS:
        return "its time is more than a day after it was received"
    match piece.kind:
        case "label":
            if not isinstance(piece.value, str):
                return "a label is the name of a class"
            if project is not None and piece.value not in project.classes:
                return f"the project has no class {piece.value!r}"
        case "reward" | "cost":
            number = piece.value
            if not isinstance(number, float) or not math.isfinite(number) or abs(number) > 1e12:
                return f"a {piece.kind} is a number from -1e12 to 1e12"
        case _:
            assert_never(piece.kind)
    return ""


def _horizon_ms(kind: OutcomeKind, project: IngestProject | None) -> float:
    if project is None:
        return math.inf
    horizon = project.label_horizon_ms if kind == "label" else project.reward_horizon_ms
    return math.inf if horizon is None else horizon
