"""What a change of table would do to the traffic of the recent past, one decision at a time.

Every logged decision is routed through both tables with its own id, unit and context. Where it
ends at another variant, the answer it would get there is taken from the log if that model answered
or shadowed this very decision, and else from the model's own mean in the same slice. What is not
known is counted, never guessed. Bounded memory: sums by slice, and a sample of units by their hash.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from pointsman.decide.answers import Answered, Models, Sums
from pointsman.decide.engine import decide
from pointsman.decide.estimate import Effects, SliceForecast, add
from pointsman.decide.table import CompiledProject
from pointsman.domain.decision import NOTHING_LIVE, Live, Request, Value
from pointsman.domain.errors import PointsmanError

UNITS_KEPT: Final = 1 << 17
"""Units that are followed one by one; of more, those whose hash is smallest stand for all."""

MAX_SLICE_VALUES: Final = 100
"""As in evidence: values of one attribute that get a slice; all others share `attribute=*`."""

_CELLS_KEPT: Final = 20_000
_MAX_SLICE_TEXT: Final = 64
_HASHES: Final = 1 << 64
UNANSWERED: Final = "(refused)"
"""Where a pin to a variant that a table does not have ends."""


class Logged(msgspec.Struct, frozen=True, gc=False):
    """A past decision, as far as routing it again and judging its answer needs.

    unit_hash: unsigned 64 bit; answers: of the variant that served, if any, then of its shadows
    """

    id: str
    at_ms: int
    unit: str | None
    unit_hash: int
    context: dict[str, Value]
    pin: str
    answers: tuple[Answered, ...]


class Flow(msgspec.Struct, frozen=True):
    """Decisions that one table sends here and the other there. value: sum of the attribute asked
    for"""

    before: str
    after: str
    decisions: int
    value: float


class Forecast(msgspec.Struct, frozen=True):
    """All of it.

    decisions, moved: replayed, and of these assigned to another variant
    units, units_moved: the same of units, of `unit_share` of all units, picked by hash
    flows: every (before, after) that occurs, those that stay included, largest first
    whole: all decisions; slices: by what is declared, the worst change of the deny rate first
    refused: decisions whose pin the new table does not have; erring: those where a condition of
        the new table cannot be evaluated, which the champion then answers
    """

    decisions: int
    moved: int
    units: int
    units_moved: int
    unit_share: float
    first_ms: int
    last_ms: int
    flows: tuple[Flow, ...]
    whole: SliceForecast
    slices: tuple[SliceForecast, ...]
    refused: int
    erring: int

    @property
    def share(self) -> float:
        """Of decisions that move."""
        return self.moved / self.decisions if self.decisions else 0.0

    @property
    def units_share(self) -> float:
        """Of units of which at least one decision moves."""
        return self.units_moved / self.units if self.units else 0.0


class _Cell:
    """Decisions that have slices, both variants and the models that answered in common."""

    __slots__ = ("decisions", "sums", "value")

    def __init__(self, models: tuple[str, ...], width: Mapping[str, int]) -> None:
        self.decisions = 0
        self.value = 0.0
        self.sums = [Sums(width[model]) for model in models]


class Replay:
    """Two tables side by side; feed it decisions in any order, then ask for the forecast.

    live: kill switches as they are now, for either table
    slices: context attributes to split by; value: a numeric one to sum up, empty = none
    """

    def __init__(
        self,
        before: CompiledProject,
        after: CompiledProject,
        slices: Iterable[str] = (),
        value: str = "",
        live: tuple[Live, Live] = (NOTHING_LIVE, NOTHING_LIVE),
    ) -> None:
        self._before, self._after = before, after
        self._live_before, self._live_after = live
        self._attributes = tuple(slices)
        self._value = value
        self._models = Models(before.table, after.table)
        self._defaults = _defaults(before, after)
        self._names: defaultdict[str, dict[Value, str]] = defaultdict(dict)
        self._cells: dict[tuple[tuple[str, ...], str, str, tuple[str, ...]], _Cell] = {}
        self._effects: defaultdict[str, Effects] = defaultdict(lambda: Effects(self._models))
        self._flows: dict[tuple[str, str], list[float]] = {}
        self._units: dict[int, bool] = {}
        self._below = _HASHES
        self._decisions = self._moved = self._refused = self._erring = 0
        self._first_ms = self._last_ms = 0

    def feed(self, batch: Sequence[Logged]) -> None:
        """Routes these decisions through both tables."""
        if not batch:
            return
        before, after = self._before, self._after
        live_before, live_after = self._live_before, self._live_after
        defaults, count = self._defaults, self._count
        for one in batch:
            pin = one.pin or None
            request = Request(one.id, one.unit, one.context, pin)
            try:
                old = decide(before, live_before, request).assigned
            except PointsmanError:
                old = UNANSWERED
            if defaults:
                request = Request(one.id, one.unit, {**defaults, **one.context}, pin)
            try:
                decided = decide(after, live_after, request)
                new = decided.assigned
                if decided.error:
                    self._erring += 1
            except PointsmanError:
                new = UNANSWERED
                self._refused += 1
            count(one, old, new)
        self._decisions += len(batch)
        times = [one.at_ms for one in batch]
        first, last = min(times), max(times)
        self._first_ms = min(self._first_ms, first) if self._first_ms else first
        self._last_ms = max(self._last_ms, last)
        if len(self._cells) > _CELLS_KEPT:
            self._fold()

    def scored(self, context: Mapping[str, Value], answer: Answered) -> None:
        """Takes in what a model no logged decision has met answers to logged features."""
        model = self._models.of(answer.variant, answer.version)
        sums = Sums(self._models.width[model])
        self._models.observe(sums, model, answer)
        for name in ("", *self._slices(context)):
            self._effects[name].scored(model, sums)

    def forecast(self) -> Forecast:
        """What came of everything fed so far."""
        self._fold()
        flows = [Flow(a, b, int(n), value) for (a, b), (n, value) in self._flows.items()]
        whole = self._effects[""]
        slices = [effects.told(name) for name, effects in self._effects.items() if name]
        return Forecast(
            decisions=self._decisions,
            moved=self._moved,
            units=len(self._units),
            units_moved=sum(self._units.values()),
            unit_share=self._below / _HASHES,
            first_ms=self._first_ms,
            last_ms=self._last_ms,
            flows=tuple(sorted(flows, key=lambda flow: (-flow.decisions, flow.before, flow.after))),
            whole=whole.told(""),
            slices=tuple(sorted(slices, key=_worst)),
            refused=self._refused,
            erring=self._erring,
        )

    def unseen(self) -> frozenset[str]:
        """Variants of the newer table that decisions move to and whose version none has met."""
        self._fold()
        return self._effects[""].unseen()

    def _count(self, one: Logged, old: str, new: str) -> None:
        moves = old != new
        self._moved += moves
        unit = one.unit_hash
        if unit < self._below:
            units = self._units
            if moves or unit not in units:
                units[unit] = moves
                if len(units) > UNITS_KEPT:
                    self._halve()
        answers, models = one.answers, self._models
        if len(answers) == 1:
            answer = answers[0]
            who: tuple[str, ...] = (models.of(answer.variant, answer.version),)
        else:
            who = tuple([models.of(answer.variant, answer.version) for answer in answers])
        key = (self._slices(one.context) if self._attributes else (), old, new, who)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = _Cell(who, models.width)
        cell.decisions += 1
        if self._value:
            found = one.context.get(self._value)
            if isinstance(found, int | float):
                cell.value += found
        for place, answer in enumerate(answers):
            models.observe(cell.sums[place], who[place], answer)

    def _halve(self) -> None:
        """Follows only units of the lower half of hashes from now on."""
        self._below //= 2
        kept = self._below
        self._units = {unit: moved for unit, moved in self._units.items() if unit < kept}

    def _slices(self, context: Mapping[str, Value]) -> tuple[str, ...]:
        found = []
        for attribute in self._attributes:
            value = context.get(attribute)
            if value is not None:
                names = self._names[attribute]
                name = names.get(value)
                found.append(name if name is not None else _admit(names, attribute, value))
        return tuple(found)

    def _fold(self) -> None:
        """Adds the cells to their slices and begins new ones, so that they stay few."""
        for (slices, old, new, models), cell in self._cells.items():
            flow = self._flows.setdefault((old, new), [0, 0.0])
            add(flow, (cell.decisions, cell.value))
            for name in ("", *slices):
                self._effects[name].add(
                    old, new, cell.decisions, cell.value, dict(zip(models, cell.sums, strict=True))
                )
        self._cells = {}


def _defaults(before: CompiledProject, after: CompiledProject) -> dict[str, Value]:
    """What a gateway fills in under the newer table and did not under the older one."""
    known = {attribute.name for attribute in before.table.context}
    return {
        attribute.name: attribute.default
        for attribute in after.table.context
        if attribute.name not in known and attribute.default is not None
    }


def _admit(names: dict[Value, str], attribute: str, value: Value) -> str:
    """The slice of a value; `attribute=*` where it is one too many or too long."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if len(names) >= MAX_SLICE_VALUES or len(text) > _MAX_SLICE_TEXT or text == "*":
        return f"{attribute}=*"
    name = names[value] = f"{attribute}={text}"
    return name


def _worst(found: SliceForecast) -> tuple[bool, float, str]:
    denied = found.denied
    return (denied is None, -abs(denied.shift) if denied is not None else 0.0, found.name)
