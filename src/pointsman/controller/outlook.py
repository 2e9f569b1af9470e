"""What a change would have done to the decisions of the recent past, read from the store."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

import msgspec

from pointsman.controller.ledger import Ledger
from pointsman.decide.compile import Owned, ProjectState, compile_project
from pointsman.decide.forecast import Forecast, Replay
from pointsman.decide.live import live_of
from pointsman.decide.table import load
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.names import qualified
from pointsman.domain.table import AttributeType, ProjectTable
from pointsman.rollout import declared
from pointsman.rollout.machine import Phase
from pointsman.rollout.state import ALL, State
from pointsman.rollout.terms import SetWeight, Terms
from pointsman.spec.models import Project
from pointsman.store import archive, published

LAST: Final = 100_000
DAY_MS: Final = 86_400_000
MOST: Final = 1_000_000
"""Decisions one plan replays at most."""

_ENDED: Final = (Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.FAILED)


class Window(msgspec.Struct, frozen=True):
    """Which decisions: the newest `last`, not older than `since_ms` from now (None: of any age).

    value: numeric context attribute to sum up, empty = none
    """

    last: int = LAST
    since_ms: int | None = DAY_MS
    value: str = ""


class Course(msgspec.Struct, frozen=True):
    """Tables of a change. before: what serves; after: what the change comes to first.

    first: weight of the rollout's first step, where `after` is the table of that step
    full: with the rollout's variant at 100 %; None without a rollout that is yet to go there
    """

    before: ProjectTable
    after: ProjectTable
    first: Decimal | None = None
    full: ProjectTable | None = None


class Seen(msgspec.Struct, frozen=True):
    """A replay of both. full: None where the change has no rollout that goes on."""

    change: Forecast
    full: Forecast | None


class Outlook:
    """Replays. Blocking: reading and routing takes some seconds for 100,000 decisions or more."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def look(self, course: Course, projects: tuple[Project, Project], window: Window) -> Seen:
        """The logged decisions of the window under the tables of the course.

        projects: as declared now and as it is to be; slices of either count
        Errors: INVALID for a value attribute the project does not have, or that is no number.
        """
        _check_value(course.before, window.value)
        name = qualified(projects[1].tenant, projects[1].name)
        before = load(course.before)
        slices = tuple(dict.fromkeys(n for project in projects for n in slices_of(project)))
        since_ms = 0
        if window.since_ms is not None:
            since_ms = self._ledger.now_ms() - window.since_ms
        with self._ledger.reading() as connection:
            switches = [one.target for one in published.kill_switches(connection, name)]

            def replay(table: ProjectTable) -> Replay:
                live = live_of(course.before, switches), live_of(table, switches)
                return Replay(before, load(table), slices, window.value, live)

            change = replay(course.after)
            full = None if course.full is None else replay(course.full)
            for batch in archive.newest(connection, name, min(window.last, MOST), since_ms):
                change.feed(batch)
                if full is not None:
                    full.feed(batch)
        return Seen(change.forecast(), None if full is None else full.forecast())


def slices_of(project: Project) -> tuple[str, ...]:
    """Attributes any metric or bound of the project is split by."""
    rollout = project.spec.rollout
    bounds = (*rollout.guardrails, *rollout.signals) if rollout is not None else ()
    wanted = (*project.spec.metrics.values(), *bounds)
    return tuple(dict.fromkeys(name for one in wanted for name in one.slices))


def course(
    before: ProjectTable,
    after: ProjectTable,
    project: Project,
    state: ProjectState,
    rollout: State | None,
) -> Course:
    """The tables of a change, with the first step of the rollout it sets going, if it does.

    after: as it would be published, the rollout's variant at the weight it has by then
    state: what `after` was compiled from; rollout: as it stands
    """
    terms = _going(project, after, rollout)
    if terms is None:
        return Course(before, after)

    def at(weight: Decimal) -> ProjectTable:
        owned = (Owned(terms.rule, terms.weights(weight)),)
        changes = {"variants": after.variants, "features": after.features, "owned": owned}
        return compile_project(project, msgspec.structs.replace(state, **changes))

    split = next(rule for rule in after.rules if rule.name == terms.rule).allocation
    if split is not None and terms.variant in split.arms:
        # It is under way: the change leaves it where it is.
        return Course(before, after, full=at(ALL))
    first = next((step.weight for step in terms.steps if isinstance(step, SetWeight)), ALL)
    return Course(before, at(first), first, at(ALL))


def _going(project: Project, table: ProjectTable, rollout: State | None) -> Terms | None:
    """The terms of a rollout that has yet to take its variant to 100 %; None where there is none.

    That is: one is declared, both arms serve different things, and this very version has not been
    through it already.
    """
    terms = declared.terms(project)
    if terms is None:
        return None
    by_name = {variant.name: variant for variant in table.variants}
    ours, theirs = by_name[terms.variant], by_name[terms.against]
    served = ("source", "constant", "threshold", "deny")
    if all(getattr(ours, field) == getattr(theirs, field) for field in served):
        return None
    if rollout is not None and rollout.phase in _ENDED and _grows(rollout, terms, table):
        return None
    return terms


def _grows(rollout: State, terms: Terms, table: ProjectTable) -> bool:
    """Whether the rollout's version is the one the table has for its variant."""
    found = next(variant for variant in table.variants if variant.name == terms.variant)
    return rollout.target.source == found.source


def _check_value(table: ProjectTable, name: str) -> None:
    numbers = [
        one.name for one in table.context if one.type in (AttributeType.INT, AttributeType.DOUBLE)
    ]
    if name and name not in numbers:
        raise PointsmanError(
            Kind.INVALID,
            f"{name[:80]} is no number in the context of {table.project}",
            hint=_choice(numbers),
        )


def _choice(numbers: Iterable[str]) -> str:
    named = ", ".join(numbers)
    return f"there are {named}" if named else "it declares no context attribute of type int, double"
