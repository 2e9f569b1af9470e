"""Selective labels: outcomes that are seen only where one action was taken.

A declined loan never defaults and a blocked payment is never disputed. Labels then say nothing of
the decisions that were denied, so scoring a second model by them flatters whichever agrees with the
one that served: no count of labels makes it fair. Nor does a split: each arm is scored by what it
allowed, so whichever denies more looks better by its survivors. Such claims are refused, never
estimated; what helps is a randomised share that is allowed whatever the models say, or to compare
what is known of every decision that was assigned, whatever became of it.

Labels that are made up for denied decisions ("blocked, so fraud") look complete and cannot be told
from evidence.

Source: Lakkaraju, Kleinberg, Leskovec, Ludwig, Mullainathan (2017), KDD: "The Selective Labels
Problem"; the intervals are those of sequential.proportion.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import reduce
from typing import Final

import msgspec

from pointsman.domain.evidence import Paired
from pointsman.judge.figure import Figure, Interval
from pointsman.judge.sequential import proportion

TOLERANCE: Final = 0.1
"""Difference of label coverage between actions that is taken for chance, not for a rule."""


class ActionCoverage(msgspec.Struct, frozen=True):
    """Matured decisions by the action that was served, and how many of each have a label."""

    allowed: int = 0
    allowed_labelled: int = 0
    denied: int = 0
    denied_labelled: int = 0


class Labels(StrEnum):
    """Whether labels can be used for both actions alike. Only OPEN can."""

    OPEN = "open"
    UNPROVEN = "unproven"
    SELECTIVE = "selective"


class Selection(msgspec.Struct, frozen=True):
    """The finding, and a sentence for people."""

    labels: Labels
    text: str


def merge(a: ActionCoverage, b: ActionCoverage) -> ActionCoverage:
    """Both counted together."""
    return ActionCoverage(
        a.allowed + b.allowed,
        a.allowed_labelled + b.allowed_labelled,
        a.denied + b.denied,
        a.denied_labelled + b.denied_labelled,
    )


def coverage_of(pairs: Paired) -> ActionCoverage:
    """By the served answer's action; not of `transposed` pairs, whose served answer never acted."""
    every, known = pairs.actions, pairs.labelled_actions
    return ActionCoverage(
        every[0] + every[1], known[0] + known[1], every[2] + every[3], known[2] + known[3]
    )


def selection(coverage: ActionCoverage, *, may_deny: bool, alpha: float = 0.05) -> Selection:
    """Whether outcomes are seen for both actions, at every look but for alpha.

    may_deny: the spec declares classes that are denied (`decision.deny`). Then labels are taken to
        depend on the action until evidence shows them to arrive for both, within TOLERANCE.
    """
    if not may_deny and not coverage.denied:
        return Selection(Labels.OPEN, "no decision is denied, so no label depends on it")
    shares = [
        _bounds(coverage.allowed_labelled, coverage.allowed, alpha / 2),
        _bounds(coverage.denied_labelled, coverage.denied, alpha / 2),
    ]
    (allowed_low, allowed_high), (denied_low, denied_high) = shares
    seen = (
        f"{coverage.denied_labelled:,} of {coverage.denied:,} denied decisions have a label, and "
        f"{coverage.allowed_labelled:,} of {coverage.allowed:,} allowed ones"
    )
    if max(allowed_low - denied_high, denied_low - allowed_high) > TOLERANCE:
        text = f"SELECTIVE LABELS: outcomes are seen mostly for one action: {seen}"
        return Selection(
            Labels.SELECTIVE,
            f"{text}; answers that differ in their action cannot be compared by them, in shadow or "
            "in a split. Allow a randomised share whatever the models say, or compare what is "
            "known of every decision assigned: denials, errors, rewards, costs",
        )
    if max(allowed_high - denied_low, denied_high - allowed_low) <= TOLERANCE:
        return Selection(Labels.OPEN, f"outcomes are seen for both actions alike: {seen}")
    return Selection(
        Labels.UNPROVEN,
        f"some classes are denied, and labels are not yet shown to arrive for both actions: {seen}",
    )


def selection_of_arms(
    arms: Mapping[str, ActionCoverage], *, may_deny: bool, alpha: float = 0.05
) -> Selection:
    """As `selection`, of the arms of a split: labels that are SELECTIVE in one arm are so for all.

    arms: by name of the variant. Whether a label comes depends on what was done, not on which arm
        did it, so all of them together show that labels are OPEN: a small arm need not do so alone.
    """
    part = alpha / (len(arms) + 1)
    for name, coverage in arms.items():
        found = selection(coverage, may_deny=may_deny, alpha=part)
        if found.labels is Labels.SELECTIVE:
            text = found.text.replace("one action:", f"one action of {name}:", 1)
            return Selection(found.labels, text)
    return selection(reduce(merge, arms.values(), ActionCoverage()), may_deny=may_deny, alpha=part)


def _bounds(labelled: int, n: int, alpha: float) -> tuple[float, float]:
    found = proportion(labelled, n, alpha)
    if isinstance(found, Figure) and isinstance(found.interval, Interval):
        return found.interval.low, found.interval.high
    return 0.0, 1.0
