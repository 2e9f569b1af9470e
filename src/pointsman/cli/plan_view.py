"""A plan's replay and limits for people."""

from collections.abc import Callable
from typing import Any, Final

from pointsman.cli.output import percent, say, table, when

_SLICES_SHOWN: Final = 20


def show_replay(found: dict[str, Any]) -> None:
    """Prints who moves, what shifts in which slice, and how long a verdict would take."""
    say()
    if not found["decisions"]:
        say("  replay: no logged decisions in the window")
        return
    say(
        f"  replay of {found['decisions']:,} decisions, {when(found['first_ms'])} to "
        f"{when(found['last_ms'])}"
    )
    if found["first_weight"] is not None:
        say(f"  the rollout owns the weights: this is its first step, {found['first_weight']:g} %")
    sampled = found["unit_share"]
    of = f" (of a sample of {percent(sampled)} of units)" if sampled < 1 else ""
    say(
        f"  {percent(found['share'])} of decisions and {percent(found['units_share'])} of units "
        f"move: {found['units_moved']:,} of {found['units']:,} units{of}"
    )
    for count, what in (
        (found["refused"], "pin a variant that goes, and would be refused"),
        (found["erring"], "meet a condition that cannot be evaluated: the champion answers"),
    ):
        if count:
            say(f"  {count:,} decisions {what}")
    _flows(found)
    _slices("WHAT SHIFTS", found)
    _asked(found)
    if found["full"] is not None:
        _slices("WHAT WOULD SHIFT AT 100 % OF THE CHALLENGER", found["full"])
        _asked(found["full"])
    _pace(found)


def show_limits(project: str, limits: dict[str, Any]) -> None:
    """Prints each limit the change is over, and what to do about it."""
    if not limits["over"] and not limits["frozen"]:
        return
    say()
    for one in limits["over"]:
        say(f"  ! {one['sentence']}")
    if limits["frozen"]:
        say(f"  ! {limits['frozen']}")
    if limits["over"]:
        say(f"  plan {limits['plan']}")
        agreed = ", ".join(limits["agreed"]) or "nobody yet"
        say(f"  needs {limits['approvals']} approval(s); agreed: {agreed}")
    if limits["over"] and not limits["open"]:
        say(
            f"  somebody else: pointsman approve {project} --plan {limits['plan'][:16]} "
            "--reason ..."
        )


def _flows(found: dict[str, Any]) -> None:
    moving = [flow for flow in found["flows"] if flow["before"] != flow["after"]]
    if not moving:
        return
    valued = any(flow["value"] for flow in found["flows"])
    table(
        ["FROM", "TO", "#DECISIONS", "#SHARE", *(["#VALUE AT RISK"] if valued else [])],
        (
            (
                flow["before"],
                flow["after"],
                f"{flow['decisions']:,}",
                percent(flow["decisions"] / found["decisions"]),
                *([f"{flow['value']:,.2f}"] if valued else []),
            )
            for flow in moving
        ),
        title="WHO MOVES",
    )


def _slices(title: str, found: dict[str, Any]) -> None:
    shown = [*found["slices"][:_SLICES_SHOWN], found["whole"]]
    table(
        [
            "SLICE",
            "#DECISIONS",
            "#MOVED",
            "#DENIED",
            "#SHIFT",
            "INTERVAL",
            "SCORE",
            "LATENCY",
            "COST",
            "FROM",
        ],
        (_slice(one) for one in shown),
        title=title,
    )
    left = len(found["slices"]) - _SLICES_SHOWN
    if left > 0:
        say(f"  and {left} slices that shift less; -o json shows them")


def _slice(one: dict[str, Any]) -> tuple[str, ...]:
    denied, cost = one["denied"], one["cost"]
    told = (
        ("", "not known", "")
        if denied is None
        else (
            f"{percent(denied['before'])} → {percent(denied['after'])}",
            f"{denied['shift'] * 100:+.2f} points",
            f"{denied['low'] * 100:+.2f} to {denied['high'] * 100:+.2f}",
        )
    )
    return (
        one["name"] or "all decisions",
        f"{one['decisions']:,}",
        percent(one["moved"] / one["decisions"] if one["decisions"] else 0.0),
        *told,
        _estimated(one, "score", lambda shift: f"{shift:+.4f}"),
        _estimated(one, "latency_us", lambda shift: f"{shift / 1000:+.2f} ms"),
        f"{cost['after'] - cost['before']:+g}" if cost["after"] != cost["before"] else "",
        ", ".join(f"{count:,} {name}" for name, count in one["sources"].items() if count),
    )


def _estimated(one: dict[str, Any], what: str, written: Callable[[float], str]) -> str:
    """A shift, and the share of the slice's decisions it is about where that is not all."""
    found = one[what]
    if found is None:
        return ""
    share = found["decisions"] / one["decisions"]
    return written(found["shift"]) + (f" (of {percent(share)})" if share < 1 else "")


def _asked(found: dict[str, Any]) -> None:
    """On how many of the decisions it would get a version was scored, and what became of the
    rest of the sample."""
    for one in found["asked"]:
        name = f"{one['variant']}:{one['version']}"
        if not one["scored"]:
            why = f": {one['why']}" if one["why"] else ""
            say(
                f"  {name} could not be scored on any of the {one['decisions']:,} decisions it "
                f"would get and has not met{why}"
            )
        else:
            say(
                f"  {name} scored on {one['scored']:,} of the {one['decisions']:,} decisions it "
                "would get and has not met, drawn by hash"
            )
        rest = [
            (one["absent"], "logged without features"),
            (one["refused"], f"that it cannot take ({one['why']})"),
            (one["late"], "not reached in time"),
        ]
        said = ", ".join(f"{count:,} {what}" for count, what in rest if count)
        if said:
            say(f"    of the {one['drawn']:,} drawn: {said}")


def _pace(found: dict[str, Any]) -> None:
    if found["per_day"]:
        daily = ", ".join(f"{arm} {n:,.0f}" for arm, n in sorted(found["per_day"].items()))
        say(f"  decisions a day, at the rate of the window: {daily}")
    _ratio(found["sample_ratio"])
    for wait in found["waits"]:
        if wait["days"] is None:
            say(f"  {wait['metric']}: may never be decided at this weight")
        else:
            say(
                f"  {wait['metric']}: of a harmless challenger it is shown after "
                f"{wait['decisions']:,.0f} decisions, {wait['days']:.3g} days "
                "(in four of five runs)"
            )


def _ratio(found: dict[str, Any] | None) -> None:
    """Whom the rollout's split would draw: shares promised and shares given, by unit."""
    if found is None:
        return
    split = found["split"]
    total = sum(split["units"])
    if split["out"]:
        say(f"  sample ratio: nothing is drawn while {', '.join(split['out'])} is switched off")
    elif not total:
        say(f"  sample ratio: no unit of the window meets rule {split['rule']}")
    else:
        arms = ", ".join(
            f"{arm} {units:,} of {expected:,.0f} expected"
            for (arm, _), units, expected in zip(
                split["shares"], split["units"], found["expected"], strict=True
            )
        )
        verdict = "as a fair draw gives" if found["fair"] else "NOT what a fair draw gives"
        say(f"  sample ratio of rule {split['rule']}: units {arms}: {verdict}")
    beside = [
        (split["held_out"], "units are held out"),
        (split["pinned"], "units always pin a variant and are not drawn"),
        (split["alone"], "decisions have no unit and are drawn each by itself"),
    ]
    said = ", ".join(f"{count:,} {what}" for count, what in beside if count)
    if said:
        say(f"    {said}")
    if found["seen_after"] is not None:
        say(
            f"    if {percent(found['lost'])} of the challenger's units were lost, it would show "
            f"after {found['seen_after']:,} units (in four of five runs)"
        )
