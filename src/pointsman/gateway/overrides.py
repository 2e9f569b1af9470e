"""Kill switches of this gateway's own: a file on its disk, heeded within half a second.

They need no controller, database or registry. A file that cannot be read changes nothing: a torn
or mistyped file must never lift a switch.
"""

import time
from pathlib import Path
from typing import Final

import msgspec

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.gateway import files

FILE: Final = "overrides.json"
JOURNALED: Final = "overrides.journaled.json"
GUARD: Final = "guard"
"""Actor of the switches that the local guard sets."""


class Switch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """target: `tenant/project` (all to the champion) or `tenant/project/variant` (nothing there)

    version: of the variant, where the switch is about that one alone (the guard's are), else empty
    """

    target: str
    at_ms: int = 0
    actor: str = ""
    reason: str = ""
    version: str = ""


class Overrides(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of the file."""

    switches: tuple[Switch, ...] = ()
    format: int = 1


NONE: Final = Overrides()
_decoder = msgspec.json.Decoder(Overrides)


def read(path: Path) -> Overrides:
    """The switches that are set; none where there is no file.

    Raises PointsmanError(INVALID) for a file that is not one of ours.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return NONE
    try:
        return _decoder.decode(content)
    except (msgspec.DecodeError, ValueError) as error:
        raise PointsmanError(
            Kind.INVALID,
            f"{path}: {error}",
            hint="the switches read before stay in force; mend or remove the file",
        ) from None


def set_switch(path: Path, switch: Switch) -> bool:
    """Whether the switch was not set before; it is on disk when this returns. Raises OSError."""
    with files.locked(path.with_suffix(".lock")):
        current = read(path)
        if switch.target in {known.target for known in current.switches}:
            return False
        if not switch.at_ms:
            now_ms = time.time_ns() // 1_000_000
            switch = msgspec.structs.replace(switch, at_ms=now_ms)
        _write(path, (*current.switches, switch))
        return True


def lift_switch(path: Path, target: str) -> bool:
    """Whether the switch was set; it is gone from disk when this returns. Raises OSError."""
    with files.locked(path.with_suffix(".lock")):
        current = read(path)
        left = tuple(switch for switch in current.switches if switch.target != target)
        if len(left) == len(current.switches):
            return False
        _write(path, left)
        return True


def _write(path: Path, switches: tuple[Switch, ...]) -> None:
    files.replace(path, msgspec.json.format(msgspec.json.encode(Overrides(switches)), indent=2))


class Journaled:
    """Which switches are in the journal: one set while nobody wrote it down is written later.

    Of one worker alone. After a crash between the two a switch may be journaled twice, never not.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._known = read(path).switches
        except (PointsmanError, OSError):
            self._known = ()

    def news(self, current: Overrides) -> list[tuple[Switch, bool]]:
        """Each switch that was set (True) or lifted since, by target."""
        before = {switch.target: switch for switch in self._known}
        after = {switch.target: switch for switch in current.switches}
        changed = [t for t in before.keys() | after.keys() if before.get(t) != after.get(t)]
        return [
            (after.get(target) or before[target], target in after) for target in sorted(changed)
        ]

    def done(self, current: Overrides) -> None:
        """They are in the journal. Raises OSError."""
        self._known = current.switches
        _write(self._path, current.switches)


class Watch:
    """Notices changes of the file. `problem` says why the newest content is not in force."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self.current = NONE
        self.problem = ""

    def changed(self) -> bool:
        """Reads the file if it is another than last time; whether other switches are set now."""
        try:
            status = self._path.stat()
            identity = (status.st_mtime_ns, status.st_size, status.st_ino)
        except FileNotFoundError:
            identity = (0, 0, 0)
        if identity == self._seen:
            return False
        try:
            fresh = read(self._path)
        except (PointsmanError, OSError) as error:
            self.problem = str(error)
            return False
        self._seen = identity
        self.problem = ""
        before, self.current = self.current, fresh
        return before != fresh
