"""Answers that are shown again for a while, so that people who watch keep no processor busy."""

import time
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")

TIMES: Final = 10.0
"""An answer is used again for so many times as long as it took to make."""


class Reused(Generic[_Key, _Value]):
    """Answers by key. Safe to use from several threads; two at once may make the same one."""

    def __init__(self) -> None:
        self._known: dict[_Key, tuple[float, _Value]] = {}

    def get(self, key: _Key, make: Callable[[], _Value]) -> _Value:
        """Made anew, or as it was up to ten times as long ago as making it took."""
        started = time.monotonic()
        known = self._known.get(key)
        if known is not None and started < known[0]:
            return known[1]
        found = make()
        now = time.monotonic()
        for old in [old for old, (end, _) in list(self._known.items()) if end < now]:
            self._known.pop(old, None)
        self._known[key] = (now + TIMES * (now - started), found)
        return found
