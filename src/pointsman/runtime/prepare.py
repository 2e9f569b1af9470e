"""`python -m pointsman.runtime.prepare`: from a downloaded model to something that can serve.

Runs in a process of its own with hard limits, because it loads what others made. A `Job` as JSON
comes in on standard input; a `Result` as JSON goes out on standard output; a compiled graph goes
into the staging directory. Whatever the model prints goes to standard error.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from pointsman.domain.artifact import ArtifactManifest
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import Feature, Runtime
from pointsman.runtime import graphs
from pointsman.runtime.align import check_features, class_order
from pointsman.runtime.compiling import Plan, UnsupportedError, input_of, plan
from pointsman.runtime.facts import add_facts
from pointsman.runtime.formats import Description, describe
from pointsman.runtime.jobs import GRAPH, Failure, Job, Result
from pointsman.runtime.lifeline import die_with_parent
from pointsman.runtime.loading import Original, load
from pointsman.runtime.onnx import OnnxModel
from pointsman.runtime.parity import ROWS, Hint, draw, examples, hints, spread_out
from pointsman.runtime.proof import Rows, best, gather, said
from pointsman.runtime.sandbox import confine


def run(job: Job) -> ArtifactManifest:
    """The manifest, without files. Raises PointsmanError where the model cannot serve here."""
    directory = Path(job.directory)
    description = describe(directory, job.tags)
    make = _as_it_is if description.flavor == "onnx" else _compiled_or_native
    manifest = make(job, directory, description)
    return msgspec.structs.replace(
        manifest,
        features=job.features or manifest.features,
        model_features=manifest.features,
    )


def _as_it_is(job: Job, directory: Path, description: Description) -> ArtifactManifest:
    features = _features(description, None, job.features, graph=True)
    found = graphs.read(directory / description.data, description, features)
    used = {name for source in found.inputs for name in source.columns}
    features = tuple(feature for feature in features if feature.name in used)
    if job.features:
        check_features(features, job.features)
    # An ONNX graph may put its classes in any order, so its own labels come first.
    order = class_order(job.classes, found.classes, description.classes, 0)
    manifest = ArtifactManifest(
        source=job.source,
        origin=job.origin,
        flavor="onnx",
        runtime=Runtime.ONNX,
        reason="onnx: the model is ONNX already and is served as it is",
        features=features,
        inputs=found.inputs,
        classes=job.classes,
        order=order,
        files=(),
        parity=None,
        probabilities=found.output,
    )
    real = examples(_example(directory, description), features)
    rows = [*real, *draw(features, hints(features, real, None), ROWS)][:ROWS]
    model = OnnxModel(manifest, found.graph, features)
    scores = _scores_within(model, rows, real)
    (Path(job.staging) / GRAPH).write_bytes(found.graph)
    return _with_probes(manifest, rows[: len(scores)], scores, features)


def _scores_within(model: OnnxModel, rows: Rows, real: Rows) -> NDArray[np.float64]:
    """Scores of all rows; of the real ones alone where the drawn ones are beyond the model."""
    try:
        return model.score(rows)
    except PointsmanError:
        if not real:
            raise
        return model.score(real)


def _compiled_or_native(job: Job, directory: Path, description: Description) -> ArtifactManifest:
    original = load(directory, description, trusted=job.trusted)
    features = _features(description, original.estimator, job.features, graph=False)
    if job.features:
        check_features(features, job.features)
    if original.classes is not None:
        # Refused before any work where the classes cannot fit; again below, with the true width.
        class_order(job.classes, original.classes, description.classes, 0)
    real = examples(_example(directory, description), features)
    made, known, reason = _understood(description, original, features, real)
    evidence = gather(lambda rows: original.predict(rows, features), features, known, real)
    order = class_order(
        job.classes, original.classes, description.classes, evidence.answers.shape[1]
    )
    native = ArtifactManifest(
        source=job.source,
        origin=job.origin,
        flavor=description.flavor,
        runtime=Runtime.NATIVE,
        reason=f"native: {reason}",
        features=features,
        inputs=(),
        classes=job.classes,
        order=order,
        files=(),
        parity=None,
        needs_code=original.needs_code,
        loader=description.flavor,
    )
    native = _with_probes(native, evidence.rows, evidence.answers[:, list(order)], features)
    if made is None:
        return native
    try:
        judged = best(native, made, evidence, job.tolerance)
    except UnsupportedError as error:
        return msgspec.structs.replace(native, reason=f"native: {error}")
    if not judged.parity.passed:
        reason = f"native: the compiled form {said(judged.parity)}"
        return msgspec.structs.replace(native, reason=reason, parity=judged.parity)
    (Path(job.staging) / GRAPH).write_bytes(judged.candidate.graph)
    return msgspec.structs.replace(
        native,
        runtime=Runtime.ONNX,
        reason=f"compiled to ONNX ({judged.candidate.how}): {said(judged.parity)}",
        inputs=(judged.candidate.source,),
        parity=judged.parity,
        probabilities=judged.candidate.output,
        needs_code=False,
        loader="",
    )


def _understood(
    description: Description, original: Original, features: tuple[Feature, ...], real: Rows
) -> tuple[Plan | None, dict[str, Hint], str]:
    """The plan to compile, what is known of the features' values, and why there is no plan."""
    seen = hints(features, real, None)
    if description.flavor == "pyfunc":
        return None, seen, "a Python function cannot be compiled"
    try:
        made = plan(original.estimator, features)
    except UnsupportedError as error:
        return None, seen, str(error)
    return made, add_facts(hints(features, real, input_of(made)), made), ""


def _features(
    description: Description,
    estimator: object,
    project: tuple[Feature, ...],
    *,
    graph: bool,
) -> tuple[Feature, ...]:
    """The model's features, in its own order, with names it or its version gave them."""
    if description.features:
        return description.features
    names: Sequence[str] = description.columns
    if not names and not graph:
        names = [str(n) for n in getattr(estimator, "feature_names_in_", ())]
    if not names:
        raise PointsmanError(
            Kind.INVALID,
            "the model does not name its features",
            hint="log it with a signature of named columns, or set the tag `features` on the model "
            "version: a JSON list of names in the order of its columns",
        )
    if description.tensor is not None:
        kind, width = description.tensor
        if width != len(names):
            raise PointsmanError(
                Kind.INVALID,
                f"the model takes {width} columns, but {len(names)} are named",
                hint="correct the tag `features`",
            )
        return tuple(Feature(name, kind) for name in names)
    types = {feature.name: feature for feature in project}
    missing = [name for name in names if name not in types]
    if missing:
        raise PointsmanError(
            Kind.INVALID,
            f"the model has no signature, and the project does not declare {', '.join(missing)}",
            hint="log the model with a signature, or declare the project's features",
        )
    return tuple(types[name] for name in names)


def _example(directory: Path, description: Description) -> Path | None:
    return directory / description.example if description.example else None


def _with_probes(
    manifest: ArtifactManifest,
    rows: Rows,
    scores: NDArray[np.float64],
    features: tuple[Feature, ...],
) -> ArtifactManifest:
    """scores: in the project's class order."""
    names = [feature.name for feature in features]
    picked = spread_out(len(scores))
    return msgspec.structs.replace(
        manifest,
        probe_rows=tuple(dict(zip(names, rows[i], strict=True)) for i in picked),
        probe_probabilities=tuple(tuple(scores[i].tolist()) for i in picked),
    )


def main() -> None:
    die_with_parent()
    # Standard output is for the result alone: a model may print while it loads.
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
        confine(job.memory_bytes, job.cpu_s, job.file_bytes)
        try:
            result = Result(manifest=run(job))
        except PointsmanError as error:
            result = Result(failure=Failure.of(error))
        except MemoryError:
            limit = job.memory_bytes >> 20
            result = Result(
                failure=Failure(
                    Kind.INVALID,
                    f"preparing the model took more than {limit:,} MiB of memory",
                    "raise the limit if the model is as large as that",
                )
            )
        out.write(msgspec.json.encode(result))
        out.flush()
    # Not sys.exit: libraries of the model may hang in their own clean-up.
    os._exit(0)


if __name__ == "__main__":
    main()
