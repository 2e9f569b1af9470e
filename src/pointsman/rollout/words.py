"""Sentences for people: short, with the numbers that decided, the same everywhere they are read."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final, assert_never

from pointsman.rollout.observation import Finding, Unit, Version
from pointsman.rollout.terms import Analyse, Approve, SetWeight, Step

_SPANS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))


def percent(weight: Decimal) -> str:
    """`5 %`, `0.5 %`: as it was written."""
    text = f"{weight:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{text} %"


def span(milliseconds: int) -> str:
    """A length of time in its two largest units, rounded up to whole seconds: `1 h 59 min`."""
    rest = -(-max(milliseconds, 0) // 1000) * 1000
    parts: list[str] = []
    for size, name in _SPANS:
        amount, rest = divmod(rest, size)
        if amount:
            parts.append(f"{amount} {name}")
    return " ".join(parts[:2]) or "0 s"


def finding(found: Finding) -> str:
    """`deny_rate of country=EU +3.1 points, bound +1.0, n=4,120`; the reason where no number is."""
    name = f"{found.metric} of {found.slice}" if found.slice else found.metric
    if found.value is None:
        return f"{name}: {found.text}" if name and found.text else found.text or f"{name}: no data"
    bound = "" if found.bound is None else f", bound {_number(found.bound, found.unit)}"
    unit = _suffix(found.unit)
    return f"{name} {_number(found.value, found.unit)}{unit}{bound}, n={found.n:,}".strip()


def findings(found: Iterable[Finding], most: int = 1) -> str:
    """The first ones, and how many more there are."""
    every = list(found)
    text = "; ".join(finding(one) for one in every[:most])
    more = len(every) - most
    return f"{text} (and {more} more)" if more > 0 else text


def version(name: str, pinned: Version) -> str:
    """`challenger version 13`."""
    return f"{name} version {pinned.label}"


def step(course: tuple[Step, ...], position: int) -> str:
    """`step 2 of 8 (analysis)`; what lies beyond both ends has names of its own."""
    if position < 0:
        return "before the first step"
    if position >= len(course):
        return "promotion"
    return f"step {position + 1} of {len(course)} ({_kind(course[position])})"


def _kind(one: Step) -> str:
    match one:
        case SetWeight(weight):
            return f"weight {percent(weight)}"
        case Analyse():
            return "analysis"
        case Approve(by):
            return f"approval by {by}"
        case _:
            assert_never(one)


def _number(value: float, unit: Unit) -> str:
    match unit:
        case Unit.POINTS | Unit.PERCENT:
            return f"{value * 100:+.1f}"
        case Unit.PLAIN:
            return f"{value:+.4g}"
        case _:
            assert_never(unit)


def _suffix(unit: Unit) -> str:
    match unit:
        case Unit.POINTS:
            return " points"
        case Unit.PERCENT:
            return " %"
        case Unit.PLAIN:
            return ""
        case _:
            assert_never(unit)
