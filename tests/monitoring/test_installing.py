"""`pointsman monitoring`: what is shipped, written where somebody can install it."""

import subprocess
import sys
from pathlib import Path

import yaml
from tests.end_to_end.serving import ROOT


def monitoring(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pointsman.cli", "monitoring", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_files_are_written_with_links_to_where_the_guide_is_kept(tmp_path: Path) -> None:
    """All that is in deploy/, and nothing of somebody's own is written over unless that is said."""
    wiki = "https://wiki.example.com/pointsman"
    done = monitoring(str(tmp_path / "new"), "--runbooks", wiki)
    written = {path.relative_to(tmp_path / "new") for path in tmp_path.rglob("*.*")}
    shipped = {path.relative_to(ROOT / "deploy") for path in (ROOT / "deploy").rglob("*.*")}
    rules = tmp_path / "new" / "prometheus" / "pointsman.rules.yml"
    links = {
        rule["annotations"]["runbook_url"].partition("#")[0]
        for group in yaml.safe_load(rules.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    rules.write_text("mine")
    refused = monitoring(str(tmp_path / "new"))
    mine = rules.read_text()
    forced = monitoring(str(tmp_path / "new"), "--force")

    assert done.returncode == 0, done.stderr
    assert written == shipped
    assert links == {wiki}
    assert (refused.returncode, mine) == (1, "mine")
    assert "--force" in refused.stderr
    assert forced.returncode == 0
    assert rules.read_text() == (ROOT / "deploy/prometheus/pointsman.rules.yml").read_text()
