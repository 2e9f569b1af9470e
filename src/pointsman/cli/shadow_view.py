"""`pointsman shadow` as people see it."""

from typing import Any, Final

from pointsman.cli.output import percent, say, table, warn

_WORDS: Final = {
    "better": "shadow is better",
    "worse": "shadow is worse",
    "not shown": "no difference shown",
}


def show_shadow(found: dict[str, Any]) -> None:
    """Prints every comparison of a project; what labels cannot say is said first, and loudly."""
    if not found["comparisons"]:
        say(f"{found['project']}: no rule has a shadow")
    for comparison in found["comparisons"]:
        _comparison(found["project"], comparison)


def _comparison(project: str, found: dict[str, Any]) -> None:
    served = f"{found['served']}:{found['served_version']}"
    shadow = f"{found['shadow']}:{found['shadow_version']}"
    pairs = found["agreement"]["n"]
    failed = f", {found['failed']:,} without an answer of the shadow" if found["failed"] else ""
    say(f"{project} rule {found['rule']}: {served} served, {shadow} beside it")
    say(f"  {pairs:,} requests answered by both{failed}")
    if not pairs:
        return
    if found["labels"]["state"] == "open":
        say(f"  {found['labels']['text']}")
    else:
        warn(f"WARNING {found['labels']['text']}")
        warn("WARNING nothing is claimed about who is right, however many labels there are")
    say(
        f"  same class {percent(found['agreement']['same_class'])}, same action "
        f"{percent(found['agreement']['same_action'])}; the shadow would deny "
        f"{found['newly_denied']:,} that were allowed, and allow {found['newly_allowed']:,} that "
        "were denied"
    )
    shift = found["shift"]
    if shift is not None:
        say(f"  score {shift['mean']:+.4f} on average, deviation {shift['deviation']:.4f}")
    _matrix(found)
    if found["flips"]:
        table(
            ["SERVED", "SHADOW", "#PAIRS", "#LABELLED", "#SERVED RIGHT", "#SHADOW RIGHT"],
            (
                (
                    flip["served"],
                    flip["shadow"],
                    f"{flip['count']:,}",
                    f"{flip['labelled']:,}",
                    _or_dash(flip["served_right"]),
                    _or_dash(flip["shadow_right"]),
                )
                for flip in found["flips"]
            ),
            title="flips",
        )
    if found["slices"]:
        table(
            ["SLICE", "#PAIRS", "#SAME CLASS", "#SAME ACTION"],
            (
                (
                    part["slice"],
                    f"{part['n']:,}",
                    percent(part["same_class"]) or "-",
                    percent(part["same_action"]) or "-",
                )
                for part in found["slices"]
            ),
            title="agreement by slice",
        )
    table(
        ["METRIC", "#SERVED", "#SHADOW", "#GAIN", "INTERVAL", "#WON", "#LOST", "#N", "VERDICT"],
        (_claim(claim) for claim in found["paired"]),
        title="first pair of each unit, labels matured",
    )


def _matrix(found: dict[str, Any]) -> None:
    rows = zip(found["classes"], found["matrix"], strict=True)
    table(
        ["SERVED \\ SHADOW", *(f"#{name}" for name in found["classes"])],
        ((name, *(f"{count:,}" for count in row)) for name, row in rows),
        title="served class by row, the shadow's by column",
    )


def _claim(found: dict[str, Any]) -> tuple[str, ...]:
    count = f"{found['n']:,}"
    if "missing" in found:
        why = "REFUSED" if found["refused"] else f"none: {found['missing']}"
        return found["metric"], "-", "-", "-", "", "-", "-", count, why
    return (
        found["metric"],
        f"{found['served']:.4f}",
        f"{found['shadow']:.4f}",
        f"{found['value']:+.4f}",
        f"[{found['low']:+.4f}, {found['high']:+.4f}]",
        f"{found['wins']:,}",
        f"{found['losses']:,}",
        count,
        _WORDS[found["verdict"]],
    )


def _or_dash(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"
