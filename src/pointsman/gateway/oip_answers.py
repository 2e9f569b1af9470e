"""Open Inference Protocol v2 over REST: finished rows to tensors, and model metadata."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from pointsman.gateway import tensors
from pointsman.gateway.answers import BINARY_LINE, JSON_LINE, UNLOGGED
from pointsman.gateway.native import reason_of
from pointsman.gateway.schema import OFFERED, encode
from pointsman.gateway.served import Served
from pointsman.gateway.work import Job, Row

CLASS: Final = "class"
PROBABILITIES: Final = "probabilities"
MIXED: Final = "mixed"
EXTENSIONS: Final = ("binary_tensor_data", "classification", "parameters")


class Form(msgspec.Struct, gc=False):
    """outputs: name, whether binary, and how many classes where a classification is asked for"""

    outputs: tuple[tuple[str, bool, int], ...]


JSON_OUTPUTS: Final = Form(((CLASS, False, 0), (PROBABILITIES, False, 0)))
BINARY_OUTPUTS: Final = Form(((CLASS, True, 0), (PROBABILITIES, True, 0)))


def encode_infer(job: Job) -> tuple[str, bytes]:
    """Headers and body of an inference answer, binary where that was asked for."""
    rows = job.rows
    first = rows[0]
    if job.form is JSON_OUTPUTS and len(rows) == 1 and job.logged:
        return _usual(job, first)
    outputs: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for name, binary, top in job.form.outputs:
        shape, datatype, data = _classified(job, top) if top else OUTPUTS[name](job)
        output: dict[str, Any] = {"name": name, "shape": shape, "datatype": datatype}
        if binary:
            raw.append(tensors.to_binary(datatype, data))
            output["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            output["data"] = data
        outputs.append(output)
    members = {row.member.name for row in rows}
    reasons = {reason_of(row) for row in rows}
    alike = len(members) == 1 and len(reasons) == 1
    label = first.member.label if len(members) == 1 else MIXED
    shape_: dict[str, Any] = {"model_name": job.served.table.project, "model_version": label}
    if job.request_id:
        shape_["id"] = job.request_id
    shape_["parameters"] = _parameters(job, alike=alike)
    shape_["outputs"] = outputs
    text = encode(shape_)
    head = first.member.heads[reason_of(first)] if alike else JSON_LINE
    if not job.logged:
        head += UNLOGGED
    if raw:
        length = f"inference-header-content-length: {len(text)}\r\n"
        head = BINARY_LINE + length + head.removeprefix(JSON_LINE)
    head = f"{head}x-decision-id: {job.id}\r\n{job.trace_lines}"
    return head, b"".join((text, *raw))


def _usual(job: Job, row: Row) -> tuple[str, bytes]:
    """As `encode_infer`, for the usual request: one row, all outputs, in JSON."""
    reason, member = reason_of(row), row.member
    id_ = f'"id":{encode(job.request_id).decode()},' if job.request_id else ""
    scores = ",".join([repr(score) for score in row.scores or ()])
    text = (
        f'{member.infer_head}{id_}"parameters":{{"decision_id":"{job.id}'
        f"{member.infer_bodies[reason][row.chosen]}{scores}]}}]}}"
    )
    lines = f"x-decision-id: {job.id}\r\n{job.trace_lines}"
    return member.heads[reason] + lines, text.encode()


def _parameters(job: Job, *, alike: bool) -> dict[str, Any]:
    """What the protocol has no member for. Values are scalars, so rows are joined by commas."""
    rows = job.rows
    first = rows[0]
    given: dict[str, Any] = {"decision_id": job.id}
    if alike:
        given |= {"variant": first.member.name, "reason": reason_of(first).value}
    else:
        given |= {"variant": MIXED, "reason": MIXED}
        given["variants"] = ",".join(row.member.name for row in rows)
        given["reasons"] = ",".join(reason_of(row).value for row in rows)
    if not job.logged:
        given["logged"] = False
    return given


Output = tuple[list[int], str, Sequence[Any]]


def _class(job: Job) -> Output:
    classes = job.served.classes
    return [len(job.rows)], "BYTES", [classes[row.chosen] for row in job.rows]


def _probabilities(job: Job) -> Output:
    flat = [score for row in job.rows for score in row.scores or ()]
    return [len(job.rows), len(job.served.classes)], "FP64", flat


def _classified(job: Job, top: int) -> Output:
    """The classification extension: `<value>:<index>:<label>`, the likeliest first."""
    data: list[str] = []
    for row in job.rows:
        scores = row.scores or []
        ranked = sorted(range(len(scores)), key=lambda k: -scores[k])
        data += [f"{scores[k]!r}:{k}:{job.served.classes[k]}" for k in ranked[:top]]
    return [len(job.rows), top], "BYTES", data


def _each(read: Callable[[Row], str]) -> Callable[[Job], Output]:
    return lambda job: ([len(job.rows)], "BYTES", [read(row) for row in job.rows])


OUTPUTS: Final[dict[str, Callable[[Job], Output]]] = {
    CLASS: _class,
    PROBABILITIES: _probabilities,
    "action": _each(lambda row: row.member.chooser.actions[row.chosen]),
    "decision_id": _each(lambda row: row.id),
    "variant": _each(lambda row: row.member.label),
    "reason": _each(lambda row: reason_of(row).value),
}
"""`class` and `probabilities` come by default; the others, one value a row, when asked for."""


def model_metadata(served: Served) -> dict[str, Any]:
    """The protocol's model metadata: one input a feature, the two outputs that always come."""
    return {
        "name": served.table.project,
        "versions": [variant.label for variant in served.table.variants],
        "platform": "pointsman",
        "inputs": [
            {"name": f.name, "datatype": OFFERED[f.type], "shape": [-1]}
            for f in served.table.features
        ],
        "outputs": [
            {"name": CLASS, "datatype": "BYTES", "shape": [-1]},
            {"name": PROBABILITIES, "datatype": "FP64", "shape": [-1, len(served.classes)]},
        ],
    }
