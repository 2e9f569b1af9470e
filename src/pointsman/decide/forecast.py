"""What a change of table would do to the traffic of the recent past, one decision at a time.

Every logged decision is routed through both tables with its own id, unit and context. Where it
ends at another variant, the answer it would get there is taken from the log if that model answered
or shadowed this very decision, and else from the model's own mean in the same rule and slice. Of a
model that has none, `wanted` says which decisions to ask it about. What is not known is counted,
never guessed. Bounded memory: sums by slice, and samples of units and decisions by their hash.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from pointsman.decide.answers import Answered, Logged, Models, Sums
from pointsman.decide.drawing import Drawing, SplitForecast
from pointsman.decide.engine import decide
from pointsman.decide.estimate import Effects, SliceForecast, Way, add
from pointsman.decide.hashing import unit_bytes
from pointsman.decide.routing import route
from pointsman.decide.sampling import Drawn, Sample, Wanted
from pointsman.decide.table import CompiledProject
from pointsman.domain.decision import NOTHING_LIVE, Live, Reason, Request, Value
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
    split: of the rule that was followed; None where none was
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
    split: SplitForecast | None = None

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

    __slots__ = ("decisions", "sums", "value", "way")

    def __init__(self, way: Way, models: tuple[str, ...], width: Mapping[str, int]) -> None:
        self.way = way
        self.decisions = 0
        self.value = 0.0
        self.sums = [Sums(width[model]) for model in models]


class Replay:
    """Two tables side by side; feed it decisions in any order, then ask for the forecast.

    live: kill switches as they are now, for either table
    slices: context attributes to split by; value: a numeric one to sum up, empty = none
    sample: decisions to draw at most for models that have to be asked, 0 = none
    """

    def __init__(  # noqa: PLR0913, PLR0917 - two tables, and what people want to see of them
        self,
        before: CompiledProject,
        after: CompiledProject,
        slices: Iterable[str] = (),
        value: str = "",
        live: tuple[Live, Live] = (NOTHING_LIVE, NOTHING_LIVE),
        sample: int = 0,
    ) -> None:
        self._before, self._after = before, after
        self._live_before, self._live_after = live
        self._attributes = tuple(slices)
        self._value = value
        self._models = Models(before.table, after.table)
        self._defaults = _defaults(before, after)
        self._names: defaultdict[str, dict[Value, str]] = defaultdict(dict)
        self._cells: dict[tuple[tuple[str, ...], tuple[str, str, str], tuple[str, ...]], _Cell] = {}
        self._sample = Sample(sample) if sample else None
        self._askable: dict[tuple[str, str], str] = {}
        self._drawing: Drawing | None = None
        self._effects: defaultdict[str, Effects] = defaultdict(lambda: Effects(self._models))
        self._flows: dict[tuple[str, str], list[float]] = {}
        self._units: dict[int, bool] = {}
        self._below = _HASHES
        self._decisions = self._moved = self._refused = self._erring = 0
        self._first_ms = self._last_ms = 0

    def follow(self, rule: str) -> None:
        """From now on, whom this rule of the newer table draws; nothing where it splits nothing."""
        for one in self._after.table.rules:
            if one.name == rule and one.allocation is not None:
                self._drawing = Drawing(one, self._live_after)

    def feed(self, batch: Sequence[Logged]) -> None:
        """Routes these decisions through both tables."""
        if not batch:
            return
        was, now = self._before.under(self._live_before), self._after.under(self._live_after)
        defaults, count, drawing = self._defaults, self._count, self._drawing
        for one in batch:
            unit = unit_bytes(one.id if one.unit is None else one.unit)
            context = one.context
            found = None if one.pin else route(was, unit, context)
            rule, old, _ = found or self._decided(self._before, self._live_before, one, context)
            if defaults:
                context = {**defaults, **context}
            found = None if one.pin else route(now, unit, context)
            meets, new, reason = found or self._decided(
                self._after, self._live_after, one, context, newer=True
            )
            if drawing is not None and one.unit_hash < self._below:
                drawing.met(meets, new, reason, one)
            count(one, (rule, old, new))
        self._decisions += len(batch)
        times = [one.at_ms for one in batch]
        first, last = min(times), max(times)
        self._first_ms = min(self._first_ms, first) if self._first_ms else first
        self._last_ms = max(self._last_ms, last)
        if len(self._cells) > _CELLS_KEPT:
            self._fold()

    def _decided(
        self,
        project: CompiledProject,
        live: Live,
        one: Logged,
        context: dict[str, Value],
        *,
        newer: bool = False,
    ) -> tuple[str, str, Reason | None]:
        """Where `decide` says that a decision goes, whatever it is; counts what is amiss."""
        request = Request(one.id, one.unit, context, one.pin or None)
        try:
            decided = decide(project, live, request)
        except PointsmanError:
            self._refused += newer
            return "", UNANSWERED, None
        self._erring += newer and bool(decided.error)
        return decided.rule, decided.assigned, decided.reason

    def wanted(self) -> dict[str, Wanted]:
        """What to ask variants of the newer table about, by name: those that decisions go to whose
        version the log knows too little of. Empty where no sample was asked for."""
        models = {
            name: arm.model
            for name, arm in self._models.after.items()
            if arm.constant is None and self._models.comparable
        }
        return {} if self._sample is None else self._sample.wanted(models)

    def scored(self, drawn: Drawn, probabilities: tuple[float, ...]) -> None:
        """Takes in what a model that was asked now answers to a decision of the sample."""
        variant = self._models.after[drawn.way.after]
        sums = Sums(self._models.width[variant.model])
        self._models.observe(sums, variant.model, Answered(drawn.way.after, "", probabilities, 0))
        for name in ("", *drawn.slices):
            self._effects[name].scored(drawn.way, variant.model, sums)

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
            split=None if self._drawing is None else self._drawing.told(),
        )

    def _count(self, one: Logged, way: tuple[str, str, str]) -> None:
        moves = way[1] != way[2]
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
        slices = self._slices(one.context) if self._attributes else ()
        if self._sample is not None:
            self._draw(one, way, slices, who)
        key = (slices, way, who)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = _Cell(Way(*way), who, models.width)
        cell.decisions += 1
        if self._value:
            found = one.context.get(self._value)
            if isinstance(found, int | float):
                cell.value += found
        for place, answer in enumerate(answers):
            models.observe(cell.sums[place], who[place], answer)

    def _draw(
        self,
        one: Logged,
        way: tuple[str, str, str],
        slices: tuple[str, ...],
        who: tuple[str, ...],
    ) -> None:
        sample, (rule, before, after) = self._sample, way
        assert sample is not None
        for model, answer in zip(who, one.answers, strict=True):
            if sample.needs(rule, model) and self._models.reads(answer):
                sample.answered(rule, model)
        known = self._askable.get((before, after))
        if known is None:
            known = self._askable[before, after] = self._models.asked(before, after)
        if known and known not in who and sample.needs(rule, known):
            sample.offer(one.id, one.at_ms, Way(*way), slices)

    def _halve(self) -> None:
        """Follows only units of the lower half of hashes from now on."""
        self._below //= 2
        kept = self._below
        self._units = {unit: moved for unit, moved in self._units.items() if unit < kept}
        if self._drawing is not None:
            self._drawing.keep_below(kept)

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
        for (slices, _, models), cell in self._cells.items():
            way = cell.way
            flow = self._flows.setdefault((way.before, way.after), [0, 0.0])
            add(flow, (cell.decisions, cell.value))
            answers = dict(zip(models, cell.sums, strict=True))
            for name in ("", *slices):
                self._effects[name].add(way, cell.decisions, cell.value, answers)
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
