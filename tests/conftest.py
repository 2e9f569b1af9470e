"""Fixtures every part's tests may use."""

import signal
import sys
from pathlib import Path

import pytest

# The test directories are no packages; modules shared between them live beside this file.
sys.path.insert(0, str(Path(__file__).parent))

from mlflow_server import mlflow_server

# Run in the background by a shell, this process ignores Ctrl-C, and so would the programs it
# starts; some tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

__all__ = ["mlflow_server"]
END_TO_END = "tests/end_to_end/"
BY_FILE = (
    "tests/archive/",
    "tests/cli/",
    "tests/controller/",
    "tests/gateway/",
    "tests/monitoring/",
    "tests/plugins/",
    "tests/runtime/",
    "tests/wiring/",
)
"""Where tests of a file share servers: two workers would each start them."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With `--dist loadgroup`, tests that share what takes long to start go to one worker: those of
    a file, and all end-to-end tests, which also measure time and kill processes.

    By path and not by xdist's own mark, which has no effect under pytest 9.2: it is read off node
    ids that pytest no longer lets a plugin amend.
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadGroupScheduling

    class ByPath(LoadGroupScheduling):
        def _split_scope(self, nodeid):
            if nodeid.startswith(END_TO_END):
                return END_TO_END
            if nodeid.startswith(BY_FILE):
                return nodeid.partition("::")[0]
            return super()._split_scope(nodeid)

    return ByPath(config, log)
