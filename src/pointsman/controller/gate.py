"""Stops a change that is over the project's limits, until enough others agreed to exactly it."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from pointsman.controller import blast
from pointsman.controller.blast import Ground, Over
from pointsman.controller.exposure import adds
from pointsman.controller.ledger import Ledger
from pointsman.controller.outlook import (
    Artifact,
    Course,
    Outlook,
    Seen,
    Window,
    published_artifact,
)
from pointsman.domain.errors import Kind, PointsmanError, Violation
from pointsman.rollout.declared import freezes
from pointsman.spec.later import Limits
from pointsman.spec.models import Project
from pointsman.store import plans, revisions
from pointsman.store.audit import Entry
from pointsman.store.plans import Agreement, Plan

_SHORTEST_HASH: Final = 8


class HeldError(PointsmanError):
    """A change waits: for others to agree to it, or for the end of a freeze."""


class Standing(msgspec.Struct, frozen=True):
    """How a change stands to the limits.

    over: what it is over; frozen: why nothing may grow now, empty where it may
    hash: what to agree to, empty where nothing is over; approvals: how many are needed
    agreed: who has agreed so far, to this or to something worse on the same ground
    """

    over: tuple[Over, ...] = ()
    frozen: str = ""
    hash: str = ""
    approvals: int = 0
    agreed: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        """Whether the change may be applied."""
        return not self.frozen and (not self.over or len(self.agreed) >= self.approvals)


class Gate:
    """Limits, and who agreed to what. Blocking."""

    def __init__(self, ledger: Ledger, outlook: Outlook) -> None:
        self._ledger = ledger
        self._outlook = outlook

    def standing(
        self,
        ground: Ground,
        course: Course,
        projects: tuple[Project, Project],
        seen: Seen | None,
        artifact: Artifact = published_artifact,
    ) -> Standing:
        """How a change stands. projects: as declared now, and as it is to be.

        seen: a replay of the course; made here where the limits need one and it is None
        artifact: of a variant that the replay has to ask
        The limits that hold are those that serve now; a file cannot loosen what it is judged by.
        """
        before, after = projects
        limits = before.spec.limits or after.spec.limits
        if limits is None:
            return Standing()
        needed = limits.max_units_moved is not None or limits.max_deny_shift is not None
        if seen is None and needed:
            # What units move is known without asking any version.
            window = Window() if limits.max_deny_shift is not None else Window(sample=0)
            seen = self._outlook.look(course, projects, window, artifact)
        found = blast.over(
            limits,
            (course.before, course.after),
            None if seen is None else seen.change,
            None if seen is None else seen.full,
        )
        loose = blast.loosened(before.spec.limits, after.spec.limits)
        if loose is not None:
            found = (*found, loose)
        frozen = self._frozen(limits, course, loose)
        if not found:
            return Standing(frozen=frozen)
        digest = blast.digest(ground, found)
        agreed = self._agreed(ground, found)
        return Standing(found, frozen, digest, limits.approvals, agreed)

    def remember(self, ground: Ground, standing: Standing, author: str) -> None:
        """Keeps a plan that is over, so that others can agree to it. author: who wants it"""
        if standing.hash:
            body = msgspec.json.encode((_body(ground), standing.over))
            kept = Plan(
                standing.hash, ground.project, ground.base, body, author, self._ledger.now_ms()
            )
            with self._ledger.writing() as connection:
                plans.put(connection, kept)

    def check(self, ground: Ground, standing: Standing, actor: str) -> None:
        """Raises HeldError(FORBIDDEN) unless the change may be applied by this person."""
        agreed = [name for name in standing.agreed if name != actor]
        violations = tuple(Violation("spec.limits", one.sentence) for one in standing.over)
        if standing.frozen:
            raise HeldError(
                Kind.FORBIDDEN,
                f"{ground.project}: {standing.frozen}; nothing was changed",
                hint="wait for its end; `undo`, `kill` and `abort` work always, and "
                "`--force --reason ...` breaks the glass, on record",
                violations=violations,
            )
        if standing.over and len(agreed) < standing.approvals:
            raise HeldError(
                Kind.FORBIDDEN,
                f"{ground.project}: the change is over its limits and has {len(agreed)} of "
                f"{standing.approvals} approvals; nothing was changed",
                hint=f"somebody else runs `pointsman approve {ground.project} --plan "
                f"{standing.hash} --reason ...`, then do this again; the approval is void once the "
                f"project is past revision {ground.base}",
                violations=violations,
            )

    def approve(self, project: str, digest: str, actor: str, reason: str) -> str:
        """Agrees to a plan; a sentence about where that leaves it.

        digest: the hash, or at least 8 characters of its beginning
        Errors: NOT_FOUND, FORBIDDEN for the author, CONFLICT where the project has moved on,
        INVALID without a reason.
        """
        if not reason.strip():
            raise PointsmanError(
                Kind.INVALID, "an approval needs a reason", hint="say it with --reason"
            )
        with self._ledger.reading() as connection:
            known = len(digest) >= _SHORTEST_HASH
            found = plans.find(connection, project, digest.lower()) if known else None
            row = revisions.project_row(connection, project)
        if found is None:
            raise PointsmanError(
                Kind.NOT_FOUND,
                f"{project} has no plan {digest[:80]!r} that waits for approval",
                hint="`pointsman plan` and a refused `apply` name its hash",
            )
        if row is None or row.number != found.base:
            now = 0 if row is None else row.number
            raise PointsmanError(
                Kind.CONFLICT,
                f"plan {found.hash[:12]} changes revision {found.base}, and {project} is at {now}",
                hint="plan again: what it would do may be something else by now",
            )
        if found.author == actor:
            raise PointsmanError(
                Kind.FORBIDDEN,
                f"plan {found.hash[:12]} is your own; somebody else has to agree to it",
            )
        sentence = f"{project}: plan {found.hash[:12]} approved ({reason})"
        payload = {"plan": found.hash, "base": found.base, "reason": reason}
        entry = Entry(actor, project.partition("/")[0], project, "plan.approve", sentence, payload)
        agreement = Agreement(found.hash, actor, reason, self._ledger.now_ms())
        with self._ledger.reading() as connection:
            before = [one.actor for one in plans.agreements(connection, found.hash)]
        if actor in before:
            return f"{project}: you agreed to plan {found.hash[:12]} before"
        self._ledger.note(entry, lambda tx: _ignore(plans.agree(tx, agreement)))
        return sentence

    def _agreed(self, ground: Ground, found: tuple[Over, ...]) -> tuple[str, ...]:
        """Everybody who agreed to this change on this ground, at least as bad as it is now."""
        names: dict[str, None] = {}
        with self._ledger.reading() as connection:
            for known in plans.of_base(connection, ground.project, ground.base):
                body, approved = msgspec.json.decode(known.body, type=tuple[str, tuple[Over, ...]])
                if body == _body(ground) and blast.covered(found, approved):
                    for one in plans.agreements(connection, known.hash):
                        if one.actor != known.author:
                            names[one.actor] = None
        return tuple(names)

    def _frozen(self, limits: Limits, course: Course, loose: Over | None) -> str:
        now_ms = self._ledger.now_ms()
        for freeze in freezes(limits):
            if freeze.from_ms <= now_ms < freeze.until_ms:
                why = adds(course.before, course.after)
                why = why or (loose.sentence if loose is not None else "")
                if why:
                    until = datetime.fromtimestamp(freeze.until_ms / 1000, UTC)
                    return f"frozen ({freeze.text}) until {until:%Y-%m-%d %H:%M} UTC, and {why}"
        return ""


def _body(ground: Ground) -> str:
    return msgspec.json.encode(ground, order="deterministic").decode()


def _ignore(_: object) -> None:
    """Somebody who agreed twice at once has agreed."""
