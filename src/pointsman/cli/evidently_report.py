"""Makes Evidently's reports of two windows: a program of its own, started by `pointsman report`.

It imports nothing of Pointsman, so that any Python that has Evidently runs it, as
`python -I THIS JOB`. JOB is a file of JSON, see `Job` in `cli/reporting.py`. On standard output it
says as JSON what is in the report and what is not. Whatever is imported, nothing leaves the
machine: connections are refused before the first import.
"""

# ruff: noqa: T201 - what is printed is the answer

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any, Final

MISSING: Final = 3
"""Exit code where Evidently is not there, or is another release."""
_RELEASE: Final = "0.7."
_OUTSIDE: Final = ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.sendmsg")


def _stay_here(event: str, _: Any) -> None:
    if event in _OUTSIDE:
        raise OSError("a report leaves nothing from this machine")


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Writes `job["output"]`; says how many rows had a label, and what is left out."""
    import pandas as pd
    from evidently.core.metric_types import render_widgets
    from evidently.legacy.renderers.html_widgets import group_widget

    frames = [pd.read_parquet(job[which]) for which in ("current", "reference")]
    notes: list[str] = []
    told = [_told(frame, job["label"], job["predicted"]) for frame in frames]
    # Evidently has no page of several reports: its own widgets are put together, of this release.
    found = [(job["title"], _data(job, frames, notes))]
    classified = _classification(job, told, notes)
    if classified is not None:
        found.append(("Classification", classified))
    widgets = [group_widget(title=title, widgets=made._widgets) for title, made in found]  # noqa: SLF001
    Path(job["output"]).write_text(render_widgets(widgets), encoding="utf-8")
    return {"labelled": 0 if told[0] is None else len(told[0]), "notes": notes}


def _data(job: dict[str, Any], frames: list[Any], notes: list[str]) -> Any:
    """Drift and summary of every column that has values in both windows."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset, DataSummaryPreset

    kinds: dict[str, list[str]] = {"number": [], "category": []}
    for name, kind in job["columns"].items():
        absent = [
            text
            for frame, text in zip(frames, ("current window", "reference"), strict=True)
            if name not in frame or frame[name].isna().all()
        ]
        if absent:
            notes.append(f"{name} is left out: it has no value in the {' and the '.join(absent)}")
        else:
            kinds[kind].append(name)
    definition = DataDefinition(
        numerical_columns=kinds["number"], categorical_columns=kinds["category"]
    )
    names = [*kinds["number"], *kinds["category"]]
    sets = [Dataset.from_pandas(frame[names], data_definition=definition) for frame in frames]
    return Report([DataDriftPreset(), DataSummaryPreset()]).run(*sets)


def _classification(job: dict[str, Any], told: list[Any], notes: list[str]) -> Any:
    """Quality by labels; None without labels of two classes in the current window."""
    from evidently import (
        BinaryClassification,
        DataDefinition,
        Dataset,
        MulticlassClassification,
        Report,
    )
    from evidently.presets import ClassificationPreset

    label, predicted, score = job["label"], job["predicted"], job["score"]
    useful = [
        frame if frame is not None and len(frame[label].unique()) > 1 else None for frame in told
    ]
    if useful[0] is None:
        notes.append("no report on classification: the current window has no labels of two classes")
        return None
    if useful[1] is None:
        notes.append("classification stands alone: the reference has no labels of two classes")
    frames = [frame for frame in useful if frame is not None]
    scored = bool(job["positive"]) and all(
        score in frame and frame[score].notna().all() for frame in frames
    )
    task = (
        BinaryClassification(
            target=label,
            prediction_labels=predicted,
            prediction_probas=score if scored else None,
            pos_label=job["positive"],
        )
        if job["positive"]
        else MulticlassClassification(target=label, prediction_labels=predicted)
    )
    numbers = [score] if scored else []
    definition = DataDefinition(
        numerical_columns=numbers, categorical_columns=[label, predicted], classification=[task]
    )
    columns = [label, predicted, *numbers]
    sets = [Dataset.from_pandas(frame[columns], data_definition=definition) for frame in frames]
    return Report([ClassificationPreset()]).run(*sets)


def _told(frame: Any, label: str, predicted: str) -> Any:
    """Rows with a prediction and a label; None where there are no such columns or rows."""
    if label not in frame or predicted not in frame:
        return None
    found = frame.dropna(subset=[label, predicted])
    return found if len(found) else None


if __name__ == "__main__":
    sys.addaudithook(_stay_here)
    os.environ["DO_NOT_TRACK"] = "1"
    warnings.simplefilter("ignore")
    from importlib import metadata

    try:
        release = metadata.version("evidently")
    except metadata.PackageNotFoundError:
        release = ""
    if not release.startswith(_RELEASE):
        print(f"evidently {release} is there" if release else "there is no evidently")
        sys.exit(MISSING)
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
