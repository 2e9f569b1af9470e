"""The SQL store: what the control plane declares, and what decisions and outcomes add up to."""
