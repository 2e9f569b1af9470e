"""Shadows over HTTP: what `pointsman shadow` calls."""

from typing import Any

from pointsman.controller.permissions import Permission, Route
from pointsman.controller.shadowing import Shadowing
from pointsman.domain.names import qualified


class ShadowRoutes:
    """What changes nothing."""

    def __init__(self, shadowing: Shadowing) -> None:
        self._shadowing = shadowing

    def routes(self) -> list[Route]:
        path = "/v1/tenants/{tenant}/projects/{project}/shadow"
        return [Route("GET", path, Permission.READ, self.shadow)]

    def shadow(self, tenant: str, project: str) -> dict[str, Any]:
        return self._shadowing.compare(qualified(tenant, project))
