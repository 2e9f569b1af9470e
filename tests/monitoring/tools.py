"""Prometheus and Alertmanager as Debian packages them; nothing starts by being installed."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PACKAGES: Final = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
}
"""Programs by the package that holds them."""
_LIMIT_S: Final = 300
_POLICY: Final = Path("/usr/sbin/policy-rc.d")
"""What packages ask whether they may start their service: by exit 101 they may not."""


def program(name: str) -> str:
    """Where it is; installed from the system's packages where it is not there yet.

    AssertionError where it is missing and cannot be had.
    """
    package = PACKAGES[name]
    if not shutil.which(name) and os.geteuid() == 0 and shutil.which("apt-get"):
        with _alone(), _nothing_starts():
            if not shutil.which(name):
                _install(package)
    found = shutil.which(name)
    assert found, f"{name} is missing: install {package} (Debian: apt install {package})"
    return found


def said(*command: str) -> str:
    """What a tool that has to succeed says. AssertionError with its words where it does not."""
    done = _run(list(command))
    words = f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    assert done.returncode == 0, f"{' '.join(command)}:\n{words}"
    return done.stdout


def _install(package: str) -> None:
    _run(["apt-get", "update", "-qq"])
    wait = f"DPkg::Lock::Timeout={_LIMIT_S}"
    done = _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "-o", wait, package])
    assert done.returncode == 0, f"{package} could not be installed:\n{done.stderr[-2000:]}"


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)


@contextmanager
def _alone() -> Iterator[None]:
    """Of several test processes one installs, and the others wait for it."""
    with (Path(tempfile.gettempdir()) / "pointsman-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _nothing_starts() -> Iterator[None]:
    """Services that are installed meanwhile stay stopped. A policy that is there is left alone."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)
