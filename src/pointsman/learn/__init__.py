"""What was learned so far as weights: pure functions for bandit and ensemble rules.

A bandit sees the outcome of the variant it chose, an ensemble those of all its members. Either
publishes weights in batches, and variants are drawn from published weights, so that every logged
propensity is exact.
"""
