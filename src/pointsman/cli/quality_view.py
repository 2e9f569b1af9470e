"""`pointsman quality` as people see it."""

from typing import Any

from pointsman.cli.output import percent, say, table, when


def show_quality(found: dict[str, Any]) -> None:
    """Prints how many rows had problems, and which, by variant."""
    name = found["project"]
    rows = sum(one["rows"] for one in found["variants"])
    touched = sum(one["with_problems"] for one in found["variants"])
    if not found["declared"]:
        say(f"{name}: declares no `quality`; rows that do not fit are refused")
    share = f" ({percent(touched / rows)})" if rows else ""
    say(
        f"{name}: {touched:,} of {rows:,} rows with problems{share} since {when(found['since_ms'])}"
    )
    if not found["problems"]:
        return
    table(
        ["FEATURE", "PROBLEM", "ANSWER", "VARIANT", "#ROWS", "#SHARE"],
        (
            (
                one["feature"],
                one["problem"],
                one["answer"],
                one["variant"],
                f"{one['rows']:,}",
                percent(one["share"]),
            )
            for one in found["problems"]
        ),
    )
    say("refused requests are counted in the gateway's /metrics alone")
