"""Rows with problems over HTTP: what `pointsman quality` calls."""

from collections import Counter
from typing import Annotated, Any, Final

from fastapi import Query

from pointsman.controller.ledger import Ledger
from pointsman.controller.permissions import Permission, Route
from pointsman.controller.projects import Projects
from pointsman.domain.names import qualified
from pointsman.store import problems, pulses

HOUR_MS: Final = 3_600_000


class QualityRoutes:
    """What changes nothing."""

    def __init__(self, ledger: Ledger, projects: Projects) -> None:
        self._ledger = ledger
        self._projects = projects

    def routes(self) -> list[Route]:
        path = "/v1/tenants/{tenant}/projects/{project}/quality"
        return [Route("GET", path, Permission.READ, self.quality)]

    def quality(
        self,
        tenant: str,
        project: str,
        hours: Annotated[int, Query(ge=1, le=24 * 14)] = 24,
    ) -> dict[str, Any]:
        """Problems of the last hours, most rows first; of decisions that still are hot rows.

        Refused requests are none: a gateway's `/metrics` counts those.
        """
        name = qualified(tenant, project)
        table = self._projects.table(self._projects.current(name))
        now_ms = self._ledger.now_ms()
        since_ms = now_ms - hours * HOUR_MS
        since_ms -= since_ms % (pulses.COARSE_S * 1000)
        all_rows: Counter[str] = Counter()
        with self._ledger.reading() as connection:
            found = problems.count(connection, name, since_ms, now_ms + 1)
            for one in pulses.read(connection, name, pulses.COARSE_S, since_ms, now_ms + 1):
                all_rows[one.assigned] += one.decisions
        ordered = sorted(found.problems.items(), key=lambda one: (-one[1], one[0]))
        return {
            "project": name,
            "declared": table.quality is not None,
            "since_ms": since_ms,
            "until_ms": now_ms,
            "variants": [
                {
                    "variant": variant,
                    "rows": rows,
                    "with_problems": found.rows.get(variant, 0),
                }
                for variant, rows in sorted(all_rows.items())
            ],
            "problems": [
                {
                    "feature": feature,
                    "problem": problem,
                    "answer": answer,
                    "variant": variant,
                    "rows": times,
                    "share": times / all_rows[variant] if all_rows[variant] else None,
                }
                for (feature, problem, answer, variant), times in ordered
            ],
        }
