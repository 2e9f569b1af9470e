"""Work that loads what others made, in a process of its own.

A new session, none of our environment, and killed with all it started when its time is up; the
process itself sets hard limits on memory, processor time and file size before it loads anything.
What it writes to standard output is untrusted.
"""

import contextlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

from pointsman.domain.errors import Kind, PointsmanError

_KEPT_ENVIRONMENT: Final = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH")


class Errand(msgspec.Struct, frozen=True):
    """What to run and for how long.

    source: the model, as errors name it; doing, done: the work as words (`preparing`, `prepared`)
    timeout_s: wall clock; result_bytes: that it may write
    """

    module: str
    source: str
    doing: str
    done: str
    timeout_s: float
    result_bytes: int


def run(errand: Errand, job: bytes, home: Path) -> bytes:
    """What the module wrote to standard output. job: its input; home: an empty directory

    Raises PointsmanError: TIMEOUT, and BACKEND_FAILED where it died.
    """
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    environment |= {
        "HOME": str(home),
        "TMPDIR": str(home),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    out, err = home / "result", home / "log"
    with out.open("wb") as out_file, err.open("wb") as err_file:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", errand.module],
            stdin=subprocess.PIPE,
            stdout=out_file,
            stderr=err_file,
            cwd=home,
            env=environment,
            start_new_session=True,
        )
        try:
            process.communicate(job, timeout=errand.timeout_s)
        except subprocess.TimeoutExpired:
            raise PointsmanError(
                Kind.TIMEOUT,
                f"{errand.source}: {errand.doing} it took longer than {errand.timeout_s:g} s and "
                "was stopped",
                hint="load it with MLflow to see where it hangs; raise the limit if it is slow",
            ) from None
        finally:
            # The whole session, since a model may have started processes of its own.
            _kill_session(process)
    if process.returncode != 0:
        how = (
            f"was killed by {signal.Signals(-process.returncode).name}"
            if process.returncode < 0
            else f"ended with status {process.returncode}"
        )
        raise died(errand, how, err.read_bytes()[-2_000:])
    if out.stat().st_size > errand.result_bytes:
        raise died(errand, "wrote an endless result")
    return out.read_bytes()


def died(errand: Errand, how: str, log: bytes = b"") -> PointsmanError:
    """The error for a process that failed, with the last line it said."""
    last = log.decode("utf-8", "replace").strip().splitlines()[-1:]
    words = f" ({last[0][:200]})" if last else ""
    return PointsmanError(
        Kind.BACKEND_FAILED,
        f"{errand.source}: the process that {errand.done} it {how}{words}",
        hint="the model crashes when it is loaded or asked; load it with MLflow to see why",
    )


def confine(memory_bytes: int, cpu_s: int, file_bytes: int) -> None:
    """Hard limits on this process: address space, processor time, size of a file; no core dump."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
