"""How long one model call takes in this process, and how long the original takes.

    python bench/models.py [--data examples/income/adult.csv.gz]

Trains the models of the income example on a part of the data, prepares them as the controller does,
and measures: rows to tensor (`encode`), the graph alone (`run`), all of `score`, and the original's
`predict_proba`, for 1, 16 and 64 rows. Each figure is the best of many short runs, in microseconds:
the least disturbed one says most about the code. Native models are measured without the runner.
"""

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import skops.io
import yaml
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "examples" / "income")]

import train  # noqa: E402

from pointsman.domain.table import Runtime  # noqa: E402
from pointsman.ports import ModelVersion  # noqa: E402
from pointsman.runtime.blobs import BlobStore  # noqa: E402
from pointsman.runtime.onnx import OnnxModel  # noqa: E402
from pointsman.runtime.preparation import Request, prepare  # noqa: E402

SIZES = (1, 16, 64)
CLASSES = ("<=50K", ">50K")


def best_us(call: Callable[[], Any], budget_s: float = 1.0) -> float:
    """Microseconds of the best of many short runs."""
    call()
    started = time.perf_counter()
    call()
    repeats = max(1, int(0.002 / max(time.perf_counter() - started, 1e-7)))
    best = float("inf")
    deadline = time.perf_counter() + budget_s
    while time.perf_counter() < deadline:
        started = time.perf_counter()
        for _ in range(repeats):
            call()
        best = min(best, (time.perf_counter() - started) / repeats)
    return best * 1e6


def save(directory: Path, model: Any) -> None:
    """The model as MLflow writes it."""
    directory.mkdir()
    skops.io.dump(model, directory / "model.skops")
    inputs = [{"name": n, "type": "double", "required": True} for n in train.NUMERIC]
    inputs += [{"name": n, "type": "string", "required": True} for n in train.CATEGORICAL]
    flavor = {
        "pickled_model": "model.skops",
        "serialization_format": "skops",
        "skops_trusted_types": skops.io.get_untrusted_types(file=directory / "model.skops"),
    }
    document = {"flavors": {"sklearn": flavor}, "signature": {"inputs": json.dumps(inputs)}}
    (directory / "MLmodel").write_text(yaml.safe_dump(document))


def measure(name: str, model: Any, rows: Any, blobs: BlobStore, work: Path) -> list[list[str]]:
    save(work / name, model)
    version = ModelVersion(f"models:/{name}/1", name, "1", "bench", True, "")
    manifest = prepare(Request(version, work / name, CLASSES), blobs).manifest
    compiled = None
    if manifest.runtime is Runtime.ONNX:
        compiled = OnnxModel.load(manifest, blobs, manifest.features)
    lines = []
    for size in SIZES:
        part = rows.head(size)
        original = best_us(lambda part=part: model.predict_proba(part))
        figures = ["", "", ""]
        if compiled is not None:
            values = part.to_numpy().tolist()
            encoder = compiled._encoders[0]  # noqa: SLF001 - the parts of one call are the point
            feeds = {encoder.name: encoder.encode(values)}
            session, outputs = compiled._session, compiled._outputs  # noqa: SLF001
            encode = best_us(lambda values=values, encoder=encoder: encoder.encode(values))
            run = best_us(lambda feeds=feeds, s=session, o=outputs: s.run(o, feeds))
            score = best_us(lambda values=values: compiled.score(values))
            figures = [f"{x:,.1f}" for x in (encode, run, score)]
        lines.append([name, manifest.runtime.value, str(size), *figures, f"{original:,.0f}"])
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=train.DATA)
    parser.add_argument("--rows", type=int, default=8_000, help="to train on")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    train.DATA = arguments.data
    rows = train.read("train").head(arguments.rows)
    table = Table("model", "runtime", "rows", "encode µs", "run µs", "score µs", "original µs")
    for column in table.columns[2:]:
        column.justify = "right"
    with tempfile.TemporaryDirectory() as work:
        blobs = BlobStore(Path(work) / "blobs")
        for recipe in train.RECIPES:
            model = recipe.build().fit(rows[train.FEATURES], rows["income"])
            name = recipe.summary.replace(" ", "-")
            for line in measure(name, model, rows[train.FEATURES], blobs, Path(work)):
                table.add_row(*line)
    Console().print(table)


if __name__ == "__main__":
    main()
