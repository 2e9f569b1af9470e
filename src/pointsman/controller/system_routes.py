"""Health, versions, the installation's check-up, and the registry's webhook."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import msgspec
from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from pointsman import __version__
from pointsman.controller.news import News
from pointsman.controller.permissions import Permission, Route
from pointsman.domain.errors import Kind, PointsmanError

VerifyWebhook = Callable[[Mapping[str, str], bytes], object]
"""Raises PointsmanError(UNAUTHENTICATED) where a delivery is not signed by who it should be."""


class Check(msgspec.Struct, frozen=True):
    """One line of `doctor`. state: `ok`, `warning`, `failed`"""

    name: str
    state: str
    detail: str
    hint: str = ""


Probe = Callable[[], Check]
_encode: Final = msgspec.json.Encoder().encode
_BUSY: Final = "the check itself failed"


class SystemRoutes:
    """What concerns the installation as a whole.

    facts: what `version` tells besides the version; probes: what `doctor` runs
    webhooks: by registry name; nudge: called after a genuine delivery
    news: what `GET /v1/news` tells
    """

    def __init__(
        self,
        facts: Callable[[], dict[str, Any]],
        probes: list[Probe],
        webhooks: Mapping[str, VerifyWebhook],
        nudge: Callable[[], None],
        news: News,
    ) -> None:
        self._facts = facts
        self._probes = probes
        self._webhooks = webhooks
        self._nudge = nudge
        self._news = news

    def routes(self) -> list[Route]:
        public, read = Permission.PUBLIC, Permission.READ
        return [
            Route("GET", "/healthz", public, self.health),
            Route("GET", "/v1/version", read, self.version),
            Route("GET", "/v1/doctor", read, self.doctor),
            Route("GET", "/v1/news", read, self.news),
            Route("POST", "/v1/webhooks/mlflow/{registry}", public, self.webhook, 202),
        ]

    async def health(self) -> dict[str, str]:
        return {"status": "ok"}

    def version(self) -> dict[str, Any]:
        return {"version": __version__, **self._facts()}

    async def news(self) -> Response:
        """Server-sent events: `news`, each time something is new, once a second at most."""
        return StreamingResponse(
            self._told(), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )

    async def _told(self) -> AsyncIterator[bytes]:
        async for stamp in self._news.follow():
            said = b": still here" if stamp is None else b"event: news\ndata: " + _encode(stamp)
            yield said + b"\n\n"

    async def doctor(self) -> dict[str, Any]:
        checks = await asyncio.gather(*(asyncio.to_thread(_run, probe) for probe in self._probes))
        return {"checks": [msgspec.to_builtins(check) for check in checks]}

    async def webhook(self, request: Request, registry: str) -> dict[str, str]:
        """Nothing in the body is believed but that something changed: the registry is asked."""
        verify = self._webhooks.get(registry)
        if verify is None:
            raise PointsmanError(Kind.NOT_FOUND, f"no registry {registry[:80]!r} takes webhooks")
        verify(dict(request.headers), await request.body())
        self._nudge()
        return {"status": "noted"}


def _run(probe: Probe) -> Check:
    try:
        return probe()
    except Exception as error:  # noqa: BLE001 - a check-up reports what ails it
        name = getattr(probe, "__name__", "check").strip("_")
        return Check(name, "failed", f"{_BUSY}: {error}")
