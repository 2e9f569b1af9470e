"""Rollouts over HTTP: how one stands, and what people may ask of it. Each is answered at once."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from pointsman.controller.feed import Feed
from pointsman.controller.permissions import Permission, Principal, Route, caller
from pointsman.controller.project_routes import Wait
from pointsman.controller.rollcall import RollCall
from pointsman.controller.rollout_view import RolloutViews
from pointsman.controller.rollouts import Rollouts
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.names import qualified
from pointsman.rollout.observation import Command, Verb

Endpoint = Callable[..., Awaitable[dict[str, Any]]]

_ROOT: Final = "/v1/tenants/{tenant}/projects/{project}"
_VERBS: Final = {
    Verb.PROMOTE: Permission.WRITE,
    Verb.PAUSE: Permission.WRITE,
    Verb.RESUME: Permission.WRITE,
    Verb.ABORT: Permission.WRITE,
    Verb.RETRY: Permission.WRITE,
    Verb.APPROVE: Permission.APPROVE,
}
"""Verbs with a route of their own; that of `undo` is for projects without a rollout as well."""


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of the verbs; all of it optional. full: of `promote`"""

    reason: str = ""
    full: bool = False


class RolloutRoutes:
    """The verbs on rollouts."""

    def __init__(
        self,
        rollouts: Rollouts,
        views: RolloutViews,
        workers: RollCall,
        feed: Feed,
    ) -> None:
        self._rollouts = rollouts
        self._views = views
        self._workers = workers
        self._feed = feed

    def routes(self) -> list[Route]:
        return [
            Route("GET", _ROOT + "/rollout", Permission.READ, self.get),
            *(
                Route("POST", f"{_ROOT}:{verb.value}", permission, self._endpoint(verb))
                for verb, permission in _VERBS.items()
            ),
        ]

    def get(self, tenant: str, project: str) -> dict[str, Any]:
        name = qualified(tenant, project)
        found = self._views.of(name)
        if found is None:
            raise PointsmanError(
                Kind.NOT_FOUND,
                f"{name} declares no rollout",
                hint="add a `rollout` block to its file",
            )
        return {"project": name, **found}

    def takes_undo(self, name: str) -> bool:
        """As `Rollouts.takes_undo`."""
        return self._rollouts.takes_undo(name)

    async def undo(self, who: Principal, name: str, reason: str, wait: float) -> dict[str, Any]:
        """`undo` of a rollout, which the route of the same name hands over."""
        return await self._answered(name, _command(who, Verb.UNDO, Asked(reason)), wait)

    def _endpoint(self, verb: Verb) -> Endpoint:
        async def ask(
            request: Request, tenant: str, project: str, wait: Wait = 0.0
        ) -> dict[str, Any]:
            command = _command(caller(request), verb, await _asked(request))
            return await self._answered(qualified(tenant, project), command, wait)

        ask.__name__ = verb.value  # what the description of the API calls it
        return ask

    async def _answered(self, name: str, command: Command, wait: float) -> dict[str, Any]:
        answer = await run_in_threadpool(self._rollouts.ask, name, command)
        if not answer.accepted:
            raise PointsmanError(
                Kind.CONFLICT, answer.sentence, hint="`status` shows where the rollout stands"
            )
        newest = self._feed.newest
        table = newest.version if newest is not None else 0
        return {
            "project": name,
            "sentence": answer.sentence,
            "table": table,
            "workers": await self._workers.wait_for_table(table, wait),
        }


def _command(who: Principal, verb: Verb, asked: Asked) -> Command:
    return Command(
        seq=0,
        verb=verb,
        actor=who.actor,
        roles=who.acts_as,
        reason=asked.reason,
        full=asked.full,
    )


async def _asked(request: Request) -> Asked:
    body = await request.body()
    if not body:
        return Asked()
    try:
        return msgspec.json.decode(body, type=Asked)
    except msgspec.DecodeError as error:
        raise PointsmanError(Kind.MALFORMED, f"body: {error}") from None
