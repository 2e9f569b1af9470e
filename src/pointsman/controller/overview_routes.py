"""Reading over HTTP: projects at a glance, status, history, decisions and their explanations."""

from typing import Annotated, Any

from fastapi import Query, Request

from pointsman.controller.explanation import Explanations, Known, shown
from pointsman.controller.permissions import Permission, Route, caller
from pointsman.controller.projects import Projects
from pointsman.controller.rollout_view import RolloutViews
from pointsman.controller.status import Statuses
from pointsman.domain.decision import Reason
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.names import qualified
from pointsman.store.overview import Filter

_ROOT = "/v1/tenants/{tenant}/projects/{project}"
Limit = Annotated[int, Query(ge=1, le=1000)]


class OverviewRoutes:
    """What changes nothing."""

    def __init__(
        self,
        statuses: Statuses,
        explanations: Explanations,
        projects: Projects,
        rollouts: RolloutViews,
    ) -> None:
        self._statuses = statuses
        self._explanations = explanations
        self._projects = projects
        self._rollouts = rollouts

    def routes(self) -> list[Route]:
        read = Permission.READ
        return [
            Route("GET", "/v1/projects", read, self.list_projects),
            Route("GET", _ROOT + "/status", read, self.status),
            Route("GET", _ROOT + "/history", read, self.history),
            Route("GET", _ROOT + "/decisions", read, self.decisions),
            Route("GET", "/v1/decisions/{decision_id:path}:explain", read, self.explain),
            Route("GET", "/v1/decisions/{decision_id:path}", read, self.decision),
            Route("GET", "/v1/feedback/{feedback_id:path}", read, self.feedback),
        ]

    def list_projects(self, request: Request, tenant: str = "") -> dict[str, Any]:
        who = caller(request)
        if tenant and not who.may_touch(tenant):
            raise PointsmanError(Kind.NOT_FOUND, f"no tenant {tenant!r}")
        found = self._statuses.overview(tenant or who.tenant)
        return {
            "projects": [{**one, "rollout": self._rollouts.glance(one["project"])} for one in found]
        }

    def status(
        self, tenant: str, project: str, since_ms: Annotated[int, Query(ge=0)] = 0
    ) -> dict[str, Any]:
        name = qualified(tenant, project)
        return {**self._statuses.status(name, since_ms), "rollout": self._rollouts.of(name)}

    def history(self, tenant: str, project: str, limit: Limit = 100) -> dict[str, Any]:
        name = qualified(tenant, project)
        self._projects.revision(name, 1)
        return self._statuses.history(name, limit)

    def decisions(  # noqa: PLR0913, PLR0917 - a parameter of a route is one of its query
        self,
        tenant: str,
        project: str,
        limit: Limit = 20,
        unit: str = "",
        variant: str = "",
        reason: Reason | None = None,
        until_ms: Annotated[int, Query(ge=0)] = 0,
    ) -> dict[str, Any]:
        name = qualified(tenant, project)
        wanted = Filter(unit, variant, reason or "", until_ms)
        return {"decisions": self._explanations.decisions(name, limit, wanted)}

    def explain(self, request: Request, decision_id: str) -> dict[str, Any]:
        return self._explanations.explain(self._known(request, decision_id))

    def decision(self, request: Request, decision_id: str) -> dict[str, Any]:
        return shown(self._known(request, decision_id).record)

    def feedback(self, request: Request, feedback_id: str) -> dict[str, Any]:
        found = self._explanations.feedback(feedback_id, caller(request).tenant)
        if found is None:
            raise PointsmanError(
                Kind.NOT_FOUND,
                f"no feedback {feedback_id[:80]!r} has been read yet",
                hint="feedback is joined about a second after it is acknowledged",
            )
        return found

    def _known(self, request: Request, decision_id: str) -> Known:
        return self._explanations.find(decision_id, caller(request).tenant)
