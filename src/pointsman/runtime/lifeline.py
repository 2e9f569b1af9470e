"""Processes that must not outlive the one that started them."""

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def die_with_parent(signal_number: int = signal.SIGKILL) -> None:
    """Lets the kernel send the signal when the parent (more exactly its starting thread) ends.

    Linux only; elsewhere children end when their socket closes.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)
