"""What the demo claims, checked against what the client saw and what Pointsman says."""

from typing import Any, Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families
from scipy.stats import binom

CHALLENGER_SHARE: Final = 0.1
SHADOW_SHARE: Final = 0.25
ALPHA: Final = 1e-6
"""Chance that a right split is called wrong; a split that is off by a point is still found out."""

Checked = tuple[str, bool]


class Seen(NamedTuple):
    """Everything there is to compare.

    replayed: what the client counted (`replay.py --result`); status, explained: of the commands
    metrics: the gateway's own, in Prometheus' text form
    """

    replayed: dict[str, Any]
    status: dict[str, Any]
    explained: dict[str, Any]
    metrics: str


def all_of(seen: Seen) -> list[Checked]:
    """Sentences with whether they hold."""
    replayed, status, explained, metrics = seen
    asked, told = replayed["decisions"], replayed["labels"]
    challenger, split = _split(replayed)
    low, high = bounds(split, CHALLENGER_SHARE)
    runtimes = {variant["runtime"] for variant in status["variants"]}
    drawn = (
        f"the challenger answered {challenger:,} of the {split:,} that the split drew; at 10 % "
        f"between {low:,} and {high:,} are to be expected"
    )
    return [
        (f"all {asked:,} requests and {told:,} labels were taken", _all_taken(replayed)),
        (f"all {asked:,} decisions are recorded, none twice", decisions(status) == asked),
        (f"all {told:,} labels are joined, none twice", labels(status) == told),
        (drawn, low <= challenger <= high),
        _shadowed(replayed, metrics),
        ("every variant served as many as the client saw of it", _same_counts(replayed, status)),
        (
            "compiled models run as ONNX, the one that cannot be runs natively",
            {"onnx", "native", "constant"} <= runtimes,
        ),
        ("the explained decision, made again from its record, is equal", explained["equal"]),
    ]


def decisions(status: dict[str, Any]) -> int:
    """All that were served."""
    return sum(variant["decisions"] for variant in status["variants"])


def labels(status: dict[str, Any]) -> int:
    """Answers whose label is known."""
    shares = [variant["labels"] for variant in status["variants"]]
    return sum(round(share["value"] * share["n"]) for share in shares if "value" in share)


def bounds(n: int, share: float) -> tuple[int, int]:
    """Counts between which a fair draw of `n` at `share` lies, all but once in 1 / ALPHA times."""
    return int(binom.ppf(ALPHA / 2, n, share)), int(binom.ppf(1 - ALPHA / 2, n, share))


def _all_taken(replayed: dict[str, Any]) -> bool:
    asked, told = replayed["decisions"], replayed["labels"]
    return bool(replayed["refused"] == 0 and asked > 0 and told == asked)


def _shadowed(replayed: dict[str, Any], metrics: str) -> Checked:
    """Whether the candidate saw its share of those the default rule decided, and answered."""
    decided = sum(n for _, reason, n in replayed["answers"] if reason in {"SPLIT", "HOLDOUT"})
    shown = {
        sample.labels["result"]: int(sample.value)
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == "pointsman_shadow_total"
    }
    low, high = bounds(decided, SHADOW_SHARE)
    answered = shown.get("answered", 0)
    sentence = (
        f"the shadow answered {answered:,} of {decided:,} unseen by anyone; at 25 % between "
        f"{low:,} and {high:,} were to be shown to it"
    )
    return sentence, answered > 0 and low <= sum(shown.values()) <= high


def _split(replayed: dict[str, Any]) -> tuple[int, int]:
    """How many the challenger got of those drawn by the split, and how many were drawn."""
    drawn = {variant: n for variant, reason, n in replayed["answers"] if reason == "SPLIT"}
    return drawn.get("challenger", 0), sum(drawn.values())


def _same_counts(replayed: dict[str, Any], status: dict[str, Any]) -> bool:
    served = {one["name"]: one["decisions"] for one in status["variants"] if one["decisions"]}
    return bool(served == replayed["variants"])
