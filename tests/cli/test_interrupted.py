"""Ctrl-C ends a program with 130, whatever it was doing."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import typer

from pointsman import cli
from pointsman.cli.session import reporting


def hang():
    with reporting():
        exec("raise KeyboardInterrupt")


cli.app.command()(hang)
cli.main(["hang"])
"""


def test_a_ctrl_c_within_code_made_from_text_ends_with_130_too(tmp_path: Path) -> None:
    """As an import makes some: without care, `python -m` dies of the signal that was caught."""
    (tmp_path / "program.py").write_text(PROGRAM)

    done = subprocess.run(
        [sys.executable, "-m", "program"], cwd=tmp_path, capture_output=True, check=False
    )

    assert (done.returncode, done.stderr) == (130, b"")
