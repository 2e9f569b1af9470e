"""Grafana's dashboards: made from what is declared, understood by Grafana's own model of them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from scripts.dashboards.building import DASHBOARDS, FIXED, made
from tests.monitoring.tools import program, said
from tests.monitoring.watching import DEPLOY

from pointsman.cli.colours import colours


def stored(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEPLOY / "grafana" / f"{name}.json").read_text())
    return found


def panels(name: str) -> list[dict[str, Any]]:
    return [panel for panel in stored(name)["panels"] if panel["type"] != "row"]


def expressions(name: str) -> list[str]:
    """Every query, annotations included."""
    asked = [target["expr"] for panel in panels(name) for target in panel["targets"]]
    return asked + [one["expr"] for one in stored(name).get("annotations", {}).get("list", [])]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_what_is_stored_is_what_is_declared(name: str) -> None:
    """`python -m scripts.dashboards` writes them anew."""
    assert (DEPLOY / "grafana" / f"{name}.json").read_text() == made(name)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_grafanas_own_model_reads_them_whole(name: str) -> None:
    """Nothing is lost on the way through it and back."""
    plugins.register_default_plugins()
    read = Dashboard.from_json(stored(name))

    again = json.loads(json.dumps(read, cls=JSONEncoder))

    assert again == stored(name)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_have_a_place_a_number_and_a_source_of_their_own(name: str) -> None:
    """None lies over another, and all ask the data source that is chosen above."""
    taken: set[tuple[int, int]] = set()
    for panel in panels(name):
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at.get("x", 0), at.get("x", 0) + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at.get("x", 0) + at["w"] <= 24, panel["title"]
        assert not taken & cells, panel["title"]
        taken |= cells
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["options"], panel["title"]
    numbers = [panel["id"] for panel in stored(name)["panels"]]
    assert len({*numbers}) == len(numbers)


def test_a_variant_has_the_colour_it_has_everywhere() -> None:
    """That of the terminal and of the dashboard of ours."""
    known = colours(["champion", "challenger"])

    assert known == FIXED
    for panel in panels("pointsman-project"):
        if any(target["legendFormat"] == "{{variant}}" for target in panel["targets"]):
            set_to = {
                override["matcher"]["options"]: override["properties"][0]["value"]["fixedColor"]
                for override in panel["fieldConfig"]["overrides"]
            }
            assert set_to == known, panel["title"]


def test_promtool_understands_every_query(tmp_path: Path) -> None:
    """As if each were a rule."""
    rules = [
        {"record": f"query:{place}", "expr": re.sub(r"\$project", ".+", expr)}
        for place, expr in enumerate(e for name in DASHBOARDS for e in expressions(name))
    ]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))

    assert f"{len(rules)} rules found" in said(program("promtool"), "check", "rules", str(path))
    assert len(rules) >= 40
