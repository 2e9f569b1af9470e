"""What the controller's own process must not carry along: code of models, much memory."""

import json
import subprocess
import sys

FORBIDDEN = {
    "sklearn", "mlflow", "onnx", "onnxruntime", "onnxmltools", "skl2onnx", "xgboost", "lightgbm",
    "skops", "joblib", "cloudpickle", "pandas", "duckdb",
}  # fmt: skip


def test_the_controller_imports_no_library_that_loads_models():
    """Seen in a fresh interpreter; models and the archive have processes of their own."""
    script = "import sys, json, pointsman.wiring.control; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    loaded = set(json.loads(done.stdout))

    assert "pointsman.runtime.preparation" in loaded
    assert loaded & FORBIDDEN == set()
