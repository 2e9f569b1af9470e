"""Evidence cells: what many decisions add up to, so that judging never reads single rows.

Rules that everything here serves:

- A cell's key is project, rule, epoch, block of decision time, *assigned* variant, slice, metric.
- Only decisions with reason `SPLIT` enter a cell, but for pairs of answers (`FLIPS`, `PAIRED`):
  both models saw the same request, so nothing has to be drawn.
- Cells add up: `merge` is commutative and associative (counts exactly, sums of floats up to
  rounding), so they merge across workers and machines, and judging costs the same at a billion
  decisions as at a thousand.
- Moment cells carry a unit-hash bucket of 64, and variance is taken between buckets, because the
  requests of one unit are not independent of each other.
- Evidence of different epochs is never pooled as plain means: nothing here merges across keys.

Payloads are the one kind of domain value that grows in place: the ingester observes into them
before it stores them. A corrected outcome is taken back with `times=-1` and observed anew.
"""

import math
from typing import Final, TypeVar

import msgspec

_Number = TypeVar("_Number", int, float)

BUCKETS: Final = 64
"""Moments are kept by unit-hash bucket; 64 gives the variance 63 degrees of freedom."""

BLOCK_MS: Final = 300_000
"""Decision time is cut into blocks of five minutes, aligned to the Unix epoch."""

SCORE_BINS: Final = 256
_LATENCY_SUB_BINS: Final = 32
_SMALLEST_PROBABILITY: Final = 2.0**-53

# Metrics every project has, by the name they carry in a cell's key. Values are per decision.
DENIED: Final = "denied"  # Moments of 0/1: the prediction counted as denied
ERROR: Final = "error"  # Moments of 0/1: the assigned variant did not answer
COST: Final = "cost"  # Moments, in the units of `cost.per_request`
LATENCY: Final = "latency"  # LatencyHistogram
CONFUSION: Final = "confusion"  # Confusion, once a label is known
SCORE: Final = "score"  # ScoreHistogram, once a label is known
CORRECT: Final = "correct"  # Moments of 0/1: predicted class equals the label
LOG_LOSS: Final = "log_loss"  # Moments of -ln p(label), over all classes
BRIER: Final = "brier"  # Moments of sum over classes of (p - [class is label])^2, 0 to 2
REWARD: Final = "reward"  # Moments, once a reward is known
OUTCOME_COST: Final = "outcome_cost"  # Moments, once a cost is reported as an outcome
WRONG: Final = "wrong"  # Moments of 0/1, first exposures only: predicted class is not the label

# Slower than so many microseconds: a family of its own, only ever within FIRST.
SLOW: Final = "slow"

# Families of metrics: a cell's metric is `family/member`, see `member`.
FIRST: Final = "first"  # of DENIED, ERROR, WRONG, CONFUSION, SLOW, LATENCY: first exposures alone
FLIPS: Final = "flips"  # of a shadow: Paired, every decision that it answered too
PAIRED: Final = "paired"  # of a shadow: Paired, the first pair of each unit alone
GIVEN: Final = "given"  # of a variant and a metric: CrossMoments beside that variant's score


def member(family: str, *names: str) -> str:
    """The metric of a family, as in a cell's key: `paired/challenger`, `first/error`."""
    return "/".join((family, *names))


def slow(limit_us: int) -> str:
    """The metric of answers slower than a limit in microseconds: `slow/250000`."""
    return member(SLOW, str(limit_us))


FIRST_CONFUSION: Final = member(FIRST, CONFUSION)
"""Confusion without unit buckets: of a first exposure there is one a unit."""


class CellKey(msgspec.Struct, frozen=True, order=True):
    """What a cell is about.

    project: `tenant/project`
    block_ms: start of the block of decision time, Unix milliseconds, a multiple of BLOCK_MS
    variant: assigned, whoever served
    slice: `` for all decisions, `attribute=value` for one slice
    """

    project: str
    rule: str
    epoch: int
    block_ms: int
    variant: str
    slice: str
    metric: str


class Moments(msgspec.Struct, tag="moments", array_like=True):
    """Count, sum and sum of squares of a value, each by unit-hash bucket (64 entries each)."""

    n: list[int] = msgspec.field(default_factory=lambda: [0] * BUCKETS)
    total: list[float] = msgspec.field(default_factory=lambda: [0.0] * BUCKETS)
    squares: list[float] = msgspec.field(default_factory=lambda: [0.0] * BUCKETS)

    def observe(self, unit_hash: int, value: float, times: int = 1) -> None:
        """Adds one decision's finite value; `times=-1` takes an observed one back."""
        bucket = unit_hash & (BUCKETS - 1)
        self.n[bucket] += times
        if self.n[bucket] == 0:
            # Floats do not cancel exactly; an emptied bucket must.
            self.total[bucket] = self.squares[bucket] = 0.0
        else:
            self.total[bucket] += times * value
            self.squares[bucket] += times * value * value


class CrossMoments(msgspec.Struct, tag="cross", array_like=True):
    """Moments of a value beside a covariate known before the decision, by unit-hash bucket.

    The covariate must not depend on the assignment: the champion's own score, where it is shadowed
    on the challenger's units, is the best one. Only decisions that have both are observed.

    n, total, squares: of the value, as in Moments
    covariate, covariate_squares, cross: sums of x, x^2 and x times value
    """

    n: list[int] = msgspec.field(default_factory=lambda: [0] * BUCKETS)
    total: list[float] = msgspec.field(default_factory=lambda: [0.0] * BUCKETS)
    squares: list[float] = msgspec.field(default_factory=lambda: [0.0] * BUCKETS)
    covariate: list[float] = msgspec.field(default_factory=lambda: [0.0] * BUCKETS)
    covariate_squares: list[float] = msgspec.field(default_factory=lambda: [0.0] * BUCKETS)
    cross: list[float] = msgspec.field(default_factory=lambda: [0.0] * BUCKETS)

    def observe(self, unit_hash: int, value: float, covariate: float, times: int = 1) -> None:
        """Adds one decision's finite value and covariate; `times=-1` takes an observed one back."""
        bucket = unit_hash & (BUCKETS - 1)
        self.n[bucket] += times
        for sums, product in (
            (self.total, value),
            (self.squares, value * value),
            (self.covariate, covariate),
            (self.covariate_squares, covariate * covariate),
            (self.cross, covariate * value),
        ):
            # Floats do not cancel exactly; an emptied bucket must.
            sums[bucket] = sums[bucket] + times * product if self.n[bucket] else 0.0


class Confusion(msgspec.Struct, tag="confusion", array_like=True):
    """Label against predicted class: `counts[label * classes + predicted]`, in project order.

    by_bucket: the same counts by unit-hash bucket, at `(bucket * classes + label) * classes +
        predicted`, only those in use. They give differences of rates an interval that respects
        units; empty where the observer named no unit.
    """

    classes: int
    counts: list[int]
    by_bucket: dict[int, int] = msgspec.field(default_factory=dict)

    @classmethod
    def empty(cls, classes: int) -> "Confusion":
        return cls(classes, [0] * (classes * classes))

    def observe(
        self, label: int, predicted: int, times: int = 1, unit_hash: int | None = None
    ) -> None:
        """Adds one labelled decision, by class index."""
        index = label * self.classes + predicted
        self.counts[index] += times
        if unit_hash is not None:
            bucket = unit_hash & (BUCKETS - 1)
            _count(self.by_bucket, bucket * self.classes * self.classes + index, times)


class ScoreHistogram(msgspec.Struct, tag="score", array_like=True):
    """Score of the positive class against the label, one row per label: [other, positive].

    The counts give AUC and calibration up to bin width; the sums give Brier score and log loss of
    the positive class exactly.

    counts: `counts[label * SCORE_BINS + bin]`, see `score_bin`
    total, squares: sums of the score and of its square, per label
    log_loss: sum of -ln of the probability given to what happened, per label, in nats
    by_bucket: `counts` by unit-hash bucket, at `(bucket * 2 + label) * SCORE_BINS + bin`, only
        those in use; empty where the observer named no unit
    """

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * (2 * SCORE_BINS))
    total: list[float] = msgspec.field(default_factory=lambda: [0.0, 0.0])
    squares: list[float] = msgspec.field(default_factory=lambda: [0.0, 0.0])
    log_loss: list[float] = msgspec.field(default_factory=lambda: [0.0, 0.0])
    by_bucket: dict[int, int] = msgspec.field(default_factory=dict)

    def observe(
        self, score: float, *, positive: bool, times: int = 1, unit_hash: int | None = None
    ) -> None:
        """Adds one labelled decision; score in [0, 1]. Raises ValueError outside."""
        label = int(positive)
        index = label * SCORE_BINS + score_bin(score)
        self.counts[index] += times
        if unit_hash is not None:
            bucket = unit_hash & (BUCKETS - 1)
            _count(self.by_bucket, bucket * 2 * SCORE_BINS + index, times)
        happened = score if positive else 1.0 - score
        self.total[label] += times * score
        self.squares[label] += times * score * score
        self.log_loss[label] -= times * math.log(max(happened, _SMALLEST_PROBABILITY))


class LatencyHistogram(msgspec.Struct, tag="latency", array_like=True):
    """Latencies in microseconds, by bins at most 1/32 wide relative to their start; only bins in
    use are kept."""

    counts: dict[int, int] = msgspec.field(default_factory=dict)

    def observe(self, latency_us: int, times: int = 1) -> None:
        """Adds one latency; negative ones (a clock that stepped back) count as 0."""
        index = latency_bin(max(latency_us, 0))
        _count(self.counts, index, times)


class Pair(msgspec.Struct, frozen=True):
    """Two answers to one request: the one that was served, and a shadow's.

    classes: how many there are; served, shadow: predicted classes, by index
    served_denied, shadow_denied: what each comes to
    shift: shadow's score of the positive class less the served one's; None without a positive class
    distance: half the sum over classes of the differences of probabilities, 0 to 1
    """

    classes: int
    served: int
    shadow: int
    served_denied: bool
    shadow_denied: bool
    shift: float | None
    distance: float

    @property
    def flip(self) -> int:
        """Where it counts in `Paired.flips`."""
        return self.served * self.classes + self.shadow

    @property
    def action(self) -> int:
        """Where it counts in `Paired.actions`."""
        return 2 * self.served_denied + self.shadow_denied


class Paired(msgspec.Struct, tag="paired", array_like=True):
    """Served answers beside a shadow's answers to the same requests, in project order of classes.

    flips: `flips[served * classes + shadow]`, labelled or not; only those in use
    labelled: `labelled[(label * classes + served) * classes + shadow]`, of labelled ones
    actions, labelled_actions: by `2 * served_denied + shadow_denied`, all and labelled
    scored, shift, shift_squares: how many have a shift, its sum and that of its square
    distance: sum over all
    failed: requests for which the shadow gave no answer that could be held beside the served one
    """

    classes: int
    flips: dict[int, int] = msgspec.field(default_factory=dict)
    labelled: dict[int, int] = msgspec.field(default_factory=dict)
    actions: list[int] = msgspec.field(default_factory=lambda: [0] * 4)
    labelled_actions: list[int] = msgspec.field(default_factory=lambda: [0] * 4)
    scored: int = 0
    shift: float = 0.0
    shift_squares: float = 0.0
    distance: float = 0.0
    failed: int = 0

    def observe(self, pair: Pair, times: int = 1) -> None:
        """Adds a pair, labelled or not; `times=-1` takes an observed one back."""
        _count(self.flips, pair.flip, times)
        self.actions[pair.action] += times
        self.distance += times * pair.distance
        if pair.shift is not None:
            self.scored += times
            self.shift += times * pair.shift
            self.shift_squares += times * pair.shift * pair.shift

    def label(self, pair: Pair, label: int, times: int = 1) -> None:
        """Adds what is known of a pair that is observed: its label, by class index."""
        _count(self.labelled, label * self.classes * self.classes + pair.flip, times)
        self.labelled_actions[pair.action] += times


Payload = Moments | CrossMoments | Confusion | ScoreHistogram | LatencyHistogram | Paired


def block_of(at_ms: int) -> int:
    """Start of the block a decision time falls in, Unix milliseconds."""
    return at_ms - at_ms % BLOCK_MS


def score_bin(score: float) -> int:
    """Bin 0 to SCORE_BINS - 1 of a score in [0, 1].

    Bins are equally wide in arcsin(sqrt(score)): about 0.006 in the middle and 0.00004 at both
    ends, where the scores of rare classes crowd.
    """
    if not 0.0 <= score <= 1.0:
        raise ValueError(f"score {score!r} is outside [0, 1]")
    return min(int(math.asin(math.sqrt(score)) / (math.pi / 2) * SCORE_BINS), SCORE_BINS - 1)


def score_edge(index: int) -> float:
    """Lower edge of a score bin; `score_edge(SCORE_BINS)` is 1."""
    return math.sin(index / SCORE_BINS * (math.pi / 2)) ** 2


def latency_bin(latency_us: int) -> int:
    """Bin of a latency of 0 us or more; integers only, the same in every language."""
    shift = max(latency_us.bit_length() - _LATENCY_SUB_BINS.bit_length(), 0)
    return _LATENCY_SUB_BINS * shift + (latency_us >> shift)


def latency_edge(index: int) -> int:
    """Smallest latency, in microseconds, that falls into a bin."""
    shift = max(index // _LATENCY_SUB_BINS - 1, 0)
    return (index - _LATENCY_SUB_BINS * shift) << shift


def merge(a: Payload, b: Payload) -> Payload:
    """The sum of two payloads of one kind, as a new one. Raises ValueError on different kinds."""
    match a, b:
        case Moments(), Moments():
            return Moments(_added(a.n, b.n), _added(a.total, b.total), _added(a.squares, b.squares))
        case CrossMoments(), CrossMoments():
            return CrossMoments(
                _added(a.n, b.n),
                _added(a.total, b.total),
                _added(a.squares, b.squares),
                _added(a.covariate, b.covariate),
                _added(a.covariate_squares, b.covariate_squares),
                _added(a.cross, b.cross),
            )
        case Confusion(), Confusion() if a.classes == b.classes:
            by_bucket = _united(a.by_bucket, b.by_bucket)
            return Confusion(a.classes, _added(a.counts, b.counts), by_bucket)
        case ScoreHistogram(), ScoreHistogram():
            return ScoreHistogram(
                _added(a.counts, b.counts),
                _added(a.total, b.total),
                _added(a.squares, b.squares),
                _added(a.log_loss, b.log_loss),
                _united(a.by_bucket, b.by_bucket),
            )
        case LatencyHistogram(), LatencyHistogram():
            return LatencyHistogram(_united(a.counts, b.counts))
        case Paired(), Paired() if a.classes == b.classes:
            return Paired(
                a.classes,
                _united(a.flips, b.flips),
                _united(a.labelled, b.labelled),
                _added(a.actions, b.actions),
                _added(a.labelled_actions, b.labelled_actions),
                a.scored + b.scored,
                a.shift + b.shift,
                a.shift_squares + b.shift_squares,
                a.distance + b.distance,
                a.failed + b.failed,
            )
        case _:
            raise ValueError(f"a {_kind(a)} payload cannot be added to a {_kind(b)} payload")


def add(payloads: dict[str, Payload], metric: str, more: Payload) -> None:
    """Merges a payload into those of a variant, by metric. Raises as `merge`."""
    payloads[metric] = merge(payloads[metric], more) if metric in payloads else more


def _added(a: list[_Number], b: list[_Number]) -> list[_Number]:
    return [x + y for x, y in zip(a, b, strict=True)]


def _united(a: dict[int, int], b: dict[int, int]) -> dict[int, int]:
    """The sum of two sparse counts, by index; what cancels is left out.

    Costs what the smaller one has, and a copy: the larger is often a cell of a whole block.
    """
    large, small = (a, b) if len(a) >= len(b) else (b, a)
    sums = large.copy()
    for index, count in small.items():
        _count(sums, index, count)
    return sums


def _count(counts: dict[int, int], index: int, times: int) -> None:
    """Counts into sparse counts, which keep no zeros."""
    count = counts.get(index, 0) + times
    if count:
        counts[index] = count
    else:
        counts.pop(index, None)


def _kind(payload: Payload) -> str:
    if isinstance(payload, Confusion | Paired):
        return f"{payload.classes}-class {type(payload).__name__.lower()}"
    return type(payload).__name__


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Payload] = msgspec.msgpack.Decoder(Payload)


def encode(payload: Payload) -> bytes:
    """Bytes as a cell row stores them (MessagePack, tagged with the payload's kind)."""
    return _encoder.encode(payload)


def decode(blob: bytes) -> Payload:
    """The payload. Raises msgspec.ValidationError on anything else."""
    return _decoder.decode(blob)
