"""Reports over HTTP: kept, and shown where their scripts can reach nothing."""

from typing import Any, Final

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from pointsman.controller.permissions import Permission, Route, caller
from pointsman.controller.reports import Reports
from pointsman.domain.names import qualified

_ROOT: Final = "/v1/tenants/{tenant}/projects/{project}/report"
OPENED: Final = "/v1/reports/"
_HEADERS: Final = {
    # An origin of its own, so that it has no token; scripts that are in the page, and nothing else.
    "content-security-policy": "sandbox allow-scripts; default-src 'none'; "
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "content-disposition": "inline",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class ReportRoutes:
    """The newest report of a project. It may hold raw values: for those who may export."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def routes(self) -> list[Route]:
        export = Permission.EXPORT
        return [
            Route("PUT", _ROOT, export, self.put),
            Route("GET", _ROOT, export, self.get),
            Route("DELETE", _ROOT, export, self.forget),
            Route("GET", _ROOT + ":about", Permission.READ, self.about),
            Route("POST", _ROOT + ":open", export, self.open),
            Route("GET", OPENED + "{ticket}", Permission.PUBLIC, self.opened),
        ]

    async def put(self, request: Request, tenant: str, project: str) -> dict[str, Any]:
        body = await request.body()
        name, who = qualified(tenant, project), caller(request).actor
        return await run_in_threadpool(self._reports.put, name, body, who)

    def get(self, tenant: str, project: str) -> Response:
        return _page(self._reports.get(qualified(tenant, project)))

    def forget(self, request: Request, tenant: str, project: str) -> dict[str, Any]:
        return self._reports.forget(qualified(tenant, project), caller(request).actor)

    def about(self, tenant: str, project: str) -> dict[str, Any]:
        """Whether there is one, and of when; nothing of what it says."""
        return self._reports.about(qualified(tenant, project))

    def open(self, tenant: str, project: str) -> dict[str, Any]:
        """An address that shows it once, within a minute, to whoever has it."""
        return {"path": OPENED + self._reports.ticket(qualified(tenant, project))}

    def opened(self, ticket: str) -> Response:
        return _page(self._reports.opened(ticket))


def _page(page: bytes) -> Response:
    return Response(page, media_type="text/html; charset=utf-8", headers=_HEADERS)
