"""From scores to what the business does: the one place that turns probabilities into a class."""

from collections.abc import Sequence

from pointsman.domain.table import Variant

ALLOW = "allow"
DENY = "deny"


class Chooser:
    """How one variant's probabilities become a class, and whether that class is denied.

    choose: position of the predicted class. With a threshold: the positive class from there on,
        the likeliest of the others below it. Without: the likeliest; the first of equals
    actions: `deny` or `allow` for each class, in the project's order
    """

    __slots__ = ("_positive", "_threshold", "actions", "classes")

    def __init__(self, variant: Variant, classes: tuple[str, ...], positive: str) -> None:
        self.classes = classes
        self.actions = tuple(DENY if name in variant.deny else ALLOW for name in classes)
        self._threshold = variant.threshold
        self._positive = classes.index(positive) if positive else -1

    def choose(self, probabilities: Sequence[float]) -> int:
        threshold, positive = self._threshold, self._positive
        if threshold is None or positive < 0:
            return probabilities.index(max(probabilities))
        if probabilities[positive] >= threshold:
            return positive
        if len(probabilities) == 2:
            return 1 - positive
        others = [p if k != positive else -1.0 for k, p in enumerate(probabilities)]
        return others.index(max(others))
