"""Makes the project's virtual environment from the hash-pinned lock, and says each step.

Run by `make`, with any Python >= 3.11 and nothing installed: standard library only.

    python3 scripts/bootstrap.py .venv

Returns 0 when the environment matches the lock. A failed step prints what is missing and what to
do, and returns 1; running it again continues where it stopped.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "lock.txt"
UV_LOCK = ROOT / "requirements" / "uv.txt"
FREE_GIB_NEEDED = 2


class SetupError(Exception):
    """A step failed: what is missing, and what to do."""

    def __init__(self, missing: str, hint: str) -> None:
        super().__init__(missing)
        self.hint = hint


def fingerprint() -> str:
    """Changes whenever the environment must be made again."""
    digest = hashlib.sha256(sys.version.encode())
    for path in (LOCK, UV_LOCK, ROOT / "pyproject.toml"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def say(step: int, text: str) -> None:
    print(f"[setup {step}/4] {text}", flush=True)


def check_machine(venv: Path) -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - a stranger may run this with anything
        raise SetupError(
            f"Python 3.11 or newer is needed; this is {sys.version.split()[0]} ({sys.executable})",
            "name a newer one: make PYTHON=/path/to/python3.11",
        )
    try:
        import ensurepip  # noqa: F401 - Debian splits it from Python
        import venv as _venv  # noqa: F401
    except ImportError as error:
        raise SetupError(
            f"this Python has no `{error.name}` module",
            "on Debian or Ubuntu: apt install python3-venv",
        ) from error
    free = shutil.disk_usage(venv.parent).free / 2**30
    if free < FREE_GIB_NEEDED:
        raise SetupError(
            f"{free:.1f} GiB of disk free at {venv.parent}, {FREE_GIB_NEEDED} GiB are needed",
            "free some space, or name another place: make VENV=/path/with/space",
        )


def run(command: list[str], missing: str, hint: str) -> None:
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode != 0:
        raise SetupError(f"{missing} (exit status {done.returncode}, output above)", hint)


def build(venv: Path) -> None:
    started = time.monotonic()
    python = str(venv / "bin" / "python")
    registry = (
        "the line above names the package: check that this machine reaches a Python package "
        "registry (PIP_INDEX_URL names another one), then run make again"
    )
    say(1, f"virtual environment at {venv} with Python {sys.version.split()[0]}")
    if not Path(python).exists():
        run(
            [sys.executable, "-m", "venv", str(venv)],
            "the virtual environment could not be made",
            "on Debian or Ubuntu: apt install python3-venv",
        )
    say(2, "installer (uv, hash-pinned)")
    run(
        [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--require-hashes",
            "--requirement",
            str(UV_LOCK),
        ],
        "the installer could not be fetched",
        registry,
    )
    say(3, "locked dependencies (every file checked against its hash)")
    uv = [str(venv / "bin" / "uv"), "pip"]
    run(
        [
            *uv,
            "install",
            "--python",
            python,
            "--require-hashes",
            "--requirement",
            str(LOCK),
        ],
        "a locked package could not be installed",
        registry,
    )
    say(4, "Pointsman itself")
    run(
        [
            *uv,
            "install",
            "--quiet",
            "--python",
            python,
            "--no-deps",
            "--no-build-isolation",
            "-e",
            ".",
        ],
        "the project could not be installed",
        "the error above says why; please report it",
    )
    print(f"[setup] done in {time.monotonic() - started:.0f} s", flush=True)


def main() -> int:
    venv = Path(sys.argv[1] if len(sys.argv) > 1 else ".venv").absolute()
    stamp = venv / ".pointsman-setup"
    try:
        wanted = fingerprint()
        if stamp.exists() and stamp.read_text() == wanted:
            return 0
        check_machine(venv)
        if "UV_INDEX_URL" not in os.environ and "PIP_INDEX_URL" in os.environ:
            os.environ["UV_INDEX_URL"] = os.environ["PIP_INDEX_URL"]
        build(venv)
        stamp.write_text(wanted)
    except SetupError as error:
        print(f"\nsetup failed: {error}\n  what to do: {error.hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
