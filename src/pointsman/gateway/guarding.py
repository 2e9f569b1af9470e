"""The local guard: the gateway's parent looks at its workers' counts and takes a variant out.

Every second, with nothing but this machine's disk: the last known good table says what is watched,
the workers' counts say what happened, `judge.guard` says whether a bound is broken. A breach is a
local switch, as `kill --local` writes one, by the actor `guard`; workers heed it within half a
second and write it into the journal.

Only people lift it, or a table that has the variant in another version: the one that was judged is
gone. After people lifted it, evidence begins anew: they have seen what there was.
"""

import logging
import shutil
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from pointsman.domain.errors import PointsmanError
from pointsman.domain.names import qualified
from pointsman.domain.table import Guard, Manifest, ProjectTable
from pointsman.gateway import files
from pointsman.gateway.counters import Counters, Key, merged
from pointsman.gateway.manifest import LAST_GOOD, read_manifest
from pointsman.gateway.overrides import FILE as OVERRIDES
from pointsman.gateway.overrides import GUARD, Overrides, Switch, Watch, lift_switch, set_switch
from pointsman.gateway.tally import FAILED, GUARDS, REQUESTS, RUNS, N, Seen
from pointsman.judge.guard import WINDOW_S, Breach, Exposures, Failures, judge
from pointsman.runtime.blobs import BlobStore

TICK_S: Final = 1.0
_COUNTERS: Final = "guard.counters"
_STATE: Final = "state.json"
_YOUNG_S: Final = 60.0

_logger = logging.getLogger(__name__)
_tables = msgspec.json.Decoder(ProjectTable)


class _State(msgspec.Struct):
    """What outlives a restart.

    held: whether a switch keeps the variant out
    base: counts of before the last one was lifted, which no longer count
    """

    held: bool = False
    base: list[tuple[Key, int]] = []


class _Watched:
    """One guard of the table in use."""

    def __init__(self, guard: Guard, table: ProjectTable, directory: Path) -> None:
        self.guard = guard
        self.directory = directory
        self.project = qualified(table.tenant, table.project)
        self.target = f"{self.project}/{guard.variant}"
        self.version = next((v.version for v in table.variants if v.name == guard.variant), "")
        self.requests: deque[tuple[float, int, int]] = deque()
        self._path = directory / _STATE
        self.state = _State()
        try:
            self.state = msgspec.json.decode(self._path.read_bytes(), type=_State)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError) as error:
            _logger.error("%s is not used: %s", self._path, error)

    def hold(self) -> None:
        """Remembers that a switch keeps the variant out."""
        if not self.state.held:
            self._save(_State(True, self.state.base))

    def renew(self) -> None:
        """Begins anew: the switch was lifted."""
        if (self.directory / "seen").exists():
            seen = Seen(self.directory / "seen")
            seen.forget()
            seen.close()
        self.requests.clear()
        self._save(_State(False, list(merged(self.directory).items())))

    def _save(self, state: _State) -> None:
        files.replace(self._path, msgspec.json.encode(state))
        self.state = state

    def breach(self, now: float) -> Breach | None:
        """What is broken now. now: a monotonic time in seconds"""
        counts = merged(self.directory)
        for key, value in self.state.base:
            counts[key] = max(counts.get(key, 0) - value, 0)
        return judge(self.guard, self._exposures(counts), self._failures(counts, now))

    def _exposures(self, counts: dict[Key, int]) -> dict[tuple[str, str], list[Exposures]]:
        guard = self.guard
        cells: dict[tuple[str, str, str], int] = {}
        for (name, labels), value in counts.items():
            said = dict(labels)
            cells[name, said.get("slice", ""), said.get("arm", "")] = value
        slices = dict.fromkeys(place for name, place, _ in cells if name == N)

        def count(name: str, place: str, arm: str) -> int:
            return cells.get((name, place, arm), 0)

        return {
            (bound.counted, place): [
                Exposures(
                    guard.share,
                    count(N, place, guard.variant),
                    count(bound.counted, place, guard.variant),
                    count(N, place, guard.against),
                    count(bound.counted, place, guard.against),
                )
            ]
            for bound in guard.bounds
            for place in slices
        }

    def _failures(self, counts: dict[Key, int], now: float) -> Failures:
        arm = (("arm", self.guard.variant),)
        requests, failed = counts.get((REQUESTS, arm), 0), counts.get((FAILED, arm), 0)
        window = self.requests
        window.append((now, requests, failed))
        while len(window) > 2 and window[1][0] <= now - WINDOW_S:
            window.popleft()
        _, before, failed_before = window[0]
        return Failures(requests - before, failed - failed_before, counts.get((RUNS, arm), 0))


class GuardWatch:
    """Of one gateway's parent, which alone holds the data directory. `tick` once a second."""

    def __init__(self, gateway: Path, blobs: Path, counters: Path) -> None:
        self._gateway = gateway
        self._blobs = BlobStore(blobs)
        self._path = gateway / LAST_GOOD
        self._overrides = Watch(gateway / OVERRIDES)
        self._counters_path = counters / _COUNTERS
        self._counters: Counters | None = None
        self._seen: tuple[int, int, int] | None = None
        self._tables: dict[str, ProjectTable] = {}
        self._watched: dict[str, _Watched] = {}
        self._complaint = ""

    def tick(self, now: float | None = None) -> list[Breach]:
        """Looks once, and acts; the breaches found. Raises OSError where the disk fails."""
        now = time.monotonic() if now is None else now
        self._read_table()
        self._overrides.changed()
        if self._overrides.problem:
            # What cannot be read cannot be added to; and it must not look as if it were lifted.
            self._complain(self._overrides.problem)
            return []
        self._lift_outdated(self._overrides.current)
        self._overrides.changed()
        switches = {switch.target for switch in self._overrides.current.switches}
        found = []
        for watched in list(self._watched.values()):
            if watched.target in switches or watched.project in switches:
                watched.hold()
                continue
            if watched.state.held:
                watched.renew()
                _logger.warning("%s is let in again; its evidence begins anew", watched.target)
            breach = watched.breach(now)
            if breach is not None:
                self._stop(watched, breach)
                found.append(breach)
        return found

    def _stop(self, watched: _Watched, breach: Breach) -> None:
        """Takes the variant out. The switch comes first: it is what protects people."""
        switch = Switch(
            watched.target, actor=GUARD, reason=breach.sentence, version=watched.version
        )
        set_switch(self._gateway / OVERRIDES, switch)
        watched.hold()
        _logger.error("%s is out: %s", watched.target, breach.sentence)
        labels = (
            ("project", watched.project),
            ("variant", watched.guard.variant),
            ("metric", breach.metric),
        )
        if self._counters is None:
            self._counters = Counters(self._counters_path, capacity=1024, name_bytes=1 << 18)
        self._counters.add("pointsman_guard_breaches", labels)

    def _lift_outdated(self, overrides: Overrides) -> None:
        """Lifts the guard's own switches on versions that the table has replaced."""
        for switch in overrides.switches:
            project, _, variant = switch.target.rpartition("/")
            table = self._tables.get(project)
            if switch.actor != GUARD or not switch.version or table is None:
                continue
            version = next((v.version for v in table.variants if v.name == variant), "")
            if version != switch.version and lift_switch(self._gateway / OVERRIDES, switch.target):
                _logger.warning(
                    "%s is let in again: version %s, which was taken out, is gone",
                    switch.target,
                    switch.version,
                )

    def _read_table(self) -> None:
        """Follows the last known good table; where it cannot be read, the one read before stays."""
        try:
            status = self._path.stat()
            identity = (status.st_mtime_ns, status.st_size, status.st_ino)
            if identity == self._seen:
                return
            tables = dict(self._projects(read_manifest(self._path.read_bytes())))
        except FileNotFoundError:
            return
        except (PointsmanError, OSError, msgspec.DecodeError) as error:
            self._complain(f"guards of the newest table are not watched yet: {error}")
            return
        first, self._seen, self._complaint = self._seen is None, identity, ""
        self._tables = tables
        wanted = {
            guard.evidence: (guard, table) for table in tables.values() for guard in table.guards
        }
        gone = self._kept() - wanted.keys() if first else self._watched.keys() - wanted.keys()
        for name in gone:
            self._watched.pop(name, None)
            shutil.rmtree(self._gateway / GUARDS / name, ignore_errors=True)
        for name, (guard, table) in wanted.items():
            if name not in self._watched:
                directory = self._gateway / GUARDS / name
                self._watched[name] = _Watched(guard, table, directory)

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            self._complaint = text
            _logger.error("%s", text)

    def _projects(self, manifest: Manifest) -> Iterator[tuple[str, ProjectTable]]:
        for row in manifest.rows:
            blob = self._blobs.read(row.digest)
            yield qualified(row.tenant, row.project), _tables.decode(blob)

    def _kept(self) -> set[str]:
        """What earlier runs left. The youngest may belong to a table that is just being loaded."""
        directory = self._gateway / GUARDS
        if not directory.is_dir():
            return set()
        oldest = time.time() - _YOUNG_S
        return {path.name for path in directory.iterdir() if path.stat().st_mtime < oldest}
