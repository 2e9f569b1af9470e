"""What the gateway asks its controller: tables by long poll, blobs, states of feedback."""

import asyncio
import tempfile
import urllib.parse
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import Manifest
from pointsman.gateway.errors import body
from pointsman.gateway.manifest import read_manifest
from pointsman.gateway.schema import encode
from pointsman.gateway.settings import WorkerSettings
from pointsman.runtime.blobs import BlobStore

CONNECT_S: Final = 2.0
FEEDBACK_S: Final = 5.0
BLOB_SILENCE_S: Final = 10.0
MANIFEST_BYTES: Final = 16 << 20
_CHUNK: Final = 1 << 20


class ControllerClient:
    """One session a worker, made on the event loop and closed by `close`."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._base = settings.admin_url.rstrip("/")
        self._wait_s = settings.poll_wait_s
        self._scratch = settings.gateway / "incoming"
        self._session = aiohttp.ClientSession(
            headers={"authorization": f"Bearer {settings.gateway_token}"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._session.close()

    async def manifest(self, etag: str, *, wait: bool) -> tuple[Manifest, str] | None:
        """The manifest and its ETag, None where it is still the one of `etag`.

        wait: let the controller hold the answer until there is a new one
        Raises PointsmanError(UNAVAILABLE) where there is no sensible answer.
        """
        wait_s = self._wait_s if wait else 0.0
        url = f"{self._base}/v1/gateway/table?wait={wait_s:g}"
        limit = aiohttp.ClientTimeout(total=wait_s + 10.0, sock_connect=CONNECT_S)
        headers = {"if-none-match": etag} if etag else {}
        try:
            async with self._session.get(
                url, headers=headers, timeout=limit, allow_redirects=False
            ) as answer:
                if answer.status == 304:
                    return None
                if answer.status != 200:
                    raise _unexpected(url, answer.status, await answer.content.read(500))
                content = await _bounded(answer, MANIFEST_BYTES)
                tag = answer.headers.get("etag", "")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(self._base, error) from None
        return read_manifest(content), tag

    async def fetch(self, digest: str, blobs: BlobStore) -> None:
        """Puts one blob into the store. Raises PointsmanError (UNAVAILABLE, BACKEND_FAILED)."""
        url = f"{self._base}/v1/gateway/blobs/{digest}"
        limit = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=BLOB_SILENCE_S)
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._scratch) as file:
            try:
                async with self._session.get(url, timeout=limit, allow_redirects=False) as answer:
                    if answer.status != 200:
                        raise _unexpected(url, answer.status, await answer.content.read(500))
                    async for chunk in answer.content.iter_chunked(_CHUNK):
                        await asyncio.to_thread(file.write, chunk)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise _unreachable(self._base, error) from None
            file.flush()
            await asyncio.to_thread(blobs.put_file, Path(file.name), expected=digest)

    async def feedback_state(self, feedback_id: str, tenant: str) -> tuple[int, bytes]:
        """Status and JSON body for `GET /v1/feedback/{id}`; another tenant's is not found.

        Raises PointsmanError(UNAVAILABLE) where the controller does not answer.
        """
        unknown = PointsmanError(
            Kind.NOT_FOUND,
            f"no feedback {feedback_id[:80]!r} has been read yet",
            hint="feedback is joined about a second after it is acknowledged",
        )
        quoted = urllib.parse.quote(feedback_id, safe="")
        owner = urllib.parse.quote(tenant, safe="")
        url = f"{self._base}/v1/gateway/feedback/{quoted}?tenant={owner}"
        limit = aiohttp.ClientTimeout(total=FEEDBACK_S, sock_connect=CONNECT_S)
        try:
            async with self._session.get(url, timeout=limit, allow_redirects=False) as answer:
                content = await _bounded(answer, 1 << 20)
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(self._base, error) from None
        if status == 404:
            return 404, body(unknown)
        if status != 200:
            raise _unexpected(url, status, content[:500])
        found = msgspec.json.decode(content)
        if not isinstance(found, dict) or found.pop("tenant", tenant) != tenant:
            return 404, body(unknown)
        return 200, encode(found)


async def no_controller(_feedback_id: str, _tenant: str) -> tuple[int, bytes]:
    """What a gateway without a controller knows of feedback states."""
    raise PointsmanError(
        Kind.UNAVAILABLE,
        "this gateway has no controller to ask",
        hint="feedback is kept and joined when a controller reads the journal",
    )


async def _bounded(answer: aiohttp.ClientResponse, most: int) -> bytes:
    content = await answer.content.read(most + 1)
    while len(content) <= most:
        more = await answer.content.read(most + 1 - len(content))
        if not more:
            return content
        content += more
    raise PointsmanError(Kind.BACKEND_FAILED, f"the controller sent more than {most} bytes")


def _unexpected(url: str, status: int, said: bytes) -> PointsmanError:
    text = said.decode(errors="replace")
    return PointsmanError(
        Kind.UNAVAILABLE,
        f"the controller answered {status} to {url}: {text}",
        hint="check the gateway token and the controller's log",
    )


def _unreachable(base: str, error: Exception) -> PointsmanError:
    return PointsmanError(
        Kind.UNAVAILABLE,
        f"the controller at {base} does not answer: {str(error) or type(error).__name__}",
        hint="serving goes on without it; start it, or check the address",
    )
