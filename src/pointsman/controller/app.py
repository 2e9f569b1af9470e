"""The admin API as one ASGI application."""

from collections.abc import Collection, Sequence

from fastapi import FastAPI
from starlette.types import ASGIApp

from pointsman import __version__
from pointsman.controller import problem
from pointsman.controller.edge import Edge
from pointsman.controller.permissions import (
    Authenticator,
    Permission,
    Route,
    mount,
    require_declared,
)


def build(
    routes: Sequence[Route], authenticator: Authenticator, hosts: Collection[str] = ()
) -> ASGIApp:
    """The application. Raises RuntimeError where a route declares no permission.

    The interactive pages of the API's documentation are left out: they would need an exception
    from authentication. Its schema is at /v1/openapi.json, for those who may read.
    """
    app = FastAPI(
        title="Pointsman admin API",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problem.install(app)
    schema = Route("GET", "/v1/openapi.json", Permission.READ, app.openapi)
    mount(app, [*routes, schema], authenticator)
    require_declared(app)
    return Edge(app, hosts)
