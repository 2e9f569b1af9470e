"""A rollout in `pointsman status`, as people see it."""

from typing import Any

from pointsman.cli.output import percent, say, table


def show_rollout(found: dict[str, Any], actual: float | None) -> None:
    """Prints where it is, what it waits for, and the verdict of each metric."""
    if found["phase"] == "none":
        say(f"  rollout: {found['sentence'].partition(': ')[2]}")
        return
    say(f"  rollout of {found['variant']} version {found['version']}: {found['phase']}")
    step = found["step"]
    if step["text"]:
        reached = percent(actual) or "-"
        say(f"    {step['text']}; weight {percent(found['target'])} target, {reached} actual")
    for text in found["waits_for"]:
        say(f"    waits for {text}")
    if not found["waits_for"]:
        say(f"    {found['sentence'].partition(': ')[2]}")
    for left in found["pending"]:
        if left["error"]:
            say(f"    not done yet ({left['what']}): {left['error']}")
    if found["metrics"]:
        table(
            ["CRITERION", "VERDICT", "#DIFFERENCE", "INTERVAL", "#BOUND", "#N", "ROLE"],
            [_row(metric) for metric in found["metrics"]],
        )


def _row(metric: dict[str, Any]) -> tuple[str, ...]:
    name = f"{metric['metric']} {metric['slice']}".strip()
    unit = metric["unit"]
    low, high = number(metric["low"], unit), number(metric["high"], unit)
    return (
        name,
        metric["verdict"],
        number(metric["value"], unit) or "-",
        f"[{low or '-inf'}, {high or 'inf'}]" if low or high else "",
        number(metric["bound"], unit),
        f"{metric['n']:,}",
        metric["role"],
    )


def number(value: float | None, unit: str) -> str:
    """`+3.1 points`, `+10.0 %`, `-0.012`; empty for None."""
    if value is None:
        return ""
    if unit == "plain":
        return f"{value:+.4g}"
    return f"{value * 100:+.1f} {'%' if unit == 'percent' else 'points'}"
