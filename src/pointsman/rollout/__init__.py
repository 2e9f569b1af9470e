"""How a challenger grows, and what stops it: pure, as values in and a plan out.

`reconcile(terms, state, observation, now_ms)` is the whole of it. The phases are a table
(`machine`), everything that can keep a rollout waiting is one list (`holds`), and what has to be
done about the answer is data (`plan`): nothing here reads a clock, a file or a database.
"""
