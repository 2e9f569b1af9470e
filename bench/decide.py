"""Microseconds that `decide()` takes, beside a bare hash and bisect in the same run.

    python bench/decide.py [--seconds 0.8] [--profile]

Prints a table and leaves with status 1 where a budget of the architecture is not held: 5 us for
three rules of which none needs CEL, 12 us with two CEL conditions. Figures are the best of several
runs, since noise only ever adds.
"""

import argparse
import cProfile
import pstats
import sys
from bisect import bisect_right
from collections.abc import Callable
from itertools import cycle, islice
from time import perf_counter_ns

from xxhash import xxh3_64_intdigest

from pointsman.decide.allocation import initial
from pointsman.decide.engine import decide
from pointsman.decide.table import CompiledProject, load
from pointsman.domain.decision import NOTHING_LIVE, Live, Request
from pointsman.domain.table import (
    SPACE,
    Attribute,
    AttributeType,
    ProjectTable,
    Rule,
    Runtime,
    Shadow,
    Variant,
)

UNITS = 4096
ROUNDS = 15
NO_CEL_US = 5.0
TWO_CEL_US = 12.0
SPLIT = initial({"champion": 90, "challenger": 10})


def rule(name: str, when: str | None = None, use: str = "", **changes: object) -> Rule:
    """A rule that splits 90/10 unless it uses one variant."""
    fields: dict[str, object] = {
        "allocation": None if use else SPLIT,
        "salt": f"default/bench/{name}#split",
        "holdout": 0,
        "holdout_salt": "default/bench#holdout",
        "shadows": (),
        "fallback": ("champion", "constant"),
        "epoch": 1,
    }
    return Rule(name=name, when=when, use=use, **(fields | changes))  # type: ignore[arg-type]  # fields by name


CONSTANTS = tuple(
    Variant(name, "1", "", "", Runtime.CONSTANT, "no")
    for name in ("champion", "challenger", "constant")
)


def project(*rules: Rule, variants: tuple[Variant, ...] = CONSTANTS) -> CompiledProject:
    """A compiled project with two context attributes."""
    table = ProjectTable(
        tenant="default",
        project="bench",
        revision="",
        number=1,
        classes=("no", "yes"),
        positive="yes",
        unit="account_id",
        context=(
            Attribute("amount", AttributeType.DOUBLE),
            Attribute("country", AttributeType.STRING),
        ),
        features=(),
        variants=variants,
        rules=rules,
        deadline_ms=100,
    )
    return load(table)


def requests(pin: str | None = None) -> list[Request]:
    """One request for each of many units, as a gateway builds them."""
    context = {"amount": 12.5, "country": "DE"}
    return [Request(f"d-{i:08}", f"account-{i}", context, pin) for i in range(UNITS)]


def microseconds(call: Callable[[Request], object], given: list[Request], seconds: float) -> float:
    """Best of several rounds of one call, the loop around it taken off."""
    repeat = max(1, int(seconds / ROUNDS / (UNITS * 2e-6)))
    best = empty = float("inf")
    for _ in range(ROUNDS):
        start = perf_counter_ns()
        for _request in islice(cycle(given), repeat * UNITS):
            pass
        middle = perf_counter_ns()
        for request in islice(cycle(given), repeat * UNITS):
            call(request)
        end = perf_counter_ns()
        empty = min(empty, middle - start)
        best = min(best, end - middle)
    return (best - empty) / (repeat * UNITS) / 1000


def floor(given: Request) -> str:
    """The least a split can be: hash the unit, bisect the cuts."""
    unit = given.unit or given.id
    point = xxh3_64_intdigest(b"default/bench/default#split\0" + unit.encode()) >> 32
    return SPLIT.arms[bisect_right(SPLIT.cuts, point) - 1]


def cases() -> list[tuple[str, Callable[[Request], object], list[Request], float | None]]:
    """(what, call, requests, budget in us) for each line of the table."""
    no_cel = (rule("never", "false"), rule("nor-this", "1 > 2", "champion"))
    two_cel = (
        rule("embargo", 'request.country in ["KP", "SY"]', "constant"),
        rule("big-payments", "request.amount > 10000.0", "champion"),
    )
    engine = (
        rule("embargo", 'request.country.startsWith("K")', "constant"),
        rule("big-payments", "request.amount * 2.0 > 20000.0", "champion"),
    )
    split = rule("default")
    busy = rule(
        "default", holdout=SPACE // 100, shadows=(Shadow("constant", SPACE // 5, "shadow"),)
    )
    plain = requests()

    def deciding(compiled: CompiledProject, live: Live = NOTHING_LIVE) -> Callable[..., object]:
        return lambda request: decide(compiled, live, request)

    out = Live(out=("challenger",))
    return [
        ("floor: hash and bisect alone", floor, plain, None),
        ("one rule, split", deciding(project(split)), plain, NO_CEL_US),
        ("three rules, none needs CEL", deciding(project(*no_cel, split)), plain, NO_CEL_US),
        ("  and holdout, shadow, fallback", deciding(project(*no_cel, busy)), plain, NO_CEL_US),
        ("  and a variant out", deciding(project(*no_cel, busy), out), plain, NO_CEL_US),
        (
            "two plain CEL conditions, then split",
            deciding(project(*two_cel, split)),
            plain,
            TWO_CEL_US,
        ),
        ("  and holdout, shadow, fallback", deciding(project(*two_cel, busy)), plain, TWO_CEL_US),
        (
            "two that need an engine, then split",
            deciding(project(*engine, split)),
            plain,
            TWO_CEL_US,
        ),
        ("one rule, `use`", deciding(project(rule("default", use="champion"))), plain, NO_CEL_US),
        ("pinned", deciding(project(split)), requests("challenger"), NO_CEL_US),
        ("project killed", deciding(project(split), Live(killed=True)), plain, NO_CEL_US),
    ]


def main() -> int:
    """0 where every budget is held, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.8, help="for each line")
    parser.add_argument("--profile", action="store_true", help="of the line with two conditions")
    options = parser.parse_args()
    if options.profile:
        _, call, given, _ = cases()[6]
        with cProfile.Profile() as profile:
            for request in given * 20:
                call(request)
        pstats.Stats(profile).sort_stats("tottime").print_stats(12)
        return 0
    print(f"{'decide()':36}{'us':>8}{'x floor':>9}{'budget':>8}")
    base, over = 0.0, 0
    for what, call, given, budget in cases():
        found = microseconds(call, given, options.seconds)
        base = base or found
        held = budget is None or found <= budget
        over += not held
        limit = "" if budget is None else f"{budget:.0f}{'' if held else ' OVER'}"
        print(f"{what:36}{found:8.2f}{found / base:9.1f}{limit:>8}")
    return min(over, 1)


if __name__ == "__main__":
    sys.exit(main())
