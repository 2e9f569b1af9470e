"""A rollout in `pointsman status` as plain text, for pipes and files; `rollout_tree` is for
terminals."""

from typing import Any, Final

from pointsman.cli.output import percent, say, table

UNITS: Final = {"points": " points", "percent": " %", "plain": ""}
NEWCOMER: Final = "rollout of {variant} version {version}: {phase}"


def show_rollout(found: dict[str, Any], actual: float | None) -> None:
    """Prints where it is, what it waits for, and the verdict of each metric."""
    if found["phase"] == "none":
        say(f"  rollout: {found['sentence'].partition(': ')[2]}")
        return
    say("  " + NEWCOMER.format(**found))
    step = found["step"]
    if step["text"]:
        reached = percent(actual) or "-"
        say(f"    {step['text']}; weight {percent(found['target'])} target, {reached} actual")
    if found["blind"]:
        say(f"    WARNING {found['blind']}")
    for text in found["waits_for"]:
        say(f"    waits for {text}")
    if not found["waits_for"]:
        say(f"    {found['sentence'].partition(': ')[2]}")
    for left in found["pending"]:
        if left["error"]:
            say(f"    not done yet ({left['what']}): {left['error']}")
    if found["metrics"]:
        table(
            ["CRITERION", "VERDICT", "#DIFFERENCE", "INTERVAL", "#BOUND", "#N"],
            [_row(metric) for metric in found["metrics"]],
        )


def _row(metric: dict[str, Any]) -> tuple[str, ...]:
    """A guardrail, unless it is said to be something else."""
    other = "" if metric["role"] == "guardrail" else f"({metric['role']})"
    unit = metric["unit"]
    value, bound = metric["value"], metric["bound"]
    return (
        " ".join(part for part in (metric["metric"], metric["slice"], other) if part),
        metric["verdict"],
        "-" if value is None else f"{number(value, unit)}{UNITS[unit]}",
        interval_of(metric),
        number(bound, unit),
        f"{metric['n']:,}",
    )


def interval_of(metric: dict[str, Any]) -> str:
    """`[-0.2, +6.4]`, open where nothing bounds it; empty where nothing does on either side."""
    low, high, unit = metric["low"], metric["high"], metric["unit"]
    if low is None and high is None:
        return ""
    return f"[{number(low, unit) or '-inf'}, {number(high, unit) or 'inf'}]"


def number(value: float | None, unit: str) -> str:
    """`+3.1` for points and percent, `-0.012` for anything else; empty for None."""
    if value is None:
        return ""
    return f"{value:+.4g}" if unit == "plain" else f"{value * 100:+.1f}"
