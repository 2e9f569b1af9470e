"""What a change would have done to the decisions of the recent past, read from the store."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Final

import msgspec

from pointsman.controller.asking import Asking, Question, Replies
from pointsman.controller.ledger import Ledger
from pointsman.decide.compile import Owned, ProjectState, compile_project
from pointsman.decide.forecast import Forecast, Replay
from pointsman.decide.live import live_of
from pointsman.decide.sampling import Drawn, Wanted
from pointsman.decide.table import load
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.names import qualified
from pointsman.domain.table import AttributeType, ProjectTable, Variant
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
SAMPLE: Final = 10_000
"""Decisions versions are asked about where nothing else is said: a plan stays below 10 s."""
MOST_SAMPLE: Final = 100_000

Artifact = Callable[[Variant], str]
"""The digest of the prepared artifact of a variant that is to be asked. Blocking; raises
PointsmanError with the reason why there is none."""

_ENDED: Final = (Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.FAILED)


def published_artifact(variant: Variant) -> str:
    """That of the table. Raises PointsmanError where it names none."""
    if not variant.artifact:
        raise PointsmanError(Kind.INVALID, "it is not prepared")
    return variant.artifact


class Window(msgspec.Struct, frozen=True):
    """Which decisions: the newest `last`, not older than `since_ms` from now (None: of any age).

    value: numeric context attribute to sum up, empty = none
    sample: decisions to ask versions about that the log knows too little of, over all; 0 = none
    """

    last: int = LAST
    since_ms: int | None = DAY_MS
    value: str = ""
    sample: int = SAMPLE


class Course(msgspec.Struct, frozen=True):
    """Tables of a change. before: what serves; after: what the change comes to first.

    first: weight of the rollout's first step, where `after` is the table of that step
    full: with the rollout's variant at 100 %; None without a rollout that is yet to go there
    """

    before: ProjectTable
    after: ProjectTable
    first: Decimal | None = None
    full: ProjectTable | None = None


class Asked(msgspec.Struct, frozen=True):
    """A version that the log knows too little of, and what came of asking it.

    decisions: it would get and has not answered; drawn: of these, for the sample
    scored: answered now; absent: logged without features, or not found; refused: that it cannot
    take; late: that were not reached in time
    why: of the first refused, or why it could not be asked at all; empty where neither was
    """

    variant: str
    version: str
    decisions: int
    drawn: int
    scored: int = 0
    absent: int = 0
    refused: int = 0
    late: int = 0
    why: str = ""


class Seen(msgspec.Struct, frozen=True):
    """A replay of both. full: None where the change has no rollout that goes on.

    asked, asked_full: versions that had to be asked for either
    """

    change: Forecast
    full: Forecast | None
    asked: tuple[Asked, ...] = ()
    asked_full: tuple[Asked, ...] = ()


class Outlook:
    """Replays. Blocking: reading and routing takes some seconds for 100,000 decisions or more.

    asking: None where nothing can be asked, as without an archive's process
    """

    def __init__(self, ledger: Ledger, asking: Asking | None = None) -> None:
        self._ledger = ledger
        self._asking = asking

    def look(
        self,
        course: Course,
        projects: tuple[Project, Project],
        window: Window,
        artifact: Artifact = published_artifact,
    ) -> Seen:
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
        tables = [course.after] + [course.full] * (course.full is not None)
        sample = min(window.sample, MOST_SAMPLE) // len(tables) if self._asking else 0
        with self._ledger.reading() as connection:
            switches = [one.target for one in published.kill_switches(connection, name)]

            def replay(table: ProjectTable) -> Replay:
                live = live_of(course.before, switches), live_of(table, switches)
                return Replay(before, load(table), slices, window.value, live, sample)

            replays = [replay(table) for table in tables if table is not None]
            rollout = projects[1].spec.rollout
            if rollout is not None:
                replays[0].follow(rollout.rule)
            for batch in archive.newest(connection, name, min(window.last, MOST), since_ms):
                for one in replays:
                    one.feed(batch)
        asked = self._ask(name, course.after, replays, artifact)
        change, full = replays[0], replays[1] if len(replays) > 1 else None
        return Seen(
            change.forecast(),
            None if full is None else full.forecast(),
            asked[0],
            () if full is None else asked[1],
        )

    def _ask(
        self, name: str, table: ProjectTable, replays: list[Replay], artifact: Artifact
    ) -> list[tuple[Asked, ...]]:
        """Asks what each replay wants to know, and tells it. Whatever goes wrong is said, never
        raised: what nobody could be asked about stays unknown."""
        wanted = [replay.wanted() for replay in replays]
        variants = {one.name: one for one in table.variants}
        names = sorted({variant for one in wanted for variant in one})
        drawn = {
            variant: tuple(
                sorted({d for one in wanted if variant in one for d in one[variant].drawn})
            )
            for variant in names
        }
        replies = self._replies(name, {variants[n]: drawn[n] for n in names}, artifact)
        told = []
        for replay, own in zip(replays, wanted, strict=True):
            for variant, want in own.items():
                for one in want.drawn:
                    answer = replies[variant].answers.get(one.id)
                    if answer is not None:
                        replay.scored(one, answer)
            told.append(
                tuple(
                    _asked(variants[variant], want, replies[variant])
                    for variant, want in own.items()
                )
            )
        return told

    def _replies(
        self, name: str, drawn: dict[Variant, tuple[Drawn, ...]], artifact: Artifact
    ) -> dict[str, Replies]:
        replies: dict[str, Replies] = {}
        questions: dict[str, Question] = {}
        for variant, wanted in drawn.items():
            if not wanted:
                replies[variant.name] = Replies(failed="nothing of the sample fell to it")
                continue
            try:
                questions[variant.name] = Question(artifact(variant), wanted)
            except PointsmanError as error:
                replies[variant.name] = Replies(failed=_reason(error))
        if questions and self._asking is not None:
            try:
                found = self._asking.ask(name, [*questions.values()])
                replies |= zip(questions, found, strict=True)
            except (PointsmanError, OSError, ValueError) as error:
                said = error.message if isinstance(error, PointsmanError) else str(error)
                replies |= {variant: Replies(failed=said) for variant in questions}
        return replies


def _asked(variant: Variant, want: Wanted, replies: Replies) -> Asked:
    drawn = [one.id for one in want.drawn]
    if replies.failed:
        return Asked(variant.name, variant.version, want.decisions, len(drawn), why=replies.failed)
    scored = sum(one in replies.answers for one in drawn)
    absent = sum(one in replies.absent for one in drawn)
    refused = sum(one in replies.refused for one in drawn)
    return Asked(
        variant=variant.name,
        version=variant.version,
        decisions=want.decisions,
        drawn=len(drawn),
        scored=scored,
        absent=absent if replies.whole else 0,
        refused=refused,
        late=len(drawn) - scored - refused - (absent if replies.whole else 0),
        why=replies.why if refused else "",
    )


def _reason(error: PointsmanError) -> str:
    return "; ".join(violation.message for violation in error.violations) or error.message


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
