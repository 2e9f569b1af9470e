"""Fixtures every part's tests may use."""

import sys
from pathlib import Path

# The test directories are no packages; modules shared between them live beside this file.
sys.path.insert(0, str(Path(__file__).parent))

from mlflow_server import mlflow_server

__all__ = ["mlflow_server"]
