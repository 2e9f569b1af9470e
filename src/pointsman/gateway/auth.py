"""Who may call what on the data plane: keys by digest, permissions by route."""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.names import DEFAULT_TENANT
from pointsman.domain.table import DataKey
from pointsman.gateway.pages import check_page

MAX_HEADER: Final = 512


class Permission(StrEnum):
    """What a route asks for. `PUBLIC` routes answer anybody and tell nothing of any tenant."""

    PUBLIC = "public"
    INFER = "infer"
    DECIDE = "decide"
    FEEDBACK = "feedback"
    PIN = "pin"
    METRICS = "metrics"


class Principal:
    """Who calls: tenant, what it may do, and the id of its key (empty on an open gateway)."""

    __slots__ = ("key", "permissions", "tenant")

    def __init__(self, tenant: str, permissions: frozenset[str], key: str = "") -> None:
        self.tenant = tenant
        self.permissions = permissions
        self.key = key

    def require(self, permission: Permission) -> None:
        """Raises PointsmanError(FORBIDDEN) without it."""
        if permission not in self.permissions:
            who = f"key {self.key}" if self.key else "a caller without a key"
            raise PointsmanError(
                Kind.FORBIDDEN,
                f"{who} has no permission to {permission.value}",
                hint="ask for a data key with this permission",
            )


_ALL: Final = frozenset(p.value for p in Permission if p is not Permission.PUBLIC)
_OPEN_LOCAL: Final = Principal(DEFAULT_TENANT, _ALL)
_OPEN_REMOTE: Final = Principal(DEFAULT_TENANT, _ALL - {Permission.PIN.value})
"""A pin passes by the rules, so without keys it is for callers on this machine only."""


class Shut:
    """Who may call a gateway that has no table yet: nobody, since it does not know any key."""

    def principal(self, _headers: Mapping[bytes, bytes]) -> Principal:
        """Raises PointsmanError(UNAVAILABLE)."""
        raise PointsmanError(
            Kind.UNAVAILABLE,
            "no table is loaded yet",
            hint="send again after the time in retry-after; `pointsman doctor` says why",
        )


class Gatekeeper:
    """The keys of one manifest, and what happens without one.

    Once any key was made, every call that is not public needs one, also after the last was revoked.
    Before that, calls without a key are open on loopback (everything) and under `insecure`
    (everything but pins), and refused elsewhere. A key that is not known is refused everywhere:
    whoever sends one counts on it being looked at.

    keyed: whether a key was ever made
    """

    __slots__ = ("_by_digest", "_loopback", "_open")

    def __init__(
        self, keys: tuple[DataKey, ...], *, loopback: bool, insecure: bool, keyed: bool = False
    ) -> None:
        self._by_digest = {
            bytes.fromhex(key.digest): Principal(key.tenant, frozenset(key.permissions), key.id)
            for key in keys
        }
        self._loopback = loopback
        self._open: Principal | None = None
        if not keys and not keyed and (loopback or insecure):
            self._open = _OPEN_LOCAL if loopback else _OPEN_REMOTE

    def principal(self, headers: Mapping[bytes, bytes]) -> Principal:
        """Who the `authorization` header says is calling.

        Looked up by the digest of the whole secret: how long that takes says nothing about any
        key. Raises PointsmanError: UNAUTHENTICATED, and on an open gateway FORBIDDEN for what a
        web page of elsewhere sent.
        """
        authorization = headers.get(b"authorization")
        if authorization is None and self._open is not None:
            check_page(headers, loopback=self._loopback)
            return self._open
        if authorization is not None and len(authorization) <= MAX_HEADER:
            scheme, _, secret = authorization.partition(b" ")
            if scheme.lower() == b"bearer":
                digest = hashlib.blake2b(secret.strip(), digest_size=32).digest()
                known = self._by_digest.get(digest)
                if known is not None:
                    return known
        raise PointsmanError(
            Kind.UNAUTHENTICATED,
            "a data key is needed" if authorization is None else "this data key is not known",
            hint="send `authorization: Bearer <key>`; `pointsman key create` makes one",
        )
