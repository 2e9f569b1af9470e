"""The table feed: pulls manifests, loads what is new, swaps it in, keeps the last known good.

A project that cannot be loaded leaves its old table in place and is tried again; it holds up no
other project, and no kill switch or key.
"""

import asyncio
import logging
import os
import random
import time
from typing import Final

import msgspec

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.names import qualified
from pointsman.domain.table import Manifest, Runtime, TableRow, encode
from pointsman.gateway import files
from pointsman.gateway.auth import Gatekeeper
from pointsman.gateway.controller_client import ControllerClient
from pointsman.gateway.edge import Edge
from pointsman.gateway.gauges import WorkerGauges
from pointsman.gateway.loader import Loader
from pointsman.gateway.manifest import LAST_GOOD, read_manifest
from pointsman.gateway.overrides import FILE as OVERRIDES
from pointsman.gateway.overrides import Overrides, Watch
from pointsman.gateway.served import Served, Table
from pointsman.gateway.settings import WorkerSettings

_logger = logging.getLogger(__name__)

RETRY_FIRST_S: Final = 0.2
RETRY_MOST_S: Final = 5.0
SAY_AFTER: Final = 8
"""Failures in a row before the log says so: a controller that is being restarted is no news."""
SAY_EVERY: Final = 100
TRY_AGAIN_S: Final = 2.0
"""How often a refused project is tried again."""


class VariantReport(msgspec.Struct, frozen=True):
    state: str
    reason: str = ""


class ProjectReport(msgspec.Struct, frozen=True):
    digest: str
    number: int
    variants: dict[str, VariantReport]
    problem: str = ""


class WorkerReport(msgspec.Struct, frozen=True):
    """`DATA/gateway/workers/<slot>.json`: what this worker serves, and what it refused and why."""

    slot: int
    pid: int
    table: int
    projects: dict[str, ProjectReport]
    problem: str = ""


class TableFeed:
    """One worker's. `start` first, then `follow`."""

    def __init__(
        self,
        settings: WorkerSettings,
        edge: Edge,
        loader: Loader,
        client: ControllerClient | None,
    ) -> None:
        self._settings = settings
        self._edge = edge
        self._blobs = loader.blobs
        self._loader = loader
        self._counters = loader.counters
        self._gauges = WorkerGauges(loader.counters, settings.slot)
        self._client = client
        self._overrides = Watch(settings.gateway / OVERRIDES)
        self._manifest: Manifest | None = None
        self._rows: dict[str, TableRow] = {}
        self._served: dict[str, Served] = {}
        self._refused: dict[str, str] = {}
        self._cold: dict[str, tuple[str, ...]] = {}
        self._problem = ""
        self._report = b""

    @property
    def loaded(self) -> bool:
        return self._manifest is not None

    async def start(self) -> None:
        """Takes the last known good table into use, where there is one; warm or not, it serves."""
        self._overrides.changed()
        path = self._settings.gateway / LAST_GOOD
        try:
            manifest = read_manifest(path.read_bytes())
        except FileNotFoundError:
            self._tell()
            return
        except (PointsmanError, OSError) as error:
            self._problem = f"the last known good table was not used: {error}"
            _logger.error("%s", self._problem)
            self._tell()
            return
        await self._apply(manifest, allow_cold=True)

    async def follow(self) -> None:
        """Takes on what the controller publishes, for ever; ends only by being cancelled."""
        etag, failures = "", 0
        while True:
            if self._client is None:
                await asyncio.sleep(TRY_AGAIN_S)
                await self._try_again()
                continue
            unfinished = bool(self._refused or self._cold)
            try:
                answer = await self._client.manifest(etag, wait=not unfinished)
                if failures >= SAY_AFTER:
                    _logger.info("the controller answers again")
                failures = 0
                self._problem = ""
                self._gauges.set(table_confirmed_timestamp_seconds=int(time.time()))
                if answer is not None:
                    manifest, tag = answer
                    await self._take(manifest)
                    etag = tag
                elif unfinished:
                    await asyncio.sleep(TRY_AGAIN_S)
                    await self._try_again()
            except PointsmanError as error:
                failures += 1
                self._problem = error.message
                self._tell()
                if failures == SAY_AFTER or failures % SAY_EVERY == 0:
                    _logger.warning("no new tables: %s", error.message)
                full = min(RETRY_MOST_S, RETRY_FIRST_S * 2.0 ** min(failures - 1, 20))
                await asyncio.sleep(full * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            except Exception:
                # Whatever it was, the next table may be better, and a switch may be in it.
                _logger.exception("the table feed failed")
                await asyncio.sleep(RETRY_MOST_S)

    async def _try_again(self) -> None:
        """Loads once more what was refused, and warms what is cold."""
        if self._refused and self._manifest is not None:
            await self._take(self._manifest)
        for key in list(self._cold):
            served = self._served[key]
            native = [v for v in served.table.variants if v.runtime is Runtime.NATIVE]
            try:
                for variant in native:
                    await self._loader.warm(variant)
            except PointsmanError:
                continue
            del self._cold[key]
            self._tell()

    async def _take(self, manifest: Manifest) -> None:
        """Fetches, loads and swaps in; then keeps it as the last known good."""
        known = self._manifest
        if known is not None and manifest.version < known.version:
            self._problem = (
                f"table {manifest.version} is older than {known.version}, which is in use"
            )
            _logger.error("%s", self._problem)
            self._tell()
            return
        await self._apply(manifest, allow_cold=False)
        await asyncio.to_thread(self._keep)

    async def _apply(self, manifest: Manifest, *, allow_cold: bool) -> None:
        served: dict[str, Served] = {}
        rows: dict[str, TableRow] = {}
        refused: dict[str, str] = {}
        cold: dict[str, tuple[str, ...]] = {}
        for row in manifest.rows:
            key = qualified(row.tenant, row.project)
            current = self._served.get(key)
            if current is not None and current.digest == row.digest:
                served[key], rows[key] = current, row
                if key in self._cold:
                    cold[key] = self._cold[key]
                continue
            try:
                served[key], cold_ones = await self._load(row, current, allow_cold=allow_cold)
                rows[key] = row
                if cold_ones:
                    cold[key] = cold_ones
            except (PointsmanError, OSError) as error:
                refused[key] = str(error)
                if self._refused.get(key) != str(error):
                    _logger.error("table %s of %s refused: %s", row.number, key, error)
                    self._counters.add("pointsman_tables_refused", (("project", key),))
                if current is not None:
                    served[key], rows[key] = current, self._rows[key]
        self._manifest, self._rows, self._served = manifest, rows, served
        self._refused, self._cold = refused, cold
        self._swap()
        await self._loader.keep_only(list(served.values()))

    async def _load(
        self, row: TableRow, current: Served | None, *, allow_cold: bool
    ) -> tuple[Served, tuple[str, ...]]:
        if current is not None and row.number <= current.table.number:
            raise PointsmanError(
                Kind.INVALID,
                f"table {row.number} is not newer than {current.table.number}, which is in use",
                hint="an old table comes back under a new number: `pointsman undo`",
            )
        if self._client is not None and not allow_cold:
            for digest in (row.digest, *row.blobs):
                if not await asyncio.to_thread(self._blobs.has, digest):
                    await self._client.fetch(digest, self._blobs)
        return await self._loader.load(row, allow_cold=allow_cold)

    def _swap(self) -> None:
        """From here on requests see the new table; nothing before it could fail half-way."""
        manifest = self._manifest
        assert manifest is not None
        projects = list(self._served.values())
        self.set_live()
        gatekeeper = Gatekeeper(
            manifest.data_keys,
            loopback=self._settings.loopback,
            insecure=self._settings.insecure,
            keyed=manifest.keyed,
        )
        refused = {
            (row.tenant, row.project): self._refused[key]
            for row in manifest.rows
            if (key := qualified(row.tenant, row.project)) in self._refused
            and key not in self._served
        }
        self._edge.swap(Table(manifest.version, projects, gatekeeper, refused))
        self._edge.ready = not self._edge.draining
        self._gauges.set(table_version=manifest.version)
        self._tell()

    def _keep(self) -> None:
        """Writes the last known good: what is served, with the newest switches and keys."""
        manifest = self._manifest
        assert manifest is not None
        path = self._settings.gateway / LAST_GOOD
        good = msgspec.structs.replace(manifest, rows=tuple(self._rows.values()))
        content = encode(good)
        with files.locked(path.with_suffix(".lock")):
            try:
                present = path.read_bytes()
                if present == content or read_manifest(present).version > good.version:
                    return
            except (FileNotFoundError, PointsmanError):
                pass  # there is none worth keeping
            files.replace(path, content)

    @property
    def overrides(self) -> Overrides:
        """The local switches in force."""
        return self._overrides.current

    def check_overrides(self) -> None:
        """Heeds the local switches if they changed."""
        before = {switch.target: switch for switch in self._overrides.current.switches}
        problem = self._overrides.problem
        if self._overrides.changed():
            self.set_live()
            after = {switch.target: switch for switch in self._overrides.current.switches}
            for target in sorted(before.keys() ^ after.keys()):
                _logger.warning(
                    "kill switch on %s %s", target, "set" if target in after else "lifted"
                )
        if self._overrides.problem != problem:
            self._tell()

    def set_live(self) -> None:
        """Applies the switches of the manifest and of this machine to every project."""
        switches = {switch.target for switch in self._overrides.current.switches}
        if self._manifest is not None:
            switches.update(self._manifest.killed)
        for served in self._served.values():
            served.set_live(switches)

    def _tell(self) -> None:
        """Writes the worker's report, if it says anything new."""
        self._gauges.set(projects_refused=len(self._refused), projects_cold=len(self._cold))
        report = WorkerReport(
            self._settings.slot,
            os.getpid(),
            -1 if self._manifest is None else self._manifest.version,
            {key: self._project_report(key) for key in {**self._served, **self._refused}},
            "; ".join(text for text in (self._problem, self._overrides.problem) if text),
        )
        content = msgspec.json.encode(report)
        if content == self._report:
            return
        try:
            files.replace(
                self._settings.gateway / "workers" / f"{self._settings.slot}.json", content
            )
            self._report = content
        except OSError as error:
            _logger.warning("the worker's report could not be written: %s", error)

    def _project_report(self, key: str) -> ProjectReport:
        problem = self._refused.get(key, "")
        served = self._served.get(key)
        if served is None:
            return ProjectReport("", 0, {}, problem)
        cold = self._cold.get(key, ())
        variants = {
            variant.name: VariantReport("cold", "the model runner has not loaded it yet")
            if variant.name in cold
            else VariantReport("warm")
            for variant in served.table.variants
        }
        return ProjectReport(served.digest, served.table.number, variants, problem)
