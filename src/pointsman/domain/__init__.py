"""Frozen values of the running system. Knows nothing of files, sockets, clocks or dice."""
