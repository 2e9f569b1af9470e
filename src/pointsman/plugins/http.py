"""A small blocking HTTP client for registries: strict time and size limits, no redirects.

It talks to the one base address the operator gave, so nothing a server says can send it elsewhere.
Environment proxies are not used.
"""

import http.client
import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from pointsman.domain.errors import Kind, PointsmanError

MAX_JSON_BYTES: Final = 4 << 20
_CHUNK: Final = 1 << 18


class Answer(Exception):  # noqa: N818 - an answer that is no success, not a failure of ours
    """The server answered with a status other than 200. code: MLflow's `error_code`, if any."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message


class HttpClient:
    """GET, POST of small JSON documents and PUT of files, below one base URL.

    authorization: makes the Authorization header of each request, empty for none
    timeout_s: for connecting and for each wait for bytes
    """

    def __init__(
        self, url: str, *, authorization: Callable[[], str] = str, timeout_s: float = 10.0
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
            raise PointsmanError(
                Kind.INVALID,
                f"{url!r} is not the address of a registry",
                hint="write it like https://mlflow.example.com",
            )
        if parts.username or parts.password:
            raise PointsmanError(
                Kind.INVALID,
                "the registry's address holds a password",
                hint="give it as a separate secret: addresses end up in logs",
            )
        self.url = url.rstrip("/")
        self.host = parts.hostname
        self._port = parts.port
        self._tls = parts.scheme == "https"
        self._prefix = parts.path.rstrip("/")
        self._headers = {"Accept": "*/*", "User-Agent": "pointsman"}
        self._authorization = authorization
        self._timeout_s = timeout_s

    def json(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        """The JSON object at the path. Raises Answer, or PointsmanError(BACKEND_FAILED)."""
        deadline = time.monotonic() + 3 * self._timeout_s
        target = f"{path}?{urlencode(query)}" if query else path
        with self._get(target) as response:
            body = b"".join(self._chunks(response, MAX_JSON_BYTES, deadline))
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise self._failed(f"answered {path} with something that is not a JSON object")
        return document

    def post(self, path: str, document: Mapping[str, Any]) -> None:
        """Sends a JSON object; the answer's body is of no interest. Raises as `json`."""
        deadline = time.monotonic() + 3 * self._timeout_s
        with self._request("POST", path, json.dumps(document).encode()) as response:
            for _ in self._chunks(response, MAX_JSON_BYTES, deadline):
                pass

    def put(self, path: str, body: bytes) -> None:
        """Sends bytes to be kept at the path. Raises as `json`."""
        deadline = time.monotonic() + 3 * self._timeout_s
        with self._request("PUT", path, body) as response:
            for _ in self._chunks(response, MAX_JSON_BYTES, deadline):
                pass

    def stream(self, path: str, max_bytes: int, timeout_s: float) -> Iterator[bytes]:
        """The body in chunks. Raises as `json`, and TOO_LARGE past `max_bytes`."""
        with self._get(path) as response:
            yield from self._chunks(response, max_bytes, time.monotonic() + timeout_s)

    def _get(self, target: str) -> AbstractContextManager[http.client.HTTPResponse]:
        return self._request("GET", target, None)

    @contextmanager
    def _request(
        self, method: str, target: str, body: bytes | None
    ) -> Iterator[http.client.HTTPResponse]:
        secret = self._authorization()
        headers = {**self._headers, "Authorization": secret} if secret else dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = self._connection()
        try:
            connection.request(method, self._prefix + target, body=body, headers=headers)
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise self._not_ok(response)
            yield response
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(f"cannot be reached: {type(error).__name__}: {error}") from None
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls:
            return http.client.HTTPSConnection(
                self.host,
                self._port,
                timeout=self._timeout_s,
                context=ssl.create_default_context(),
            )
        return http.client.HTTPConnection(self.host, self._port, timeout=self._timeout_s)

    def _not_ok(self, response: http.client.HTTPResponse) -> Exception:
        if 300 <= response.status < 400:
            return self._failed(f"answered with a redirect ({response.status})")
        if response.status in {401, 403}:
            return self._failed(f"refused our credentials ({response.status})")
        body = response.read(65_536)
        try:
            document = json.loads(body)
            code, message = str(document["error_code"]), str(document["message"])
        except (ValueError, KeyError, TypeError, RecursionError):
            code, message = "", ""
        return Answer(response.status, code, message[:300])

    def _chunks(
        self, response: http.client.HTTPResponse, max_bytes: int, deadline: float
    ) -> Iterator[bytes]:
        length = response.length
        left = max_bytes
        while chunk := response.read1(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise PointsmanError(
                    Kind.TOO_LARGE, f"{self.url} sent more than {max_bytes:,} bytes"
                )
            if time.monotonic() > deadline:
                raise self._failed("is too slow")
            yield chunk
        if length is not None and max_bytes - left != length:
            raise self._failed("stopped in the middle of its answer")

    def _failed(self, what: str) -> PointsmanError:
        return PointsmanError(
            Kind.BACKEND_FAILED,
            f"the registry at {self.url} {what}",
            hint="check that it runs and that its address and credentials are right",
        )
