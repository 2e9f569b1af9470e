"""What `status` looks like: each figure once, readable at 100 columns, and fresh with --watch."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from control_process import ControlProcess, project, running
from pointsman.cli.colours import CHALLENGER, CHAMPION, OTHERS, colours
from pointsman.cli.output import table_of
from pointsman.cli.rollout_tree import tree_of
from pointsman.cli.rollout_view import show_rollout
from pointsman.cli.status_view import show_status

UP = "\x1b[1A"
"""One line up: a picture is drawn over the one before, and nothing scrolls."""
METRICS = {
    "deny-rate": {"kind": "decision", "event": "denied"},
    "log-loss": {"kind": "classifier", "of": "log_loss"},
    "errors": {"kind": "operational", "event": "error"},
    "slow": {"kind": "operational", "event": "latency > 100ms"},
}


def test_a_metric_that_is_declared_is_shown_once_under_its_own_name(
    control: ControlProcess,
) -> None:
    """Declared ones first; of those every project has, only what none of them says."""
    measured = {
        "metrics": METRICS,
        "decision": {"deny": ["fraud"]},
        "outcomes": {"label": {"horizon": "1h"}},
    }
    told = {}
    for name, spec in (("measured", measured), ("plain", {})):
        applied = control.apply(project(name, **spec))
        assert applied.status_code == 200, applied.text
        status = control.call("GET", f"/v1/tenants/default/projects/{name}/status").json()
        told[name] = list(status["variants"][0]["figures"])

    usual = ["accuracy", "recall", "precision", "auc"]
    latency = ["latency_us_p50", "latency_us_p99"]
    assert told["measured"] == [*sorted(METRICS), *usual, *latency]
    assert told["plain"] == [*usual, "log_loss", "denied", "errors", *latency]


def _figure(value: float, **more: Any) -> dict[str, Any]:
    bounds = {"low": value - 0.01, "high": value + 0.01, "alpha": 0.05, "method": "m"}
    return {"value": value, "n": 123_456, **bounds, **more}


def _variant(name: str, decisions: int) -> dict[str, Any]:
    return {
        "name": name,
        "version": "17",
        "runtime": "native",
        "runtime_reason": "the converter failed on a model with a very long name " * 3 + "(end)",
        "decisions": decisions,
        "labels": _figure(0.5),
        "figures_of": "all traffic of the present version, whatever the rule: not to compare by",
        "figures": {
            "deny-rate": _figure(0.25),
            "auc": {"missing": "it takes labels of both kinds, and of one there are none", "n": 0},
            "latency_us_p50": _figure(1500.0),
        },
    }


def test_four_variants_are_readable_at_100_columns(capsys: Any, monkeypatch: Any) -> None:
    """No line is wider, and nothing is cut."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    names = ["champion", "challenger", "night-shift-model", "rules-only"]
    status = {
        "project": "default/income",
        "phase": "serving",
        "number": 3,
        "sentence": "revision 3 applied",
        "changed_ms": 0,
        "actor": "ann",
        "troubles": ["2 cells"],
        "kill_switches": [],
        "proposals": [],
        "rollout": None,
        "table": {"version": 1, "digest": "d", "workers": []},
        "rules": [],
        "variants": [_variant(name, 10) for name in names] + [_variant("idle", 0)],
    }
    show_status(status)
    said = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)

    assert max(len(line) for line in said.splitlines()) <= 100
    assert said.count("(end)") == 5
    assert said.count("0.2500   [0.2400, 0.2600]") == 4
    assert "latency p50   champion" in said
    assert "1.50 ms" in said
    assert "WARNING 2 cells" in said
    assert "answered nothing yet: idle" in said
    assert said.count("all traffic") == 1


def test_variants_of_a_split_are_compared_by_what_it_drew(capsys: Any, monkeypatch: Any) -> None:
    """Not by all their traffic; what an interval takes for granted is said beside it."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    exact = "exact at every look (beta-binomial mixture); takes observations as independent"
    arms = [
        {
            "variant": name,
            "target": 0.5,
            "actual": 0.5,
            "decisions": 10,
            "figures": {"accuracy": _figure(0.75), "recall": _figure(0.125, method=exact)},
        }
        for name in ("champion", "night-shift-model")
    ]
    of = "what the split drew in the rule's present epoch, by variant assigned"
    rule = {"rule": "default", "epoch": 4, "figures_of": of, "arms": arms}
    status = {
        "project": "default/income",
        "phase": "serving",
        "number": 3,
        "sentence": "revision 3 applied",
        "changed_ms": 0,
        "actor": "ann",
        "troubles": [],
        "kill_switches": [],
        "proposals": [],
        "rollout": None,
        "table": {"version": 1, "digest": "d", "workers": []},
        "rules": [rule],
        "variants": [_variant(name, 10) for name in ("champion", "night-shift-model", "third")],
    }
    show_status(status)
    said = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)

    assert max(len(line) for line in said.splitlines()) <= 100
    assert f"rule default, epoch 4: {of}" in said
    assert said.count("0.7500   [0.7400, 0.7600]") == 2
    assert len(re.findall(r"0\.1250 .*takes decisions", said)) == 2
    assert not re.search(r"0\.7500 .*takes", said)
    assert said.count("0.2500   [0.2400, 0.2600]") == 1, "of the third variant alone"


def test_watch_shows_it_again_and_outlives_the_controller(tmp_path: Path) -> None:
    """On a terminal, every two seconds; a controller that is away ends no watch, Ctrl-C does."""
    with running(tmp_path / "control") as control:
        control.apply(project("watched"))
        _watch(control)


def _watch(control: ControlProcess) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.environ |= {"POINTSMAN_URL": control.url, "POINTSMAN_TOKEN": control.token}
        os.execv(
            sys.executable, [sys.executable, "-m", "pointsman.cli", "status", "watched", "--watch"]
        )
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 100, 0, 0))
    try:
        said = _read(terminal, lambda text: text.count("default/watched") >= 3)
        control.stop(signal.SIGKILL)
        said += _read(terminal, lambda text: text.count("no news: no answer from") >= 2)
        os.kill(child, signal.SIGINT)
        _, code = os.waitpid(child, 0)
    finally:
        os.close(terminal)

    assert said.count("default/watched") >= 3
    assert said.count(UP) > 3
    assert "Ctrl-C ends it" in said
    assert os.waitstatus_to_exitcode(code) in (0, 130)


def _read(terminal: int, enough: Any, limit_s: float = 30.0) -> str:
    text = ""
    deadline = time.monotonic() + limit_s
    while not enough(text):
        assert time.monotonic() < deadline, text
        if select.select([terminal], [], [], 0.2)[0]:
            text += os.read(terminal, 65_536).decode(errors="replace")
    return text


def _rollout() -> dict[str, Any]:
    """As the API shows one that waits at its second step."""
    metric = {
        "role": "guardrail",
        "metric": "deny_rate",
        "slice": "country=DE",
        "verdict": "inconclusive",
        "value": 0.031,
        "low": -0.002,
        "high": None,
        "bound": 0.01,
        "unit": "points",
        "n": 4120,
    }
    unknown = metric | {"verdict": "no_data", "value": None, "low": None, "metric": "auc", "n": 0}
    texts = ["weight 5 %", "analysis: 30 min, 500 decisions", "weight 50 %", "promotion"]
    places = ["done", "now", "to_come", "to_come"]
    return {
        "variant": "challenger",
        "against": "champion",
        "rule": "default",
        "version": "13",
        "champion": "12",
        "attempt": 2,
        "phase": "running",
        "step": {"text": "step 2 of 3 (analysis)"},
        "steps": [{"text": t, "state": s} for t, s in zip(texts, places, strict=True)],
        "target": 0.05,
        "waits_for": ["time (20 min left)"],
        "next_look": {
            "at_ms": 1_750_075_200_000,
            "labels_ms": 1_750_075_500_000,
            "until": [{"text": "time (20 min left)", "at_ms": 1_750_076_400_000}],
        },
        "sentence": "loan: running",
        "pending": [{"what": "set_alias", "tries": 3, "error": "the registry does not answer"}],
        "blind": "",
        "verdict": "inconclusive",
        "metrics": [metric, unknown | {"role": "signal", "slice": ""}],
    }


def test_a_rollout_is_readable_at_3_in_the_morning(capsys: Any) -> None:
    """Where it is, what it waits for, and each criterion on a line of its own."""
    show_rollout(_rollout(), 0.0512)

    told = capsys.readouterr().out.splitlines()
    assert told[0].strip() == "rollout of challenger version 13: running"
    assert "step 2 of 3 (analysis); weight 5" in told[1]
    assert told[2].strip() == "waits for time (20 min left)"
    assert told[3].strip() == "not done yet (set_alias): the registry does not answer"
    row = next(line for line in told if "country=DE" in line)
    assert "+3.1 points" in row
    assert "[-0.2, inf]" in row
    assert all(len(line) <= 100 for line in told)


def _drawn(found: dict[str, Any], colour: dict[str, str] | None = None) -> str:
    screen = Console(width=100, force_terminal=True, color_system="truecolor", file=StringIO())
    screen.print(tree_of(found, {"challenger": 0.0512, "champion": 0.9488}, colour or {}))
    return screen.file.getvalue()  # type: ignore[attr-defined]


def test_on_a_terminal_a_rollout_is_a_tree() -> None:
    """Traffic beside its target, every step with its place, what holds it and until when, each
    criterion with interval and bound, and the next look."""
    told = re.sub(r"\x1b\[[0-9;]*m", "", _drawn(_rollout()))

    assert [line.rstrip() for line in told.splitlines()] == [
        "rollout of challenger version 13: running (attempt 2)",
        "├── traffic of rule default",
        "│   ├── ■ challenger version 13   5 % target, 5.12 % actual",
        "│   └── ■ champion version 12   94.88 % actual",
        "├── steps",
        "│   ├── ✓ weight 5 %",
        "│   ├── ▶ analysis: 30 min, 500 decisions",
        "│   │   └── waits for time (20 min left), until 2025-06-16 12:20:00 UTC",
        "│   ├── ○ weight 50 %",
        "│   └── ○ promotion",
        "├── verdict … inconclusive",
        "│   ├── … deny_rate of country=DE  +3.1 points [-0.2, inf], bound +1.0, n=4,120",
        "│   └── ∅ auc (signal)  nothing is known, bound +1.0, n=0",
        "├── not done yet (set_alias): the registry does not answer",
        "└── next look 2025-06-16 12:00:00 UTC; the next labels count from 2025-06-16 12:05:00 UTC",
    ]


def test_where_nothing_holds_the_tree_says_what_happened_last() -> None:
    """So does it of a rollout that has ended, and of one that has not begun."""
    look = {"at_ms": 0, "labels_ms": None, "until": []}
    why = "loan: rolled back from 5 %: harm"
    over = _rollout() | {"phase": "rolled_back", "sentence": why, "next_look": look}
    none = _rollout() | {"phase": "none", "sentence": "loan: nothing to roll out"}

    assert "rolled back from 5 %: harm" in _drawn(over)
    assert re.sub(r"\x1b\[[0-9;]*m", "", _drawn(none)).strip() == "rollout: nothing to roll out"


def test_a_variant_has_the_same_colour_on_a_terminal_and_in_the_dashboard() -> None:
    """Those of colours.js, by the same rule: two that are named, the others by their names."""
    path = resources.files("pointsman.dashboard") / "static" / "js" / "colours.js"
    theirs = re.findall(r"#[0-9a-f]{6}", path.read_text(encoding="utf-8"))
    others = ["b", "a", *(f"c{n}" for n in range(5))]

    found = colours(["challenger", *others, "champion"])

    assert [CHAMPION, CHALLENGER, *OTHERS] == theirs
    assert [found[name] for name in ("champion", "challenger", "a", "b")] == theirs[:4]
    assert found["c4"] == theirs[2], "one more than there are colours"
    # By its style and not by its codes: Rich keeps those as the first console had them.
    traffic, *_ = tree_of(_rollout(), {"challenger": 0.05, "champion": 0.95}, found).children
    drawn = [Text.assemble(one.label) for one in traffic.children]  # type: ignore[arg-type]
    assert any(
        text.plain[span.start : span.end].startswith("■") and span.style == CHALLENGER
        for text in drawn
        for span in text.spans
    )


def test_a_variant_has_its_colour_in_tables_too() -> None:
    """The one it has in the dashboard; other columns have none, whatever they say."""
    shown = table_of(
        ["RULE", "VARIANT", "SERVED"],
        [("champion", "champion", "challenger"), ("default", "night", "")],
        colours=colours(["champion", "challenger", "night"]),
    )
    styles = [[str(cell.style) for cell in column._cells] for column in shown.columns]

    assert styles == [["", ""], [CHAMPION, OTHERS[0]], [CHALLENGER, ""]]
