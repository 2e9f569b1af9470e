"""Who answers: pure functions from a table, live state and a request to a decision.

No I/O, clock, dice or log in here; the dice are hashes of the request's own identity. The request
path uses `table`, `engine`, `live` and `hashing`; `compile` and `plan` belong to the control plane.
"""
