"""Evidently's reports over two windows of decisions: the data they need, and the process that makes
them.

Evidently is imported in a process of its own and nowhere else: it takes ten seconds, and reads what
it likes of its environment. So it may also live in another Python.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from pointsman.cli import evidently_report
from pointsman.domain.errors import Kind, PointsmanError

_LIMIT_S: Final = 1_800
_READERS: Final = {".parquet": "read_parquet", ".jsonl": "read_json", ".csv": "read_csv"}

Kinds = dict[str, Literal["number", "category"]]


class Shape(msgspec.Struct, frozen=True):
    """How both windows look.

    kinds: of the features; positive: the positive class of two, empty where there are more
    label, predicted, score: names of columns that are no features
    sample: rows of a window, at most
    """

    kinds: Kinds
    positive: str
    label: str
    predicted: str
    score: str
    sample: int


class Window(msgspec.Struct, frozen=True):
    """A table on disk. n: rows there were; rows: of them, in the table"""

    path: Path
    n: int
    rows: int


class Job(msgspec.Struct, frozen=True):
    """What the process is asked for. positive: the positive class, empty where there are several"""

    current: str
    reference: str
    output: str
    title: str
    columns: dict[str, str]
    label: str
    predicted: str
    score: str
    positive: str


def shape(kinds: Kinds, positive: str, sample: int) -> Shape:
    """With names for label, prediction and score that no feature has."""

    def free(name: str) -> str:
        while name in kinds:
            name += "_"
        return name

    return Shape(kinds, positive, free("label"), free("predicted class"), free("score"), sample)


def of_decisions(file: Path, into: Path, form: Shape) -> Window:
    """The window of an export (`pointsman export`, Parquet)."""
    columns = {f"feature.{name}": name for name in form.kinds}
    columns |= {"predicted": form.predicted, "label": form.label}
    if form.positive:
        columns[f"probability.{form.positive}"] = form.score
    return _window(file, into, columns, form)


def of_file(file: Path, into: Path, form: Shape, label: str) -> Window:
    """The window of somebody's file. label: its column with the labels; empty for none"""
    columns = {name: name for name in form.kinds} | ({label: form.label} if label else {})
    return _window(file, into, columns, form)


def _window(file: Path, into: Path, columns: Mapping[str, str], form: Shape) -> Window:
    import duckdb

    suffix = next((end for end in _READERS if end in file.suffixes), "")
    if not suffix:
        raise PointsmanError(
            Kind.INVALID,
            f"{file} is none of .parquet, .csv, .csv.gz and .jsonl",
            hint="write the data in one of these",
        )
    try:
        with duckdb.connect() as connection:
            every = getattr(connection, _READERS[suffix])(str(file))
            there = set(every.columns)
            kinds = form.kinds | ({form.score: "number"} if form.positive else {})
            taken = ", ".join(
                f"{_typed(_quoted(source), kinds.get(title, 'category'))} AS {_quoted(title)}"
                for source, title in columns.items()
                if source in there
            )
            if not taken:
                raise PointsmanError(
                    Kind.INVALID,
                    f"{file} has no column that is a feature of the project",
                    hint=f"features are {', '.join(list(form.kinds)[:10])}",
                )
            n = int(every.aggregate("count(*)").fetchall()[0][0])
            query = f"SELECT {taken} FROM every {_sampled(n, form.sample)}"  # noqa: S608 - quoted
            chosen = every.query("every", query)
            chosen.write_parquet(str(into))
    except duckdb.Error as error:
        raise PointsmanError(
            Kind.INVALID, f"{file} cannot be read: {str(error).splitlines()[0]}"
        ) from None
    return Window(into, n, min(n, form.sample))


def _typed(column: str, kind: str) -> str:
    # Nobody's answer is an empty text in the log, and no class.
    return f"TRY_CAST({column} AS DOUBLE)" if kind == "number" else f"nullif({column}::VARCHAR, '')"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _sampled(n: int, sample: int) -> str:
    return f"USING SAMPLE reservoir({sample:d} ROWS) REPEATABLE (7)" if n > sample else ""


def make(job: Job, python: str, scratch: Path) -> dict[str, Any]:
    """Writes the page; `labelled` rows of the current window, and `notes` on what is left out.

    python: the interpreter that has Evidently; empty for this one
    Raises PointsmanError: INVALID where it has none, BACKEND_FAILED where it could not be made.
    """
    asked = scratch / "job.json"
    asked.write_bytes(msgspec.json.encode(job))
    # Nothing of our own environment: tokens stand there.
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(scratch), "DO_NOT_TRACK": "1"}
    command = [python or sys.executable, "-I", evidently_report.__file__, str(asked)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            check=False,
            env=environment,
            cwd=scratch,
            timeout=_LIMIT_S,
            text=True,
        )
    except OSError as error:
        raise PointsmanError(
            Kind.INVALID, f"{command[0]}: {error.strerror}", hint="name a Python with --python"
        ) from None
    except subprocess.TimeoutExpired:
        raise PointsmanError(
            Kind.TIMEOUT,
            f"no report after {_LIMIT_S / 60:.0f} minutes",
            hint="ask for fewer rows with --sample",
        ) from None
    if done.returncode == evidently_report.MISSING:
        raise PointsmanError(
            Kind.INVALID,
            f"{command[0]}: {done.stdout.strip()}, and evidently 0.7 is needed",
            hint="pip install 'pointsman[evidently]', or name a Python that has it with --python",
        )
    said = done.stdout.strip().splitlines()
    if done.returncode or not said:
        last = "\n".join(done.stderr.strip().splitlines()[-3:])
        raise PointsmanError(
            Kind.BACKEND_FAILED,
            f"Evidently could not make the report:\n{last}",
            hint="leave out what it stumbles over with `drift.features`, or report it to Evidently",
        )
    found: dict[str, Any] = json.loads(said[-1])
    return found
