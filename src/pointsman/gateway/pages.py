"""Which requests a web page may have sent: an open gateway must not answer those of foreign pages.

Programs send none of these headers but `host`, and name this machine there. What browsers send
cannot be left out or made up by a page.
"""

import functools
import ipaddress
from collections.abc import Mapping
from typing import Final

from pointsman.domain.errors import Kind, PointsmanError

_FOREIGN: Final = frozenset({b"cross-site", b"same-site"})


def check_page(headers: Mapping[bytes, bytes], *, loopback: bool) -> None:
    """Raises PointsmanError(FORBIDDEN) for what a page of another origin sent, or may have sent.

    loopback: whether the listener is on loopback, where any name but `localhost` in `host` is one
        that somebody made to point here (DNS rebinding)
    """
    get = headers.get
    host = get(b"host")
    if loopback and host is not None and not _is_local(host):
        raise PointsmanError(
            Kind.FORBIDDEN,
            f"without keys this gateway is not addressed as {host[:80].decode('latin-1')!r}",
            hint="use localhost or 127.0.0.1, or make a data key",
        )
    origin = get(b"origin")
    if (origin is not None and not _is_local(origin.partition(b"://")[2])) or (
        get(b"sec-fetch-site", b"").lower() in _FOREIGN
    ):
        raise PointsmanError(
            Kind.FORBIDDEN,
            "without keys, requests from pages of another origin are not answered",
            hint="make a data key, and call from a program and not from a page",
        )


@functools.lru_cache(256)
def _is_local(host: bytes) -> bool:
    """Whether a host, with or without a port, is `localhost` or a loopback address."""
    name = host.strip().lower().decode("latin-1")
    if name.startswith("["):
        name, _, rest = name[1:].partition("]")
    else:
        name, colon, rest = name.partition(":")
        rest = colon + rest
    if rest and not (rest[0] == ":" and rest[1:].isdigit()):
        return False
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
