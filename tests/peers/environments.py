"""A Python interpreter for each peer: the clients and servers that Pointsman is tested against.

They cannot share one environment, with each other or with the project (MLServer wants an old
FastAPI, two of the clients register the same protobuf names). So each gets `.venv-peers/<name>`,
made on demand from its hash-pinned list in `requirements/<name>.txt`, once, whoever asks first.

    python -m tests.peers.environments            makes all of them, with progress
    python -m tests.peers.environments --lock     resolves requirements/*.in anew
"""

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
REQUIREMENTS: Final = Path(__file__).parent / "requirements"
HOME: Final = ROOT / ".venv-peers"
OLDEST_PYTHON: Final = "3.11"
INSTALL_LIMIT_S: Final = 600
PYTHONS: Final = {"mlserver": ">=3.11,<3.13"}
"""Peers that do not take the interpreter the project runs on."""
PROGRESS: Final = ("Downloading", "Downloaded", "Building", "Built", "Prepared", "Installed")

Say = Callable[[str], None]


class PeerError(RuntimeError):
    """A peer's environment could not be made: which, what is missing, what to do."""


def names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in REQUIREMENTS.glob("*.txt")))


def python(name: str, say: Say = print) -> Path:
    """The interpreter of the peer's environment, which is made first if it is missing or outdated.

    Processes that ask at the same time wait for the one that builds.
    Raises PeerError.
    """
    interpreter = HOME / name / "bin" / "python"
    stamp = HOME / name / ".stamp"
    wanted = _fingerprint(name)
    with _locked(name, say):
        if not (stamp.exists() and stamp.read_text() == wanted and interpreter.exists()):
            started = time.monotonic()
            say(f"[peer {name}] installing into {HOME.name}/{name} (once)")
            _build(name, say)
            stamp.write_text(wanted)
            say(f"[peer {name}] ready in {time.monotonic() - started:.0f} s")
    return interpreter


def lock() -> None:
    """Writes requirements/*.txt: every package pinned by version and hash, for every Python."""
    for source in sorted(REQUIREMENTS.glob("*.in")):
        print(f"[peer {source.stem}] resolving", flush=True)
        command = ["pip", "compile", "--universal", "--python-version", OLDEST_PYTHON, "--upgrade"]
        command += ["--generate-hashes", "--no-header", "--no-annotate", "--quiet"]
        command += [str(source), "--output-file", str(source.with_suffix(".txt"))]
        _uv(command, source.stem, "its requirements do not resolve")


def _fingerprint(name: str) -> str:
    requirements = REQUIREMENTS / f"{name}.txt"
    if not requirements.exists():
        raise PeerError(f"no peer is called {name!r}; there are: {', '.join(names())}")
    digest = hashlib.sha256(requirements.read_bytes())
    digest.update(_wanted_python(name).encode())
    return digest.hexdigest()


def _wanted_python(name: str) -> str:
    """What uv is asked for: the interpreter we run on, unless the peer cannot run there."""
    return os.environ.get("PEER_PYTHON") or PYTHONS.get(name, sys.executable)


def _build(name: str, say: Say) -> None:
    home = HOME / name
    create = ["venv", "--quiet", "--clear", "--no-python-downloads", "--python"]
    _uv(
        [*create, _wanted_python(name), str(home)],
        name,
        f"no Python fits {_wanted_python(name)!r}: install one, or name it in PEER_PYTHON",
        say,
    )
    install = ["pip", "install", "--python", str(home / "bin" / "python"), "--require-hashes"]
    _uv(
        [*install, "--requirement", str(REQUIREMENTS / f"{name}.txt")],
        name,
        "a locked package could not be installed: the lines above name it; check that this "
        "machine reaches a Python package registry (PIP_INDEX_URL names another one)",
        say,
    )


def _uv(arguments: list[str], name: str, meaning: str, say: Say = print) -> None:
    """Runs uv and says what it says, but for the long list of packages."""
    environment = dict(os.environ)
    if "PIP_INDEX_URL" in environment:
        environment.setdefault("UV_INDEX_URL", environment["PIP_INDEX_URL"])
    with subprocess.Popen(
        [_installer(), *arguments], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    ) as uv:
        limit = threading.Timer(INSTALL_LIMIT_S, uv.kill)
        limit.start()
        try:
            assert uv.stderr is not None
            said = []
            for line in uv.stderr:
                said.append(line.rstrip())
                if line.startswith(PROGRESS):
                    say(f"[peer {name}] {line.strip()}")
        finally:
            limit.cancel()
    if uv.returncode < 0:
        raise PeerError(f"peer {name}: stopped after {INSTALL_LIMIT_S} s: {meaning}")
    if uv.returncode:
        raise PeerError("\n".join([*said, f"peer {name}: {meaning}"]))


def _installer() -> str:
    """The project's own hash-pinned uv, else one on the path."""
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv")
    if not found:
        raise PeerError(f"no `uv` beside {sys.executable} and none on PATH: run `make setup` first")
    return found


@contextmanager
def _locked(name: str, say: Say) -> Iterator[None]:
    """Holds the peer's lock file; it is the kernel's, so a killed builder leaves nothing behind."""
    HOME.mkdir(exist_ok=True)
    with (HOME / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"[peer {name}] waiting for another process that installs it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    parser = argparse.ArgumentParser(description="Environments of the peers we test against.")
    parser.add_argument("names", nargs="*", help=f"which (default: all): {', '.join(names())}")
    parser.add_argument("--lock", action="store_true", help="resolve requirements/*.in anew")
    arguments = parser.parse_args()
    try:
        if arguments.lock:
            lock()
        else:
            for name in arguments.names or names():
                python(name, lambda line: print(line, flush=True))
    except PeerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
