"""What the request path must not carry along: start-up time and memory of every worker."""

import json
import subprocess
import sys

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
