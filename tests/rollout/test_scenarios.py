"""Rollouts as stories: a command, ----, and all the machine said.

`POINTSMAN_REWRITE=1 pytest tests/rollout/test_scenarios.py` writes what is said now into the
files. Commit such a rewrite only if you can explain every line of it.
"""

import os
from pathlib import Path

import pytest
from tests.rollout.story import Story

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))
BAR = "----"


def retold(text):
    """The file as it would read if every answer were the machine's."""
    story, told, command, answering = Story(), [], [], False
    for line in text.splitlines():
        if answering and line.strip():
            continue  # the old answer
        answering = False
        if line == BAR:
            told += [BAR, *story.tell(command)]
            command, answering = [], True
            continue
        told.append(line)
        if line.strip() and not line.startswith("#"):
            command.append(line)
    assert not command, f"a command without {BAR}: {command[0]}"
    return "\n".join(told) + "\n"


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_story_goes_as_it_is_told(path):
    """What the machine says is what the file says."""
    text = path.read_text(encoding="utf-8")
    now = retold(text)
    if os.environ.get("POINTSMAN_REWRITE"):
        path.write_text(now, encoding="utf-8")

    assert now == text or os.environ.get("POINTSMAN_REWRITE")


def test_there_are_stories():
    """An empty directory is no passed test."""
    assert len(SCENARIOS) >= 10
