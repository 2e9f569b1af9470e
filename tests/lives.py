"""Which seeds tests of random lives run, and how one of them is replayed.

POINTSMAN_LIVES: how many seeds each such test runs, instead of its own number
POINTSMAN_SEED: this one alone
"""

import os
from contextlib import contextmanager
from itertools import pairwise


def batches(usual, parts):
    """Ranges of seeds, for tests that are to run side by side; `usual` of them in all."""
    alone = os.environ.get("POINTSMAN_SEED")
    if alone is not None:
        return [range(int(alone), int(alone) + 1)]
    lives = int(os.environ.get("POINTSMAN_LIVES", usual))
    parts = min(parts, lives)
    cuts = [lives * part // parts for part in range(parts + 1)]
    return [range(start, end) for start, end in pairwise(cuts)]


@contextmanager
def named(seed, path):
    """Whatever is raised says which seed it was, and how to see it again."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"seed {seed}; to replay it: POINTSMAN_SEED={seed} pytest {path}")
        raise
