"""Writes deploy/grafana/*.json; a test holds the files equal to what this makes.

python -m scripts.dashboards
"""

from pathlib import Path

from scripts.dashboards.building import DASHBOARDS, made

DIRECTORY = Path(__file__).resolve().parents[2] / "deploy" / "grafana"

for name in DASHBOARDS:
    (DIRECTORY / f"{name}.json").write_text(made(name))
