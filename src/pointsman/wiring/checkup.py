"""What `version` tells and `doctor` looks at."""

import os
import platform
import shutil
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, text

from pointsman.controller.housekeeping import Ballast
from pointsman.controller.intake import Intake
from pointsman.controller.lag import behind
from pointsman.controller.process import Loop
from pointsman.controller.rollcall import RollCall
from pointsman.controller.system_routes import Check, Probe
from pointsman.domain.errors import PointsmanError
from pointsman.journal.segment import file_name
from pointsman.plugins.mlflow import MlflowRegistry
from pointsman.store import audit, journal_state, published
from pointsman.store.database import DATABASE_FILE, reader
from pointsman.wiring.settings import Settings

_LOW_BYTES: Final = 1 << 30
_LAG_BYTES: Final = 64 << 20
_MOST_FAULTS: Final = 100


class Background(NamedTuple):
    """What works by itself, and what it keeps for a full disk."""

    loops: Sequence[Loop]
    intake: Intake
    ballast: Ballast


class Checkup:
    """Looks at everything this controller depends on. Blocking."""

    def __init__(
        self,
        wanted: Settings,
        engine: Engine,
        workers: RollCall,
        background: Background,
        registries: Iterable[MlflowRegistry],
    ) -> None:
        self._wanted = wanted
        self._registries = list(registries)
        self._reader = reader(engine)
        self._workers = workers
        self._loops, self._intake, self._ballast = background

    def facts(self) -> dict[str, Any]:
        """Where everything is, and in which version."""
        with self._reader.connect() as connection:
            schema = MigrationContext.configure(connection).get_current_revision()
            sqlite = connection.execute(text("select sqlite_version()")).scalar_one()
            newest = published.latest(connection)
        return {
            "python": platform.python_version(),
            "data": str(self._wanted.data),
            "database": str(self._wanted.data / DATABASE_FILE),
            "schema": schema,
            "sqlite": sqlite,
            "table_version": newest.version if newest else 0,
            "workers": len(self._workers.workers()),
            "journal_lag_bytes": self._lag(),
            "registries": dict(self._wanted.registries),
            "pid": os.getpid(),
        }

    def probes(self) -> list[Probe]:
        return [
            self._database,
            self._disk,
            self._journal,
            self._audit,
            self._gateways,
            self._background,
            self._exposure,
            *(self._registry(registry) for registry in self._registries),
        ]

    def _database(self) -> Check:
        with self._reader.connect() as connection:
            answer = connection.execute(text("PRAGMA quick_check(1)")).scalar_one()
        state = "ok" if answer == "ok" else "failed"
        hint = "" if answer == "ok" else "stop Pointsman and restore the last backup"
        return Check("database", state, f"{self._wanted.data / DATABASE_FILE}: {answer}", hint)

    def _disk(self) -> Check:
        free = shutil.disk_usage(self._wanted.data).free
        low = free < _LOW_BYTES
        reserve = "reserve held" if self._ballast.held else "no reserve held"
        return Check(
            "disk",
            "warning" if low else "ok",
            f"{free / 1e9:.1f} GB free below {self._wanted.data}; {reserve}",
            "make room: without it nothing can be recorded" if low else "",
        )

    def _journal(self) -> Check:
        lag = self._lag()
        troubles = self._intake.troubles
        with self._reader.connect() as connection:
            faults = journal_state.list_faults(connection, _MOST_FAULTS)
        said = [f"{stream}: {why}" for stream, why in troubles.unreadable.items()]
        if said:
            hint = "nothing of it is taken in; check the disk and who may read it"
            return Check("journal", "failed", "; ".join(said), hint)
        if faults:
            last = faults[0]
            many = f"{len(faults)}{'+' if len(faults) == _MOST_FAULTS else ''}"
            said = [
                f"{many} faults, the last at {last.stream}/{file_name(last.segment)}:"
                f"{last.start}: {last.kind} {last.note}".rstrip()
            ]
        said += msgspec.structs.replace(troubles, faults=0).sentences()
        if said:
            hint = "`pointsman verify` lists what is damaged; everything else is taken in"
            return Check("journal", "warning", "; ".join(said), hint)
        late = lag > _LAG_BYTES
        hint = "the ingester does not keep up; see the controller's log" if late else ""
        return Check("journal", "warning" if late else "ok", f"{lag} bytes behind", hint)

    def _audit(self) -> Check:
        with self._reader.connect() as connection:
            report = audit.verify(connection)
        if report.ok:
            return Check("audit log", "ok", f"{report.entries} entries, chain holds")
        return Check("audit log", "failed", report.problem, "the log was changed from outside")

    def _gateways(self) -> Check:
        found = self._workers.acknowledged(0)
        if not found["expected"]:
            return Check("gateways", "warning", "no worker reports on this machine")
        problems = "; ".join(found["problems"])
        state = "warning" if problems else "ok"
        return Check("gateways", state, problems or f"{found['expected']} workers report")

    def _background(self) -> Check:
        failing = [f"{loop.name}: {loop.failing}" for loop in self._loops if loop.failing]
        if failing:
            return Check("background work", "failed", "; ".join(failing), "see the log")
        return Check("background work", "ok", ", ".join(loop.name for loop in self._loops))

    def _exposure(self) -> Check:
        if self._wanted.insecure:
            return Check(
                "exposure", "warning", "--insecure: others may reach this without keys or TLS"
            )
        return Check("exposure", "ok", f"admin API on {self._wanted.admin_host}")

    def _registry(self, registry: MlflowRegistry) -> Probe:
        name, url = f"registry {registry.name}", self._wanted.registries[registry.name]

        def probe() -> Check:
            try:
                registry.check()
            except PointsmanError as error:
                hint = "serving goes on with the pinned versions; alias moves are not seen"
                return Check(name, "warning", error.message, f"{error.hint}; {hint}")
            return Check(name, "ok", f"{url}: answers")

        return probe

    def _lag(self) -> int:
        """Bytes in the journal that are not in the database yet."""
        with self._reader.connect() as connection:
            positions = journal_state.load_positions(connection)
        return sum(behind(self._wanted.data / "journal", positions).values())
