"""Drift and estimated performance over HTTP, and the reference they are held against."""

from typing import Annotated, Any

import msgspec
from fastapi import Query, Request
from starlette.concurrency import run_in_threadpool

from pointsman.controller import baseline
from pointsman.controller.drifting import Asked, Drifts, Step
from pointsman.controller.estimates import Estimates
from pointsman.controller.ledger import Ledger
from pointsman.controller.permissions import Permission, Route, caller
from pointsman.controller.profiles import problems
from pointsman.controller.projects import Projects
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.names import qualified
from pointsman.store import references
from pointsman.store.audit import Entry

_ROOT = "/v1/tenants/{tenant}/projects/{project}"
_Moment = Annotated[int, Query(ge=0, le=253_402_300_799_999)]


class DriftRoutes:
    """What inputs and scores look like beside what they looked like."""

    def __init__(
        self, ledger: Ledger, projects: Projects, drifts: Drifts, estimates: Estimates
    ) -> None:
        self._ledger = ledger
        self._projects = projects
        self._drifts = drifts
        self._estimates = estimates

    def routes(self) -> list[Route]:
        read, write = Permission.READ, Permission.WRITE
        return [
            Route("GET", _ROOT + "/drift", read, self.drift),
            Route("GET", _ROOT + "/drift/column", read, self.column),
            Route("GET", _ROOT + "/performance", read, self.performance),
            Route("PUT", _ROOT + "/reference", write, self.declare),
            Route("DELETE", _ROOT + "/reference", write, self.forget),
        ]

    def drift(
        self,
        tenant: str,
        project: str,
        step: Step | None = None,
        from_ms: _Moment = 0,
        until_ms: _Moment = 0,
    ) -> dict[str, Any]:
        return self._drifts.of(qualified(tenant, project), Asked(step or "", from_ms, until_ms))

    def column(
        self,
        tenant: str,
        project: str,
        name: str,
        at_ms: _Moment,
        step: Step | None = None,
    ) -> dict[str, Any]:
        """One feature or answer beside the reference, in the stretch of time `at_ms` falls into."""
        asked = Asked(step or "", from_ms=at_ms)
        return self._drifts.column(qualified(tenant, project), asked, name)

    def performance(self, tenant: str, project: str, since_ms: _Moment = 0) -> dict[str, Any]:
        return self._estimates.of(qualified(tenant, project), since_ms)

    async def declare(self, request: Request, tenant: str, project: str) -> dict[str, Any]:
        """Takes a profile (`pointsman profile` makes one of a file) as the reference from now on.

        Errors: NOT_FOUND for a project that is not there; INVALID, all of it at once, for a profile
        that is none or has features the project does not have.
        """
        body = await request.body()
        name, who = qualified(tenant, project), caller(request).actor
        return await run_in_threadpool(self._declare, name, body, who)

    def forget(self, request: Request, tenant: str, project: str) -> dict[str, Any]:
        """Gives up what was declared: what came with the champion counts again, else its own first
        decisions."""
        name, who = qualified(tenant, project), caller(request).actor
        self._projects.current(name)
        with self._ledger.reading() as connection:
            stored = references.current(connection, name)
        if stored is None or not stored.declared:
            raise PointsmanError(
                Kind.NOT_FOUND,
                f"nobody declared a reference of {name}",
                hint="`pointsman drift` says what it is compared with",
            )
        sentence = f"{name}: the declared reference is given up"
        self._ledger.note(
            _entry(name, who, sentence, stored.id),
            lambda connection: _nothing(references.forget(connection, name)),
        )
        return {"project": name, "sentence": sentence}

    def _declare(self, name: str, body: bytes, who: str) -> dict[str, Any]:
        table = self._projects.table(self._projects.current(name))
        try:
            made = baseline.decoded(body)
        except msgspec.MsgspecError as error:
            raise PointsmanError(
                Kind.INVALID,
                f"the body is no profile: {error}",
                hint="`pointsman profile NAME FILE` makes one of a file",
            ) from None
        wrong = problems(made, [feature.name for feature in table.features], len(body))
        if wrong:
            raise PointsmanError(
                Kind.INVALID,
                f"the profile has {len(wrong)} problem{'s' if len(wrong) > 1 else ''}",
                violations=tuple(wrong),
            )
        made = msgspec.structs.replace(made, answers=(), variant="", version="")
        new = baseline.reference(name, made, self._ledger.now_ms(), actor=who)
        sentence = f"{name}: inputs are compared with {made.source} from now on, n={made.n:,}"
        self._ledger.note(
            _entry(name, who, sentence, new.id),
            lambda connection: references.put(connection, new),
        )
        return {"project": name, "reference": new.id, "sentence": sentence}


def _entry(name: str, who: str, sentence: str, reference: str) -> Entry:
    return Entry(
        actor=who,
        tenant=name.partition("/")[0],
        target=name,
        action="reference",
        sentence=sentence,
        payload={"reference": reference},
    )


def _nothing(_: object) -> None:
    """What was done is done."""
