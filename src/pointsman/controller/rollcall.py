"""What gateway workers on this machine say of themselves: which table they have loaded.

Each writes `DATA/gateway/workers/<slot>.json`. Gateways elsewhere are not seen here.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

_POLL_S: Final = 0.05


class VariantReport(msgspec.Struct, frozen=True):
    """state: `warm` or `refused`; reason: why it was refused, empty where it was not"""

    state: str
    reason: str = ""


class ProjectReport(msgspec.Struct, frozen=True):
    """One project as a worker serves it. problem: why the newest table of it was refused."""

    digest: str
    number: int = 0
    variants: dict[str, VariantReport] = {}
    problem: str = ""


class WorkerReport(msgspec.Struct, frozen=True):
    """One worker. table: version of the manifest it serves from."""

    slot: int
    pid: int
    table: int
    projects: dict[str, ProjectReport] = {}
    problem: str = ""


class RollCall:
    """Reads the workers' reports. A report of a process that is gone does not count."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def workers(self) -> list[WorkerReport]:
        """Of those that are alive, by slot."""
        reports = []
        for path in sorted(self._directory.glob("*.json")):
            try:
                report = msgspec.json.decode(path.read_bytes(), type=WorkerReport)
            except (OSError, msgspec.DecodeError):
                continue  # Just being replaced, or of a version that says it differently.
            if _alive(report.pid):
                reports.append(report)
        return sorted(reports, key=lambda report: report.slot)

    def local_switches(self, name: str) -> list[dict[str, Any]]:
        """Kill switches on one project that were set on this machine's disk."""
        try:
            kept = msgspec.json.decode((self._directory.parent / "overrides.json").read_bytes())
            switches = [dict(switch) for switch in kept["switches"]]
        except (OSError, msgspec.DecodeError, KeyError, TypeError, ValueError):
            return []  # None, or one that the workers complain of themselves.
        return [
            {**switch, "where": "gateway"}
            for switch in switches
            if switch.get("target") == name or str(switch.get("target")).startswith(f"{name}/")
        ]

    def acknowledged(self, table: int) -> dict[str, Any]:
        """How many workers serve from this table version (or a newer one), and what hinders the
        others."""
        workers = self.workers()
        serving = [worker for worker in workers if worker.table >= table]
        problems = [problem for worker in workers for problem in _problems(worker)]
        return {"serving": len(serving), "expected": len(workers), "problems": problems}

    async def wait_for_table(self, table: int, wait_s: float) -> dict[str, Any]:
        """As `acknowledged`, once all workers serve the table or time is up."""
        deadline = time.monotonic() + wait_s
        while True:
            found = await asyncio.to_thread(self.acknowledged, table)
            everybody = found["serving"] == found["expected"]
            if everybody or time.monotonic() >= deadline:
                return found
            await asyncio.sleep(_POLL_S)

    def loaded(self, name: str) -> list[Mapping[str, Any]]:
        """Per worker: what it serves of one project."""
        rows: list[Mapping[str, Any]] = []
        for worker in self.workers():
            project = worker.projects.get(name)
            rows.append(
                {
                    "slot": worker.slot,
                    "pid": worker.pid,
                    "table": worker.table,
                    "digest": project.digest if project else "",
                    "number": project.number if project else 0,
                    "problem": (project.problem if project else "") or worker.problem,
                    "variants": {} if project is None else msgspec.to_builtins(project.variants),
                }
            )
        return rows


def _problems(worker: WorkerReport) -> list[str]:
    found = [f"worker {worker.slot}: {worker.problem}"] if worker.problem else []
    for name, project in worker.projects.items():
        if project.problem:
            found.append(f"worker {worker.slot}: {name}: {project.problem}")
        found += [
            f"worker {worker.slot}: {name}: {variant} refused: {report.reason}"
            for variant, report in project.variants.items()
            if report.state == "refused"
        ]
    return found


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
