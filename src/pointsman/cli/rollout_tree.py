"""A rollout in `pointsman status` on a terminal: a tree of traffic, steps, verdicts and the next
look."""

from typing import Any, Final

from rich.text import Text
from rich.tree import Tree

from pointsman.cli.output import percent, when
from pointsman.cli.rollout_view import NEWCOMER, UNITS, interval_of, number

_STEPS: Final = {
    "done": ("✓", "green"),
    "now": ("▶", "bold"),
    "to_come": ("○", "dim"),
    "ended": ("✗", "red"),
}
_VERDICTS: Final = {
    "pass": ("✓", "green"),
    "fail": ("✗", "red"),
    "inconclusive": ("…", "yellow"),
    "no_data": ("∅", "dim"),
}
_UNFORESEEN: Final = ("?", "red")


def tree_of(found: dict[str, Any], actual: dict[str, float | None], colour: dict[str, str]) -> Tree:
    """The rollout as the API shows it.

    actual: share of the rule's decisions each variant really had; colour: by variant
    """
    tree = Tree(_title(found), guide_style="dim")
    if found["phase"] == "none":
        return tree
    traffic = tree.add(f"traffic of rule {found['rule']}")
    target = {found["variant"]: found["target"]}
    for name in (found["variant"], found["against"]):
        version = found["version"] if name == found["variant"] else found["champion"]
        line = Text.assemble(("■ ", colour.get(name, "")), f"{name} version {version}   ")
        if name in target:
            line.append(f"{percent(target[name])} target, ")
        traffic.add(line.append(f"{percent(actual.get(name)) or '-'} actual"))
    _add_steps(tree, found)
    _add_verdicts(tree, found)
    for left in found["pending"]:
        if left["error"]:
            tree.add(Text(f"not done yet ({left['what']}): {left['error']}", "red"))
    look = found["next_look"]
    line = Text(f"next look {when(look['at_ms'])}")
    if look["labels_ms"] is not None:
        line.append(f"; the next labels count from {when(look['labels_ms'])}")
    tree.add(line)
    return tree


def _title(found: dict[str, Any]) -> Text:
    what = found["sentence"].partition(": ")[2]
    if found["phase"] == "none":
        return Text(f"rollout: {what}")
    title = NEWCOMER.format(**found)
    return Text.assemble(
        (f"{title} ", "bold"), f"(attempt {found['attempt']})", "" if _waits(found) else f"\n{what}"
    )


def _waits(found: dict[str, Any]) -> list[Text]:
    """What it waits for, and until when where that is known."""
    return [
        Text(f"waits for {one['text']}" + (f", until {when(one['at_ms'])}" if one["at_ms"] else ""))
        for one in found["next_look"]["until"]
    ]


def _add_steps(tree: Tree, found: dict[str, Any]) -> None:
    steps, waits = tree.add("steps"), _waits(found)
    for step in found["steps"]:
        glyph, style = _STEPS.get(step["state"], _UNFORESEEN)
        branch = steps.add(Text(f"{glyph} {step['text']}", style))
        if step["state"] == "now":
            for wait in waits:
                branch.add(wait)
            waits = []
    for wait in waits:
        steps.add(wait)


def _add_verdicts(tree: Tree, found: dict[str, Any]) -> None:
    if found["verdict"] is None:
        return
    glyph, style = _VERDICTS.get(found["verdict"], _UNFORESEEN)
    verdicts = tree.add(Text.assemble("verdict ", (f"{glyph} {found['verdict']}", style)))
    if found["blind"]:
        verdicts.add(Text(f"WARNING {found['blind']}", "yellow"))
    for metric in found["metrics"]:
        verdicts.add(_verdict(metric))


def _verdict(metric: dict[str, Any]) -> Text:
    """`✓ deny_rate of country=DE  +3.1 points [-0.2, +6.4], bound +10.0, n=4,120`"""
    glyph, style = _VERDICTS.get(metric["verdict"], _UNFORESEEN)
    name = " of ".join(part for part in (metric["metric"], metric["slice"]) if part)
    role = "" if metric["role"] == "guardrail" else f" ({metric['role']})"
    line = Text.assemble((f"{glyph} {name}{role}  ", style))
    if metric["value"] is None and not interval_of(metric):
        line.append("nothing is known")
    else:
        value = "" if metric["value"] is None else number(metric["value"], metric["unit"])
        shown = f"{value or '-'}{UNITS[metric['unit']]} {interval_of(metric)}"
        line.append(shown.rstrip())
    return line.append(f", bound {number(metric['bound'], metric['unit'])}, n={metric['n']:,}")
