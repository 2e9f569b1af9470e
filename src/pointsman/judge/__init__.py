"""What the evidence says: pure functions from evidence cells to figures, intervals and verdicts.

Intervals are valid however often someone looks. What cannot be computed is another type with a
reason, never a number.
"""
