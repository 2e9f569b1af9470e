"""The dashboard's files over HTTP. They hold no data, so they ask for no token."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Final, NamedTuple

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from pointsman.controller.permissions import Permission, Route
from pointsman.domain.errors import Kind, PointsmanError

ROOT: Final = "/ui/"
_PAGE: Final = "index.html"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_INLINE: Final = re.compile(rb'<script type="importmap">(.*?)</script>', re.DOTALL)


class _File(NamedTuple):
    body: bytes
    media_type: str
    etag: str


class DashboardRoutes:
    """Serves what lies in a directory, read once: nothing else can be asked for."""

    def __init__(self, directory: Path) -> None:
        self._files = {
            path.relative_to(directory).as_posix(): _file(path)
            for path in sorted(directory.rglob("*"))
            if path.suffix in _TYPES
        }
        self._policy = _policy(self._files[_PAGE].body)

    def routes(self) -> list[Route]:
        public = Permission.PUBLIC
        return [
            Route("GET", "/", public, self.entrance),
            Route("GET", "/ui", public, self.entrance),
            Route("GET", ROOT + "{path:path}", public, self.file),
        ]

    async def entrance(self) -> Response:
        return RedirectResponse(ROOT)

    async def file(self, request: Request, path: str) -> Response:
        """One file; whoever has it already is told so."""
        found = self._files.get(path or _PAGE)
        if found is None:
            raise PointsmanError(
                Kind.NOT_FOUND, f"the dashboard has no {path[:80]!r}", hint=f"begin at {ROOT}"
            )
        headers = {
            "etag": found.etag,
            "cache-control": "no-cache",
            "content-security-policy": self._policy,
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
        }
        if request.headers.get("if-none-match") == found.etag:
            return Response(status_code=304, headers=headers)
        return Response(found.body, media_type=found.media_type, headers=headers)


def _file(path: Path) -> _File:
    body = path.read_bytes()
    return _File(body, _TYPES[path.suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def _policy(page: bytes) -> str:
    """What the pages may do: load their own files and speak to this API, and nothing else.

    The one inline script says which module has which file; browsers take it from nowhere else.
    """
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(inline).digest()).decode()}'"
        for inline in _INLINE.findall(page)
    )
    return (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self'; "
        "style-src-attr 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
