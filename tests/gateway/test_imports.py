"""What the request path must not carry along: start-up time and memory of every worker."""

import json
import re
import subprocess
import sys
from pathlib import Path

from pointsman.domain.errors import Kind
from pointsman.gateway import gauges, metrics
from pointsman.gateway.errors import STATUS
from pointsman.gateway.routes import ROUTES

FORBIDDEN = {
    "pydantic", "fastapi", "starlette", "sqlalchemy", "sklearn", "mlflow", "pandas", "onnx",
    "scipy", "ruamel", "typer", "rich", "pointsman.spec", "pointsman.store",
    "pointsman.controller", "pointsman.decide.compile",
}  # fmt: skip


def test_a_worker_imports_no_control_plane():
    """Seen in a fresh interpreter."""
    script = "import sys, json, pointsman.gateway.worker; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    loaded = set(json.loads(done.stdout))

    assert loaded & FORBIDDEN == set()


def test_every_kind_of_error_has_a_status():
    """The table is total, so no error can be answered without one."""
    assert set(STATUS) == set(Kind)


def test_the_reference_names_every_route_status_metric_and_limit():
    """docs/reference/data-plane.md is complete: what is not in it fails here."""
    page = (Path(__file__).parents[2] / "docs/reference/data-plane.md").read_text()
    metric_names = {*metrics.COUNTERS, *gauges.GAUGES, *metrics.HISTOGRAMS}
    missing = [name for name in metric_names if name not in page and name not in _JOINED]
    missing += [kind.value for kind in STATUS if kind not in _NEVER and f"`{kind}`" not in page]
    for route in ROUTES:
        start = re.split(r"[(\[]", route.pattern)[0].rstrip("?/")
        missing += [] if f"{route.method} {start}" in page else [route.pattern]

    assert missing == []


_JOINED = {"pointsman_journal_writes", "pointsman_journal_failures"}  # said as `..._writes_total`
_NEVER = {Kind.CONFLICT, Kind.NOT_AVAILABLE_YET}  # the data plane has no use for them
