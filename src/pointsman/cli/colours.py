"""One variant, one colour: the same in the terminal as in the dashboard (static/js/colours.js).

Okabe and Ito's palette, which colour-blind people can tell apart.
"""

from collections.abc import Iterable
from typing import Final

CHAMPION: Final = "#0072b2"
CHALLENGER: Final = "#e69f00"
OTHERS: Final = ("#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8c6d31", "#7f7f7f")


def colours(variants: Iterable[str]) -> dict[str, str]:
    """The colour of each of a project's variants, as `#rrggbb`."""
    fixed = {"champion": CHAMPION, "challenger": CHALLENGER}
    others = sorted({*variants} - fixed.keys())
    return fixed | {name: OTHERS[place % len(OTHERS)] for place, name in enumerate(others)}
