"""What gateways fetch: the table by long poll, blobs by digest, what became of feedback."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final

from fastapi import Query, Request, Response
from fastapi.responses import StreamingResponse

from pointsman.controller.feed import Feed, tag
from pointsman.controller.permissions import Permission, Route
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.runtime.blobs import BlobStore

_CHUNK: Final = 1 << 20
MOST_WAIT_S: Final = 60.0

FindFeedback = Callable[[str, str], dict[str, Any] | None]
"""What became of feedback by id and tenant (empty: of whichever tenant sent it first)."""


class GatewayRoutes:
    """The gateway's side of the admin API."""

    def __init__(self, feed: Feed, blobs: BlobStore, find_feedback: FindFeedback) -> None:
        self._feed = feed
        self._blobs = blobs
        self._find_feedback = find_feedback

    def routes(self) -> list[Route]:
        gateway = Permission.GATEWAY
        return [
            Route("GET", "/v1/gateway/table", gateway, self.table),
            Route("GET", "/v1/gateway/blobs/{digest}", gateway, self.blob),
            Route("GET", "/v1/gateway/feedback/{feedback_id:path}", gateway, self.feedback),
        ]

    async def table(
        self, request: Request, wait: Annotated[float, Query(ge=0, le=MOST_WAIT_S)] = 0.0
    ) -> Response:
        """The manifest, as soon as it is another than the one in If-None-Match; else 304."""
        known = request.headers.get("if-none-match", "")
        newest = await self._feed.after(known, wait)
        if newest is None:
            return Response(status_code=304, headers={"etag": known} if known else None)
        return Response(newest.body, media_type="application/json", headers={"etag": tag(newest)})

    def blob(self, digest: str) -> Response:
        """The bytes of one blob. Whoever fetches them checks them against the digest."""
        path = self._blobs.path(digest)
        if not self._blobs.has(digest):
            raise PointsmanError(Kind.NOT_FOUND, f"no blob {digest}")

        def chunks() -> Iterator[bytes]:
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk

        return StreamingResponse(
            chunks(),
            media_type="application/octet-stream",
            headers={
                "content-length": str(path.stat().st_size),
                "cache-control": "private, immutable",
            },
        )

    def feedback(self, feedback_id: str, tenant: str = "") -> dict[str, Any]:
        """What became of one piece of feedback; the body names its tenant."""
        found = self._find_feedback(feedback_id, tenant)
        if found is None:
            raise PointsmanError(
                Kind.NOT_FOUND,
                f"no feedback {feedback_id[:80]!r} has been read yet",
                hint="feedback is joined about a second after it is acknowledged",
            )
        return found
