"""What became known about decisions: checked as a whole, made durable, then acknowledged."""

import hashlib
import math
import time
from collections.abc import Iterator
from typing import Annotated, Any, Final

import msgspec

from pointsman.domain.errors import Kind, PointsmanError, Violation
from pointsman.domain.names import MAX_ID_BYTES
from pointsman.domain.records import OutcomeKind, OutcomeRecord
from pointsman.gateway.auth import Principal
from pointsman.gateway.counters import Counters
from pointsman.gateway.gate import check_text
from pointsman.gateway.log import Log
from pointsman.gateway.schema import encode
from pointsman.gateway.settings import Limits
from pointsman.gateway.violations import UNKNOWN, located, not_json
from pointsman.journal.codec import encode_record

MOST_SHOWN: Final = 20
_KINDS: Final[tuple[OutcomeKind, ...]] = ("label", "reward", "cost")
_LATEST_MS: Final = 253_402_300_799_999  # 9999-12-31
_NOT_CHECKED: Final = "nothing of the list was taken"
_NUMBER: Final = "a finite number within ±1e300"
_TIME: Final = "Unix milliseconds, or RFC 3339 with an offset: 2026-05-01T12:00:00Z"
_HINTS: Final = {
    "decision_id": "every item names the decision it is about, as the answer did",
    "label": "the class as text, as the project names it",
    "reward": _NUMBER,
    "cost": _NUMBER,
    "at": _TIME,
    "id": "a text that names this piece of feedback: sent twice, it counts once",
}


class Item(msgspec.Struct, forbid_unknown_fields=True):
    """One piece of feedback; exactly one of label, reward and cost.

    at: when it became known: Unix milliseconds or RFC 3339 with an offset
    """

    decision_id: str
    label: str | None = None
    reward: Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)] | None = None
    cost: Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)] | None = None
    at: int | str | None = None
    id: str | None = None


_decoder = msgspec.json.Decoder(list[Item])
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_item = msgspec.json.Decoder(Item)


class Feedback:
    """`POST /v1/feedback` of one worker."""

    def __init__(self, log: Log, counters: Counters, limits: Limits) -> None:
        self._log = log
        self._counters = counters
        self._limits = limits

    async def take(self, caller: Principal, body: bytes) -> bytes:
        """The body of the 202, once everything is on disk: the ids, in order.

        Raises PointsmanError: MALFORMED, INVALID or TOO_LARGE, where nothing was taken; and
        LOG_UNAVAILABLE, where it must be sent again (the ids make that harmless).
        """
        received_ms = time.time_ns() // 1_000_000
        items = self._read(body)
        outcomes = [_record(item, caller, received_ms) for item in items]
        try:
            self._log.append([encode_record(outcome) for outcome in outcomes])
            await self._log.durable()
        except PointsmanError:
            self._count("not_durable", len(items))
            raise
        self._count("accepted", len(items))
        return encode(
            {"accepted": len(outcomes), "feedback": [{"id": outcome.id} for outcome in outcomes]}
        )

    def _count(self, result: str, items: int) -> None:
        self._counters.add("pointsman_feedback", (("result", result),), items)

    def _read(self, body: bytes) -> list[Item]:
        check_text(body, self._limits.depth)
        try:
            items = _decoder.decode(body)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            self._count("refused", 1)
            raise _explain(body, error) from None
        if not items:
            raise PointsmanError(Kind.INVALID, "the list is empty", hint="send at least one item")
        if len(items) > self._limits.rows:
            raise PointsmanError(
                Kind.TOO_LARGE,
                f"a request may have {self._limits.rows} items, not {len(items)}",
                hint="split it into several requests",
            )
        found = [v for place, item in enumerate(items) for v in _problems(f"[{place}]", item)]
        if found:
            self._count("refused", len(items))
            raise _refused(found)
        return items


def _explain(body: bytes, error: Exception) -> PointsmanError:
    """Every item's problems, where the body is a list at all."""
    try:
        raws = _raws.decode(body)
    except msgspec.ValidationError:
        hint = 'send [{"decision_id": ..., "label": ...}, ...]'
        return PointsmanError(Kind.INVALID, "the body is not a list", hint=hint)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return not_json(error, body)
    found: list[Violation] = []
    for place, raw in enumerate(raws):
        path = f"[{place}]"
        try:
            found += _problems(path, _item.decode(raw))
        except (msgspec.DecodeError, ValueError) as problem:
            where, said = located(path, problem)
            found.append(Violation(where, said, _hint(where, said)))
    return _refused(found) if found else not_json(error, body)


def _refused(found: list[Violation]) -> PointsmanError:
    first = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return PointsmanError(
        Kind.INVALID,
        f"{first.path}: {first.message}{more}; {_NOT_CHECKED}",
        hint=first.hint,
        violations=tuple(found[:MOST_SHOWN]),
    )


def _hint(where: str, said: str) -> str:
    if said == UNKNOWN:
        return "known: decision_id, label, reward, cost, at, id"
    return _HINTS.get(where.rpartition(".")[2], "")


def _problems(path: str, item: Item) -> Iterator[Violation]:
    given = [kind for kind in _KINDS if getattr(item, kind) is not None]
    if len(given) != 1:
        said = "has neither label, reward nor cost" if not given else f"has {' and '.join(given)}"
        yield Violation(path, said, "send one item for each of label, reward and cost")
    for name in ("decision_id", "id", "label"):
        text = getattr(item, name)
        if text is None:
            continue
        if not text:
            yield Violation(f"{path}.{name}", "is empty", _HINTS[name])
        elif len(text.encode()) > MAX_ID_BYTES:
            yield Violation(f"{path}.{name}", f"is longer than {MAX_ID_BYTES} bytes", _HINTS[name])
    if item.at is not None and _at_ms(item.at) is None:
        yield Violation(f"{path}.at", f"{str(item.at)[:40]!r} is no time", _TIME)


def _at_ms(at: int | str) -> int | None:
    """Unix milliseconds, None for what is no time after 1970 and before 10000."""
    if isinstance(at, str):
        from datetime import datetime

        try:
            moment = datetime.fromisoformat(at)
        except ValueError:
            return None
        if moment.tzinfo is None:
            return None
        at = math.floor(moment.timestamp() * 1000)
    return at if 0 < at <= _LATEST_MS else None


def _record(item: Item, caller: Principal, received_ms: int) -> OutcomeRecord:
    kind: OutcomeKind
    value: str | float
    if item.label is not None:
        kind, value = "label", item.label
    elif item.reward is not None:
        kind, value = "reward", item.reward
    else:
        assert item.cost is not None  # `_problems` has seen to it
        kind, value = "cost", item.cost
    at_ms = None if item.at is None else _at_ms(item.at)
    return OutcomeRecord(
        item.id or outcome_id(item.decision_id, kind, value, at_ms),
        item.decision_id,
        kind,
        value,
        received_ms if at_ms is None else at_ms,
        received_ms,
        caller.tenant,
        caller.key,
    )


def outcome_id(decision_id: str, kind: str, value: str | float, at_ms: int | None) -> str:
    """The id of feedback that came without one: sent again unchanged, it is the same feedback.

    Hex BLAKE2b-128 of the JSON array [decision id, kind, value, at in milliseconds or null].
    """
    identity: list[Any] = [decision_id, kind, value, at_ms]
    return hashlib.blake2b(encode(identity), digest_size=16).hexdigest()
