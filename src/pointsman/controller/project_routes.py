"""Projects over HTTP: what `pointsman apply`, `plan`, `undo`, `kill` and their kin call."""

from typing import Annotated, Any, Protocol

import msgspec
from fastapi import Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from pointsman.controller import plan_view
from pointsman.controller.aliases import Aliases
from pointsman.controller.changes import Difference
from pointsman.controller.outlook import DAY_MS, LAST, MOST, MOST_SAMPLE, SAMPLE, Window
from pointsman.controller.permissions import GRANTS, Permission, Principal, Route, caller
from pointsman.controller.projects import Intent, Outcome, Projects
from pointsman.controller.rollcall import RollCall
from pointsman.controller.switches import Switches
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.names import is_name, qualified
from pointsman.spec import canonical
from pointsman.spec.load import load_text
from pointsman.spec.models import Project

_ROOT = "/v1/tenants/{tenant}/projects/{project}"
MOST_WAIT_S = 60.0

Wait = Annotated[float, Query(ge=0, le=MOST_WAIT_S)]
Last = Annotated[int, Query(ge=1, le=MOST)]


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of the verbs; all of it optional."""

    reason: str = ""
    to: int | None = None
    variant: str = ""


class UndoRollout(Protocol):
    """The part of a rollout's routes that `undo` hands over to."""

    def takes_undo(self, name: str) -> bool: ...

    async def undo(self, who: Principal, name: str, reason: str, wait: float) -> dict[str, Any]: ...


class ProjectRoutes:
    """The verbs on projects."""

    def __init__(
        self,
        projects: Projects,
        switches: Switches,
        aliases: Aliases,
        rollouts: UndoRollout,
        workers: RollCall,
    ) -> None:
        self._projects = projects
        self._rollouts = rollouts
        self._switches = switches
        self._aliases = aliases
        self._workers = workers

    def routes(self) -> list[Route]:
        read, write = Permission.READ, Permission.WRITE
        return [
            Route("GET", _ROOT, read, self.get),
            Route("PUT", _ROOT, write, self.apply),
            Route("DELETE", _ROOT, write, self.delete),
            Route("POST", _ROOT + ":plan", read, self.plan),
            Route("POST", _ROOT + "/plans/{plan}:approve", Permission.APPROVE, self.approve_plan),
            Route("POST", _ROOT + ":undo", write, self.undo),
            Route("POST", _ROOT + ":kill", write, self.kill),
            Route("POST", _ROOT + ":unkill", write, self.unkill),
            Route("GET", _ROOT + "/diff", read, self.diff),
            Route("GET", _ROOT + "/revisions/{number}", read, self.revision),
            Route("GET", _ROOT + "/proposals", read, self.proposals),
            Route("POST", _ROOT + "/proposals/{proposal}:accept", write, self.accept),
            Route("POST", _ROOT + "/proposals/{proposal}:dismiss", write, self.dismiss),
        ]

    def get(self, response: Response, tenant: str, project: str) -> dict[str, Any]:
        found = self._projects.current(qualified(tenant, project))
        response.headers["etag"] = f'"{found.number}"'
        features = self._projects.table(found).features
        return _revision(found) | {"features": msgspec.to_builtins(features)}

    def revision(self, tenant: str, project: str, number: int) -> dict[str, Any]:
        return _revision(self._projects.revision(qualified(tenant, project), number))

    def diff(
        self,
        tenant: str,
        project: str,
        before: Annotated[int, Query(alias="from", ge=1)],
        after: Annotated[int, Query(alias="to", ge=1)],
    ) -> dict[str, Any]:
        return _difference(self._projects.compare(qualified(tenant, project), before, after))

    async def plan(  # noqa: PLR0913, PLR0917 - each is a part of the request
        self,
        request: Request,
        tenant: str,
        project: str,
        replay: bool = True,  # noqa: FBT001, FBT002 - a parameter of the query
        last: Last = LAST,
        since_s: Annotated[int | None, Query(ge=0)] = None,
        value: str = "",
        sample: Annotated[int, Query(ge=0, le=MOST_SAMPLE)] = SAMPLE,
    ) -> dict[str, Any]:
        """Without since_s, decisions of the last 24 hours; 0 = of any age."""
        declared = await _declared(request, tenant, project)
        since_ms = DAY_MS if since_s is None else since_s * 1000 or None
        window = Window(last, since_ms, value, sample) if replay else None
        who = caller(request)
        # Whoever may only look or agree is not the author of what they look at.
        intent = Intent(who.actor if Permission.WRITE in GRANTS[who.role] else "")
        planned = await run_in_threadpool(self._projects.plan, declared, intent, window)
        return {
            "project": planned.project,
            "parent": planned.number,
            "revision": planned.digest,
            "changed": planned.changed,
            "pins": planned.pins,
            **_difference(planned.difference),
            **plan_view.outlook(declared, planned.course, planned.seen, planned.standing),
        }

    async def approve_plan(
        self, request: Request, tenant: str, project: str, plan: str
    ) -> dict[str, Any]:
        """Agrees to a change somebody else wants to apply, and to nothing else."""
        change = await _change(request)
        name, who = qualified(tenant, project), caller(request)
        told = await run_in_threadpool(
            self._projects.gate.approve, name, plan, who.actor, change.reason
        )
        return {"project": name, "plan": plan, "sentence": told}

    async def apply(  # noqa: PLR0913, PLR0917 - each is a part of the request
        self,
        request: Request,
        response: Response,
        tenant: str,
        project: str,
        reason: str = "",
        wait: Wait = 0.0,
        force: bool = False,  # noqa: FBT001, FBT002 - a parameter of the query
    ) -> dict[str, Any]:
        """Creates or replaces. If-Match names the revision the change was made to; without it only
        a project that does not exist yet is created."""
        parent = _parent(request, required=True)
        intent = Intent(caller(request).actor, reason, parent, force)
        declared = await _declared(request, tenant, project)
        outcome = await run_in_threadpool(self._projects.apply, declared, intent)
        response.headers["etag"] = f'"{outcome.number}"'
        return await self._answer(outcome, wait)

    async def delete(
        self, request: Request, tenant: str, project: str, reason: str = ""
    ) -> dict[str, Any]:
        intent = Intent(caller(request).actor, reason, _parent(request))
        name = qualified(tenant, project)
        return await self._answer(await run_in_threadpool(self._projects.delete, name, intent), 0.0)

    async def undo(
        self, request: Request, tenant: str, project: str, wait: Wait = 0.0
    ) -> dict[str, Any]:
        """Of a rollout that is under way or has just succeeded, unless a revision is named."""
        change = await _change(request)
        intent = Intent(caller(request).actor, change.reason, _parent(request))
        name = qualified(tenant, project)
        if change.to is None and await run_in_threadpool(self._rollouts.takes_undo, name):
            return await self._rollouts.undo(caller(request), name, change.reason, wait)
        outcome = await run_in_threadpool(self._projects.undo, name, change.to, intent)
        return await self._answer(outcome, wait)

    async def kill(
        self, request: Request, tenant: str, project: str, wait: Wait = 0.0
    ) -> dict[str, Any]:
        return await self._switch(request, qualified(tenant, project), wait, kill=True)

    async def unkill(
        self, request: Request, tenant: str, project: str, wait: Wait = 0.0
    ) -> dict[str, Any]:
        return await self._switch(request, qualified(tenant, project), wait, kill=False)

    def proposals(self, tenant: str, project: str, state: str = "") -> dict[str, Any]:
        name = qualified(tenant, project)
        self._projects.current(name)
        found = self._aliases.proposals(name, state)
        return {"proposals": [msgspec.to_builtins(proposal) for proposal in found]}

    async def accept(  # noqa: PLR0913, PLR0917 - each is a part of the request
        self,
        request: Request,
        tenant: str,
        project: str,
        proposal: str,
        wait: Wait = 0.0,
        force: bool = False,  # noqa: FBT001, FBT002 - a parameter of the query
    ) -> dict[str, Any]:
        change = await _change(request)
        intent = Intent(caller(request).actor, change.reason, _parent(request), force)
        name = qualified(tenant, project)
        outcome = await run_in_threadpool(self._aliases.accept, name, proposal, intent)
        return await self._answer(outcome, wait)

    async def dismiss(
        self, request: Request, tenant: str, project: str, proposal: str
    ) -> dict[str, Any]:
        change = await _change(request)
        intent = Intent(caller(request).actor, change.reason)
        name = qualified(tenant, project)
        found = await run_in_threadpool(self._aliases.dismiss, name, proposal, intent)
        body: dict[str, Any] = msgspec.to_builtins(found)
        return body

    async def _switch(
        self, request: Request, name: str, wait: float, *, kill: bool
    ) -> dict[str, Any]:
        change = await _change(request)
        intent = Intent(caller(request).actor, change.reason)
        act = self._switches.kill if kill else self._switches.lift
        changed, table = await run_in_threadpool(act, name, change.variant, intent)
        switches = await run_in_threadpool(self._switches.of, name)
        return {
            "project": name,
            "changed": changed,
            "switches": [msgspec.to_builtins(switch) for switch in switches],
            "table": table,
            "workers": await self._workers.wait_for_table(table, wait),
        }

    async def _answer(self, outcome: Outcome, wait: float) -> dict[str, Any]:
        return {
            "project": outcome.project,
            "number": outcome.number,
            "revision": outcome.digest,
            "changed": outcome.changed,
            "sentence": outcome.sentence,
            "table": outcome.table,
            **_difference(outcome.difference),
            "workers": await self._workers.wait_for_table(outcome.table, wait),
        }


async def _declared(request: Request, tenant: str, project: str) -> Project:
    """The one project in the body, JSON or YAML, checked as a whole. The path must name it."""
    try:
        text = (await request.body()).decode("utf-8")
    except UnicodeDecodeError as error:
        raise PointsmanError(Kind.MALFORMED, f"the body is not UTF-8: {error.reason}") from None
    found = await run_in_threadpool(load_text, text, "body")
    if len(found) != 1:
        raise PointsmanError(
            Kind.INVALID, f"the body holds {len(found)} projects", hint="send one at a time"
        )
    if (found[0].tenant, found[0].name) != (tenant, project):
        raise PointsmanError(
            Kind.INVALID,
            f"the path names {tenant}/{project}, the body {found[0].tenant}/{found[0].name}",
            hint="both must be the same",
        )
    return found[0]


async def _change(request: Request) -> Change:
    body = await request.body()
    if not body:
        return Change()
    try:
        change = msgspec.json.decode(body, type=Change)
    except msgspec.DecodeError as error:
        raise PointsmanError(Kind.MALFORMED, f"body: {error}") from None
    if change.variant and not is_name(change.variant):
        raise PointsmanError(Kind.INVALID, f"not a variant name: {change.variant[:80]!r}")
    return change


def _parent(request: Request, *, required: bool = False) -> int | None:
    """The revision a change was made to. required: without If-Match, it is 0: a new project"""
    text = request.headers.get("if-match", "").strip()
    if not text or text == "*":
        return 0 if required and not text else None
    number = text.removeprefix("W/").strip('"')
    if not number.isdigit():
        raise PointsmanError(
            Kind.MALFORMED,
            f"If-Match: {text[:80]} is not a revision number",
            hint='send the ETag of GET, such as If-Match: "3"',
        )
    return int(number)


def _revision(found: Any) -> dict[str, Any]:
    return {
        "project": found.project,
        "number": found.number,
        "parent": found.parent,
        "revision": found.digest,
        "cause": found.cause,
        "restores": found.restores,
        "at_ms": found.at_ms,
        "actor": found.actor,
        "reason": found.reason,
        "table_digest": found.table_digest,
        "document": canonical.document(canonical.parse(found.spec)),
    }


def _difference(found: Difference) -> dict[str, Any]:
    return {
        "changes": [msgspec.to_builtins(change) for change in found.changes],
        "moves": [
            {
                "rule": move.rule,
                "share": move.share,
                "flows": [
                    {"from": before, "to": after, "share": share}
                    for before, after, share in move.flows
                ],
            }
            for move in found.moves
        ],
        "summary": {
            "add": found.add,
            "change": found.change,
            "destroy": found.destroy,
            "text": found.summary,
        },
    }
