"""`pointsman status` as people see it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from pointsman.cli.colours import colours
from pointsman.cli.output import percent, say, table_of, when
from pointsman.cli.rollout_tree import tree_of
from pointsman.cli.rollout_view import show_rollout

_LATENCY: Final = "latency_us_"


def show_status(found: dict[str, Any]) -> None:
    """Prints one project: what should be beside what is. Its rollout is a tree on a terminal, and
    plain text elsewhere."""
    console = Console()
    if not console.is_terminal:
        console.width = 200
    for part in _parts(found):
        if isinstance(part, str):
            say(part)
        elif isinstance(part, Tree) and not console.is_terminal:
            show_rollout(found["rollout"], _actual(found)[found["rollout"]["variant"]])
        else:
            console.print(part)


def picture(found: dict[str, Any], footer: str) -> Group:
    """The same for a live display."""
    parts = [Text(part) if isinstance(part, str) else part for part in _parts(found)]
    return Group(*parts, Text(footer))


def _parts(found: dict[str, Any]) -> Iterator[str | Tree | Table]:
    yield f"{found['project']}   {found['phase']}   revision {found['number']}"
    yield f"  {found['sentence']}"
    yield f"  changed {when(found['changed_ms'])} by {found['actor']}"
    for trouble in found["troubles"]:
        yield f"  WARNING {trouble}"
    for switch in found["kill_switches"]:
        reason = f": {switch['reason']}" if switch["reason"] else ""
        where = " (on this machine's gateway)" if switch["where"] == "gateway" else ""
        yield f"  KILLED {switch['target']} by {switch['actor']}{where}{reason}"
    for proposal in found["proposals"]:
        yield (
            f"  PROPOSED {proposal['id']}: {proposal['variant']} from version "
            f"{proposal['from_version']} to {proposal['to_version']} ({proposal['asked']})"
        )
    yield from _workers(found)
    own = colours(variant["name"] for variant in found["variants"])
    if found.get("rollout") is not None:
        yield tree_of(found["rollout"], _actual(found), own)
    yield table_of(
        ["RULE", "VARIANT", "#TARGET", "#ACTUAL", "#DECISIONS"],
        (
            (
                rule["rule"] if first else "",
                arm["variant"],
                percent(arm["target"]),
                percent(arm["actual"]) or "-",
                arm["decisions"],
            )
            for rule in found["rules"]
            for first, arm in _firsts(rule["arms"])
        ),
        colours=own,
    )
    yield table_of(
        ["VARIANT", "VERSION", "#DECISIONS", "#LABELLED", "RUNTIME", "WHY THIS RUNTIME"],
        (
            (
                variant["name"],
                variant["version"],
                variant["decisions"],
                percent(variant["labels"].get("value")) or "-",
                variant["runtime"],
                variant["runtime_reason"],
            )
            for variant in found["variants"]
        ),
        colours=own,
    )
    yield from _all_figures(found, own)


def _actual(found: dict[str, Any]) -> defaultdict[str, float | None]:
    """The shares of the rule's decisions that variants really had; None where there were none."""
    rollout = found["rollout"]
    arms = [
        arm for rule in found["rules"] if rule["rule"] == rollout["rule"] for arm in rule["arms"]
    ]
    return defaultdict(lambda: None, {arm["variant"]: arm["actual"] for arm in arms})


def _workers(found: dict[str, Any]) -> Iterator[str]:
    target = found["table"]
    workers = target["workers"]
    current = [worker for worker in workers if worker["digest"] == target["digest"]]
    yield f"  table {target['version']}: loaded by {len(current)}/{len(workers)} workers"
    for worker in workers:
        if worker["problem"]:
            yield f"  worker {worker['slot']}: {worker['problem']}"


def _all_figures(found: dict[str, Any], own: Mapping[str, str]) -> Iterator[str | Table]:
    """Variants of a split by what it drew; the others by all their traffic, and said to be so."""
    compared: set[str] = set()
    for rule in found["rules"]:
        arms = [arm for arm in rule["arms"] if arm.get("figures")]
        if arms:
            compared |= {arm["variant"] for arm in arms}
            yield f"rule {rule['rule']}, epoch {rule['epoch']}: {rule['figures_of']}"
            yield from _figures([(arm["variant"], arm["figures"]) for arm in arms], own)
    asked = [variant for variant in found["variants"] if variant["decisions"]]
    others = [variant for variant in asked if variant["name"] not in compared]
    if others:
        yield others[0]["figures_of"]
        yield from _figures([(one["name"], one["figures"]) for one in others], own)
    idle = [variant["name"] for variant in found["variants"] if not variant["decisions"]]
    if idle:
        yield f"no figures, since they answered nothing yet: {', '.join(idle)}"


def _figures(variants: list[tuple[str, dict[str, Any]]], own: Mapping[str, str]) -> Iterator[Table]:
    """One line a metric and variant, variants below each other: comparing is what people come for,
    and lines stay readable however many variants there are."""
    names = list(dict.fromkeys(name for _, figures in variants for name in figures))
    if names:
        yield table_of(
            ["METRIC", "VARIANT", "#VALUE", "INTERVAL", "#N", "NOTE"],
            (
                (
                    _title(name) if place == 0 else "",
                    variant,
                    *figure(name, figures.get(name)),
                )
                for name in names
                for place, (variant, figures) in enumerate(variants)
            ),
            colours=own,
        )


def figure(name: str, found: dict[str, Any] | None) -> tuple[str, str, str, str]:
    """`0.8512`, `[0.8431, 0.8593]`, `4,120`, and why there is no value or no interval, or what the
    interval assumes."""
    if found is None:
        return "", "", "", ""
    count = f"{found['n']:,}"
    if "missing" in found:
        return "-", "", count, found["missing"]
    value, unit = _scaled(name, found["value"]), " ms" if name.startswith(_LATENCY) else ""
    if "low" not in found:
        return value + unit, "", count, found["no_interval"]
    interval = f"[{_scaled(name, found['low'])}, {_scaled(name, found['high'])}]{unit}"
    assumed = "takes decisions as independent" if "as independent" in found["method"] else ""
    return value + unit, interval, count, assumed


def _title(name: str) -> str:
    return f"latency {name.removeprefix(_LATENCY)}" if name.startswith(_LATENCY) else name


def _scaled(name: str, value: float) -> str:
    """Shares to four digits; latencies, which come in microseconds, in milliseconds."""
    return f"{value / 1000:,.2f}" if name.startswith(_LATENCY) else f"{value:.4f}"


def _firsts(arms: list[dict[str, Any]]) -> list[tuple[bool, dict[str, Any]]]:
    return [(place == 0, arm) for place, arm in enumerate(arms)]
