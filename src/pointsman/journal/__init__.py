"""Append-only segments on local disk: what was answered and acknowledged, in the order it was."""
