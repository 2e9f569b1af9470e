"""Pointsman decides, for every inference request, which model version answers."""

__version__ = "0.1.0"
