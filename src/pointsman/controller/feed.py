"""The newest manifest, held in memory for gateways that wait for the next one."""

import asyncio
import threading

from pointsman.store.published import Published


class Feed:
    """What `GET /v1/gateway/table` answers from: no database is asked, nobody waits for one.

    `put` may be called from any thread; the waiting is done on the event loop.
    """

    def __init__(self, first: Published | None) -> None:
        self._newest = first
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._closed = False
        self._putting = threading.Lock()

    @property
    def newest(self) -> Published | None:
        return self._newest

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Says on which loop the waiting happens."""
        self._loop = loop

    def put(self, published: Published) -> None:
        """Hands out `published` from now on; an older version than the newest is ignored."""
        with self._putting:
            if self._newest is not None and published.version <= self._newest.version:
                return
            self._newest = published
        self._wake()

    def close(self) -> None:
        """Lets everybody who waits go, with what there is."""
        self._closed = True
        self._wake()

    async def after(self, etag: str, wait_s: float) -> Published | None:
        """The newest manifest as soon as it is another than `etag`; None when time is up."""
        deadline = asyncio.get_running_loop().time() + wait_s
        while True:
            changed = self._changed
            newest = self._newest
            if newest is not None and tag(newest) != etag:
                return newest
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0 or self._closed:
                return None
            try:
                await asyncio.wait_for(changed.wait(), left_s)
            except TimeoutError:
                continue

    def _wake(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._swap)

    def _swap(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def tag(published: Published) -> str:
    """The ETag of a manifest: version and content, so that a restored database cannot fool it."""
    return f'"{published.version}-{published.digest[:16]}"'
