"""Rollouts over HTTP: how one stands, and what people may ask of it. Each is answered at once."""

from typing import Any

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

_ROOT = "/v1/tenants/{tenant}/projects/{project}"


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
        write = Permission.WRITE
        return [
            Route("GET", _ROOT + "/rollout", Permission.READ, self.get),
            Route("POST", _ROOT + ":promote", write, self.promote),
            Route("POST", _ROOT + ":pause", write, self.pause),
            Route("POST", _ROOT + ":resume", write, self.resume),
            Route("POST", _ROOT + ":abort", write, self.abort),
            Route("POST", _ROOT + ":retry", write, self.retry),
            Route("POST", _ROOT + ":approve", Permission.APPROVE, self.approve),
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

    async def promote(
        self, request: Request, tenant: str, project: str, wait: Wait = 0.0
    ) -> dict[str, Any]:
        return await self._ask(request, qualified(tenant, project), Verb.PROMOTE, wait)

    async def pause(
        self, request: Request, tenant: str, project: str, wait: Wait = 0.0
    ) -> dict[str, Any]:
        return await self._ask(request, qualified(tenant, project), Verb.PAUSE, wait)

    async def resume(
        self, request: Request, tenant: str, project: str, wait: Wait = 0.0
    ) -> dict[str, Any]:
        return await self._ask(request, qualified(tenant, project), Verb.RESUME, wait)

    async def abort(
        self, request: Request, tenant: str, project: str, wait: Wait = 0.0
    ) -> dict[str, Any]:
        return await self._ask(request, qualified(tenant, project), Verb.ABORT, wait)

    async def retry(
        self, request: Request, tenant: str, project: str, wait: Wait = 0.0
    ) -> dict[str, Any]:
        return await self._ask(request, qualified(tenant, project), Verb.RETRY, wait)

    async def approve(
        self, request: Request, tenant: str, project: str, wait: Wait = 0.0
    ) -> dict[str, Any]:
        return await self._ask(request, qualified(tenant, project), Verb.APPROVE, wait)

    def takes_undo(self, name: str) -> bool:
        """As `Rollouts.takes_undo`."""
        return self._rollouts.takes_undo(name)

    async def undo(self, who: Principal, name: str, reason: str, wait: float) -> dict[str, Any]:
        """`undo` of a rollout, which the route of the same name hands over."""
        return await self._answered(name, _command(who, Verb.UNDO, Asked(reason)), wait)

    async def _ask(self, request: Request, name: str, verb: Verb, wait: float) -> dict[str, Any]:
        command = _command(caller(request), verb, await _asked(request))
        return await self._answered(name, command, wait)

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
