"""The verdict on a compiled form: differences, and classes that change."""

import numpy as np
import pytest

from pointsman.runtime.parity import compare
from pointsman.runtime.proof import said

TOLERANCE = 1e-5
ROWS = 1_024


def verdict(original, compiled):
    """Compared on many rows, of which the first is this one and all others agree."""
    rest = np.tile([0.25, 0.75], (ROWS - 1, 1))
    before, after = (np.vstack([[row], rest]) for row in (original, compiled))
    return compare(before, after, 0, TOLERANCE)


def test_another_class_fails_at_differences_within_the_tolerance():
    """8e-6 is within the tolerance, and the class is another all the same."""
    found = verdict([0.500008, 0.499992], [0.5, 0.500000001])

    assert found.max_difference < TOLERANCE
    assert (found.class_changes, found.passed) == (1, False)
    assert said(found).endswith("on 1,024 rows (0 of them real), but 1 get another class")


@pytest.mark.parametrize("gap", [0.0, 1e-6, 9e-6])
def test_where_the_original_ties_rounding_may_decide(gap):
    """Neither class is the original's answer more than the other."""
    high, low = 0.5 + gap / 2, 0.5 - gap / 2
    found = verdict([high, low], [low, high + 1e-9])

    assert (found.class_changes, found.passed) == (0, True)


def test_a_tie_counts_only_in_the_original():
    """A compiled form that makes two classes equal has changed the answer."""
    found = verdict([0.499994, 0.500006], [0.5, 0.5])

    assert (found.class_changes, found.passed) == (1, False)


def test_a_tie_excuses_no_difference():
    """Tied or not, probabilities are within the tolerance or the proof fails."""
    assert not verdict([0.5, 0.5], [0.49998, 0.50002]).passed
    assert not verdict([0.5, 0.5], [np.nan, 0.5]).passed
    assert verdict([0.3, 0.7], [0.300009, 0.699991]).passed
