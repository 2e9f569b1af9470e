"""The archive's work runs in a process of its own: `python -m pointsman.archive.process`.

So it takes neither the memory nor the interpreter lock of the controller, whose ingestion goes on
beside it; it is nice, it ends with its parent, and what it holds is bounded.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from pointsman.archive import layout
from pointsman.archive.jobs import (
    Export,
    Exported,
    Found,
    Job,
    Lookup,
    Read,
    Reread,
    Run,
    Settled,
    Written,
)
from pointsman.domain.errors import Kind, PointsmanError

TIMEOUT_S: Final = 3600.0
_NICE: Final = 10
_PATIENCE_S: Final = 10.0
_STARTING_S: Final = 10.0
"""What a job with a budget may take beyond it: to start, and to end what it is at."""
_KEPT_ENVIRONMENT: Final = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "LD_LIBRARY_PATH")

_T = TypeVar("_T")


class Workbench:
    """Starts the process, one job at a time for a caller. archive: `DATA/archive`"""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self._looking = threading.Lock()

    def clean(self) -> None:
        """Removes what a predecessor left unfinished. Only before anything is started."""
        shutil.rmtree(self.archive / layout.SCRATCH, ignore_errors=True)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty directory on the archive's own disk; gone afterwards."""
        below = self.archive / layout.SCRATCH
        below.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(dir=below))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def write(self, run: Run) -> Written:
        """Archives segments. Raises PointsmanError where it could not be done."""
        with self.scratch() as scratch:
            return self._do(Job(str(self.archive), str(scratch), run=run), Written)

    def settle(self, settled: Settled) -> None:
        """Archives outcomes; `settled.lines` is a file. Raises as `write`."""
        with self.scratch() as scratch:
            self._do(Job(str(self.archive), str(scratch), settled=settled), Written)

    def look_up(self, lookup: Lookup) -> Found:
        """A decision and all that is known about it. Raises as `write`; OVERLOADED where others
        have been asking for so long that it is better to come back."""
        if not (self.archive / "decisions").is_dir():
            return Found()
        if not self._looking.acquire(timeout=_PATIENCE_S):
            raise PointsmanError(
                Kind.OVERLOADED, "the archive is being searched", hint="try again in a moment"
            )
        with _released(self._looking), self.scratch() as scratch:
            return self._do(Job(str(self.archive), str(scratch), lookup=lookup), Found)

    def export(self, export: Export, scratch: Path) -> Exported:
        """Writes a file below `scratch`, which also holds what to read. Raises as `write`."""
        return self._do(Job(str(self.archive), str(scratch), export=export), Exported)

    def reread(self, reread: Reread, scratch: Path) -> Read:
        """Writes a file of features below `scratch`, which also holds what to read. Raises as
        `write`."""
        job = Job(str(self.archive), str(scratch), reread=reread)
        return self._do(job, Read, reread.budget_s + _STARTING_S)

    def _do(self, job: Job, answer: type[_T], timeout_s: float = TIMEOUT_S) -> _T:
        result = Path(job.scratch) / "result.json"
        environment = {n: os.environ[n] for n in _KEPT_ENVIRONMENT if n in os.environ}
        environment |= {"HOME": job.scratch, "TMPDIR": job.scratch}
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "pointsman.archive.process", str(result)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
        ) as process:
            try:
                _, err = process.communicate(msgspec.json.encode(job), timeout=timeout_s)
            except BaseException as error:
                process.kill()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise _failed(f"it took longer than {timeout_s:g} s") from None
                raise
        if process.returncode != 0:
            last = err.decode("utf-8", "replace").strip().splitlines()[-1:]
            raise _failed(f"its process ended with {process.returncode}: {' '.join(last)[:500]}")
        return msgspec.json.decode(result.read_bytes(), type=answer)


def work(job: Job) -> Any:
    """Does the job in this process, and says what came of it."""
    from pointsman.archive import exports, lookup, outcomes, reread, segments

    archive, scratch = Path(job.archive), Path(job.scratch)
    if job.run is not None:
        return segments.write(job.run, archive, scratch)
    if job.settled is not None:
        outcomes.write(job.settled, archive, scratch)
        return Written()
    if job.export is not None:
        return exports.write(job.export, archive, scratch)
    if job.reread is not None:
        return reread.write(job.reread, scratch)
    if job.lookup is not None:
        return lookup.find(job.lookup, archive, scratch)
    raise ValueError("a job without work")


def main() -> None:
    """Reads a job from standard input, writes its result to the file named by the argument."""
    from pointsman.runtime.lifeline import die_with_parent

    die_with_parent()
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    import duckdb

    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    try:
        said = work(job)
    except (OSError, ValueError, duckdb.Error) as error:
        sys.stderr.write(f"{type(error).__name__}: {' '.join(str(error).split())}\n")
        raise SystemExit(1) from None
    Path(sys.argv[1]).write_bytes(msgspec.json.encode(said))


@contextmanager
def _released(lock: threading.Lock) -> Iterator[None]:
    try:
        yield
    finally:
        lock.release()


def _failed(why: str) -> PointsmanError:
    return PointsmanError(
        Kind.UNAVAILABLE,
        f"the archive could not do its work: {why}"[:1000],
        hint="see the controller's log, and how much space is free in the data directory",
    )


if __name__ == "__main__":
    main()
