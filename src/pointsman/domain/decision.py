"""What goes into `decide()` besides the table, and what comes out of it."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

Value = str | int | float | bool | None


class Reason(StrEnum):
    """Why this variant was assigned or served: a closed set."""

    RULE = "RULE"
    SPLIT = "SPLIT"
    BANDIT = "BANDIT"
    ENSEMBLE = "ENSEMBLE"
    PINNED = "PINNED"
    HOLDOUT = "HOLDOUT"
    FALLBACK = "FALLBACK"
    KILLED = "KILLED"
    DEFAULT = "DEFAULT"


class Live(msgspec.Struct, frozen=True):
    """What a gateway knows and the table does not; frozen for a decision, recorded with it.

    killed: the whole project: everything goes to the champion
    out: variants nothing is sent to (kill switch or ejection); their share goes to the champion
    """

    killed: bool = False
    out: tuple[str, ...] = ()


NOTHING_LIVE = Live()


class Request(msgspec.Struct, frozen=True):
    """The identity of one request, all that `decide` may look at.

    id: the decision id, fresh or derived from the idempotency key
    unit: sticky key, None = assigned by `id`
    context: attributes as declared, defaults already filled in
    pin: variant asked for by a caller who may
    """

    id: str
    unit: str | None
    context: Mapping[str, Value]
    pin: str | None = None


class Decision(msgspec.Struct, frozen=True):
    """Who answers, who stands by, who watches, and with what probability this came about.

    rule: name of the rule that matched, empty where none was asked (pin, kill switch)
    fallbacks: to be tried in order when `assigned` fails; under a kill switch too
    propensity: probability of `assigned` under this table and live state, over the draw of the unit
    propensities: the same for every variant that could have been assigned; sums to 1
    bucket: the unit's hash on [0, 2^32) under the split's salt, -1 where nothing was drawn
    error: why a condition could not be evaluated, empty where all could
    """

    rule: str
    assigned: str
    fallbacks: tuple[str, ...]
    shadows: tuple[str, ...]
    reason: Reason
    propensity: float
    propensities: tuple[tuple[str, float], ...]
    epoch: int
    bucket: int
    error: str = ""
