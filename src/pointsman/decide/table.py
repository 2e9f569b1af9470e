"""A project blob made ready to decide with: checked, conditions compiled, outcomes precomputed.

Free of pydantic and of the spec: this is what gateways load. A table that is not sound is refused
with every problem at once, so that a bad blob leaves the old one in place.
"""

from collections.abc import Mapping
from typing import Final

from pointsman.conditions import compile_condition
from pointsman.decide.allocation import problems
from pointsman.decide.view import Evaluate, RuleView, certain
from pointsman.domain.decision import NOTHING_LIVE, Decision, Live, Reason, Value
from pointsman.domain.errors import Kind, PointsmanError, Violation
from pointsman.domain.names import CHAMPION
from pointsman.domain.table import FORMAT, SPACE, ProjectTable, Rule, digest, encode

_VIEWS_KEPT: Final = 64


class View:
    """A project under one live state.

    Where no rule has a part in a decision for the champion, the last rule's fallbacks stand by.

    killed: the one decision of a killed project, else None
    out: variants nothing is sent to
    pin_out: what is decided for a pin to one of them
    unmatched: what is decided where no rule matches
    """

    __slots__ = ("killed", "out", "pin_out", "rules", "unmatched")

    def __init__(
        self, table: ProjectTable, conditions: tuple[Evaluate | None, ...], live: Live
    ) -> None:
        self.out = frozenset(live.out) - {CHAMPION}
        self.rules = tuple(
            RuleView(rule, evaluate, self.out)
            for rule, evaluate in zip(table.rules, conditions, strict=True)
        )
        standing_by = self.rules[-1].behind_champion if self.rules else ()
        self.pin_out = certain(Reason.KILLED, fallbacks=standing_by)
        self.killed: Decision | None = self.pin_out if live.killed else None
        self.unmatched = certain(Reason.DEFAULT, fallbacks=standing_by)


class CompiledProject:
    """One project as `decide` takes it. Never changes, but for remembering views it has made.

    digest: of the table's canonical bytes, what decision records name
    pins: variant name by what a caller may write: `challenger` or `challenger:3`
    latest: the live state decided under last, and the project under it
    """

    __slots__ = ("_conditions", "_views", "digest", "latest", "pins", "table")

    def __init__(self, table: ProjectTable, conditions: tuple[Evaluate | None, ...]) -> None:
        self.table = table
        self.digest = digest(encode(table))
        self.pins = {variant.name: variant.name for variant in table.variants} | {
            variant.label: variant.name for variant in table.variants
        }
        self._conditions = conditions
        view = View(table, conditions, NOTHING_LIVE)
        self._views: dict[Live, View] = {NOTHING_LIVE: view}
        self.latest: tuple[Live, View] = (NOTHING_LIVE, view)

    def under(self, live: Live) -> View:
        """The project under this live state, made when first asked for.

        Safe among threads: two may at worst make the same view twice.
        """
        view = self._views.get(live)
        if view is None:
            view = View(self.table, self._conditions, live)
            if len(self._views) >= _VIEWS_KEPT:
                self._views = {}
            self._views[live] = view
        self.latest = (live, view)
        return view


def load(table: ProjectTable) -> CompiledProject:
    """The compiled project. Errors: INVALID with a violation for everything that is not sound."""
    found = [*_header_problems(table)]
    known = {variant.name for variant in table.variants}
    conditions: list[Evaluate | None] = []
    for index, rule in enumerate(table.rules):
        path = f"rules[{index}]"
        found += _rule_problems(path, rule, known)
        try:
            conditions.append(_condition(rule, table))
        except PointsmanError as error:
            found.append(Violation(f"{path}.when", error.message, error.hint))
    if found:
        raise PointsmanError(
            Kind.INVALID,
            f"table {table.number} of {table.tenant}/{table.project} is not sound",
            hint="the table that is in use stays in use; publish a sound one",
            violations=tuple(found),
        )
    return CompiledProject(table, tuple(conditions))


def _condition(rule: Rule, table: ProjectTable) -> Evaluate | None:
    """The rule's condition; None where it is always met, so that nothing is evaluated for it."""
    if rule.when is None:
        return None
    condition = compile_condition(rule.when, table.context)
    # A condition that reads an attribute must err where it is missing, even if it is constant.
    if condition.constant is None or condition.attributes:
        return condition.evaluate
    return None if condition.constant else _never


def _never(_: Mapping[str, Value]) -> bool:
    return False


def _header_problems(table: ProjectTable) -> list[Violation]:
    found: list[Violation] = []
    if table.format != FORMAT:
        found.append(
            Violation(
                "format",
                f"format {table.format} is not the format {FORMAT} this gateway reads",
                "upgrade the gateway before the controller",
            )
        )
    for path, names in (
        ("variants", [variant.name for variant in table.variants]),
        ("rules", [rule.name for rule in table.rules]),
    ):
        twice = sorted({name for name in names if names.count(name) > 1})
        found += [Violation(path, f"{name} is there more than once") for name in twice]
    if CHAMPION not in {variant.name for variant in table.variants}:
        found.append(Violation("variants", f"there is no variant named {CHAMPION}"))
    return found


def _rule_problems(path: str, rule: Rule, known: set[str]) -> list[Violation]:
    found: list[Violation] = []
    if bool(rule.use) == (rule.allocation is not None):
        found.append(Violation(path, "a rule has either `use` or an allocation"))
    named = [(f"{path}.use", rule.use)] if rule.use else []
    named += [(f"{path}.fallback", name) for name in rule.fallback]
    named += [(f"{path}.shadows", shadow.variant) for shadow in rule.shadows]
    if rule.allocation is not None:
        found += [Violation(f"{path}.allocation", text) for text in problems(rule.allocation)]
        named += [(f"{path}.allocation", arm) for arm in sorted(set(rule.allocation.arms))]
    found += [
        Violation(place, f"there is no variant named {name!r}")
        for place, name in named
        if name not in known
    ]
    cuts = [(f"{path}.holdout", rule.holdout)]
    cuts += [(f"{path}.shadows", shadow.cut) for shadow in rule.shadows]
    found += [
        Violation(place, f"{cut} is not between 0 and 2^32")
        for place, cut in cuts
        if not 0 <= cut <= SPACE
    ]
    salts = [rule.salt, rule.holdout_salt, *(shadow.salt for shadow in rule.shadows)]
    if any("\0" in salt for salt in salts):
        found.append(Violation(path, "a salt contains NUL"))
    return found
