"""How a bound spends its error: on each epoch apart, and on all of them together.

A sticky unit is drawn once and comes back in every epoch, so what one draw made of it shows in each
of them again. Exact tests take units as fresh draws, so they may not add epochs up: each epoch has
a test of its own with a part of the error that was fixed beforehand, and the bound is the tightest
of them. By the union of errors that holds however epochs depend on each other, at every look.

The weighted mean of the epochs' e-values would be larger, but it is an e-value only at looks that
do not depend on earlier epochs: with two epochs, the worst dependence makes it err in 1.57 times
alpha where anybody peeks, since Ville's inequality holds for each epoch's own past alone.

Asymptotic sequences take their variance between unit buckets over all epochs, so that they see
units that come back and may add epochs up; they have the rest of the error.

Sources: Ville (1939); Bonferroni; Choe & Ramdas (2024), "Combining evidence across filtrations".
"""

from typing import Final

import msgspec


class Spending(msgspec.Struct, frozen=True):
    """Parts of one bound's error, fixed before the first block. They add up to at most 1.

    exact: part of the exact tests of single epochs, in (0, 1); the rest is of the asymptotic one
    favoured: number of the epoch, from 1, in which a decision is expected
    at_favoured: its part of `exact`, in (0, 1); the others share the rest by their distance
    """

    exact: float
    favoured: int
    at_favoured: float

    @property
    def asymptotic(self) -> float:
        """Part of the test that adds epochs up."""
        return 1.0 - self.exact

    def of_epoch(self, number: int) -> float:
        """Part of `exact` of the number-th epoch, from 1; over all epochs there may ever be, 1.

        1 / (j (j + 1)) of what the favoured one leaves, j epochs away from it; after an epoch
        other than the first, half of that on either side.
        """
        away = abs(number - self.favoured)
        if not away:
            return self.at_favoured
        sides = 2 if self.favoured > 1 else 1
        return (1.0 - self.at_favoured) / sides / (away * (away + 1))


HARM: Final = Spending(exact=0.8, favoured=1, at_favoured=0.75)
"""Large harm shows at the first weight, and before a normal approximation may act."""


def safety(epochs: int) -> Spending:
    """Of showing that no harm is left, which is asked for at the last of so many weights."""
    return Spending(exact=0.5, favoured=max(epochs, 1), at_favoured=0.5)
