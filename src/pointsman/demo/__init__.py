"""`pointsman demo`: the whole system on real models and real data, in front of the reader's eyes.

It starts what a team would have, a model registry and Pointsman, and then does nothing that a user
could not do: it trains and registers models, applies a project file, sends traffic, posts labels
late, and asks who served what and why. Every command it runs is shown as one would type it.
"""
