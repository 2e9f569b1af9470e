"""The CLI's only door to the system: the admin API over HTTP."""

import http.client
import json
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, Final

from pointsman.cli.session import DEFAULT_URL
from pointsman.domain.errors import Kind, PointsmanError, Violation

_TIMEOUT_S: Final = 900.0
"""Applying may prepare models first; everything else answers at once."""
_CONNECT_S: Final = 5.0
_CHUNK: Final = 1 << 20


class Answer:
    """What the API said: the status, the ETag, the decoded body."""

    def __init__(self, status: int, etag: str, body: Any) -> None:
        self.status = status
        self.etag = etag
        self.body = body


class AdminClient:
    """Calls the admin API. Every refusal comes out as PointsmanError, violations included.

    No redirects are followed and no proxies asked: the token goes to the address given, or nowhere.
    """

    def __init__(self, url: str, token: str) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise PointsmanError(
                Kind.INVALID,
                f"not an address of an admin API: {url!r}",
                hint=f"it looks like {DEFAULT_URL}; set --url or POINTSMAN_URL",
            )
        self.url = url.rstrip("/")
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port or (443 if self._secure else 80)
        self._prefix = parts.path.rstrip("/")
        self._token = token

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Any:
        """The body of a GET."""
        return self.call("GET", path, query=query).body

    def post(self, path: str, body: Any = None, query: Mapping[str, object] | None = None) -> Any:
        """The body of a POST."""
        return self.call("POST", path, body=body, query=query).body

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, object] | None = None,
        if_match: str = "",
    ) -> Answer:
        """One call. Raises PointsmanError: as the API says, or UNAVAILABLE where there is none."""
        headers = {"if-match": if_match} if if_match else {}
        content = None
        if body is not None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers["content-type"] = "application/json"
        with self._asked(method, self._target(path, query), content, headers) as response:
            raw = response.read()
        return _answer(response.status, response.headers.get("etag", ""), raw)

    def download(
        self, path: str, query: Mapping[str, object], file: IO[bytes]
    ) -> Mapping[str, str]:
        """Writes the body of a GET to a file, as it comes; the answer's headers. Raises as `call`,
        also for an answer that ends before it is whole."""
        with self._asked("GET", self._target(path, query), None, {}) as response:
            if response.status >= 400:
                _answer(response.status, "", response.read())
            while chunk := response.read(_CHUNK):
                file.write(chunk)
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)
        return dict(response.headers.items())

    def _target(self, path: str, query: Mapping[str, object] | None) -> str:
        given = {key: value for key, value in (query or {}).items() if value not in ("", None)}
        asked = f"?{urllib.parse.urlencode(given, doseq=True)}" if given else ""
        return f"{self._prefix}{path}{asked}"

    @contextmanager
    def _asked(
        self, method: str, target: str, content: bytes | None, headers: dict[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer, to be read within; what goes wrong until then comes out as PointsmanError."""
        sent = {"accept": "application/json", **headers}
        if self._token:
            sent["authorization"] = f"Bearer {self._token}"
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=_CONNECT_S)
        try:
            connection.connect()
            connection.sock.settimeout(_TIMEOUT_S)
            connection.request(method, target, body=content, headers=sent)
            yield connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise PointsmanError(
                Kind.UNAVAILABLE,
                f"no answer from {self.url}: {error}",
                hint="is `pointsman serve` running? name its admin API with --url or POINTSMAN_URL",
            ) from None
        finally:
            connection.close()


def _answer(status: int, etag: str, raw: bytes) -> Answer:
    try:
        body = json.loads(raw) if raw else None
    except ValueError:
        body = None
    if status < 400:
        return Answer(status, etag, body)
    if not isinstance(body, dict):
        raise PointsmanError(Kind.INTERNAL, f"status {status} without a word from Pointsman")
    raise PointsmanError(
        _kind(str(body.get("title", ""))),
        str(body.get("detail", f"status {status}")),
        hint=str(body.get("hint", "")),
        violations=tuple(
            Violation(**{key: found[key] for key in found if key in Violation.__struct_fields__})
            for found in body.get("violations", [])
        ),
    )


def _kind(title: str) -> Kind:
    return Kind(title) if title in {kind.value for kind in Kind} else Kind.INTERNAL
