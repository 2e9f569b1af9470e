"""`pointsman status` as people see it."""

from typing import Any

from pointsman.cli.output import percent, say, table, when

_MOST_DETAILS = 60


def show_status(found: dict[str, Any]) -> None:
    """Prints one project: what should be beside what is."""
    say(f"{found['project']}   {found['phase']}   revision {found['number']}")
    say(f"  {found['sentence']}")
    say(f"  changed {when(found['changed_ms'])} by {found['actor']}")
    for trouble in found["troubles"]:
        say(f"  WARNING {trouble}")
    for switch in found["kill_switches"]:
        reason = f": {switch['reason']}" if switch["reason"] else ""
        where = " (on this machine's gateway)" if switch["where"] == "gateway" else ""
        say(f"  KILLED {switch['target']} by {switch['actor']}{where}{reason}")
    for proposal in found["proposals"]:
        say(
            f"  PROPOSED {proposal['id']}: {proposal['variant']} from version "
            f"{proposal['from_version']} to {proposal['to_version']} ({proposal['asked']})"
        )
    _workers(found)
    table(
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
    )
    table(
        ["VARIANT", "VERSION", "RUNTIME", "#DECISIONS", "#LABELLED", "WHY THIS RUNTIME"],
        (
            (
                variant["name"],
                variant["version"],
                variant["runtime"],
                variant["decisions"],
                percent(variant["labels"].get("value")) or "-",
                variant["runtime_reason"],
            )
            for variant in found["variants"]
        ),
    )
    _figures(found["variants"])


def _workers(found: dict[str, Any]) -> None:
    target = found["table"]
    workers = target["workers"]
    current = [worker for worker in workers if worker["digest"] == target["digest"]]
    say(f"  table {target['version']}: loaded by {len(current)}/{len(workers)} workers")
    for worker in workers:
        if worker["problem"]:
            say(f"  worker {worker['slot']}: {worker['problem']}")


def _figures(variants: list[dict[str, Any]]) -> None:
    """One line a metric, one column a variant: comparing is what people come for."""
    names = list(dict.fromkeys(name for variant in variants for name in variant["figures"]))
    table(
        ["METRIC", *(variant["name"] for variant in variants)],
        (
            (name, *(figure(name, variant["figures"].get(name)) for variant in variants))
            for name in names
        ),
    )


def figure(name: str, found: dict[str, Any] | None) -> str:
    """`0.8512 [0.8431, 0.8593] n=4,120`, or why there is none."""
    if found is None:
        return ""
    if "missing" in found:
        return f"- ({found['missing']})"[:_MOST_DETAILS]
    shape = ",.0f" if name.startswith("latency_us") else ".4g"
    text = format(found["value"], shape)
    if "low" in found:
        text += f" [{format(found['low'], shape)}, {format(found['high'], shape)}]"
    return f"{text} n={found['n']:,}"


def _firsts(arms: list[dict[str, Any]]) -> list[tuple[bool, dict[str, Any]]]:
    return [(place == 0, arm) for place, arm in enumerate(arms)]
