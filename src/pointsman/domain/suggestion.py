"""Guessing what somebody meant, for hints."""

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'split'?`, or the few that are known, or "" where nothing is."""
    names = sorted(set(known))
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.7)
    if not close:
        close = [name for name in names if name.casefold() == word.casefold()]
    if close:
        return f"did you mean '{close[0]}'?"
    if 0 < len(names) <= 12:
        return "known here: " + ", ".join(names)
    return ""
