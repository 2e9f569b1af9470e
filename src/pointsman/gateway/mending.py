"""Reading requests of projects that say what is to be done about rows with problems.

Every body is first read as for any project. Only where that refuses it, or where a row is not as
expected, is it looked at feature by feature. So a sound request pays for the look alone.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final

import msgspec

from pointsman.domain.decision import Decision
from pointsman.domain.errors import Kind, PointsmanError, Violation
from pointsman.domain.quality import FALLBACK, REJECT, ROW, Problem, note, parts
from pointsman.domain.table import Feature, FeatureType
from pointsman.gateway import native, oip
from pointsman.gateway.native import Asked, check_rows
from pointsman.gateway.oip_mending import Mender
from pointsman.gateway.quality import WRONG, Door, Found, Seen
from pointsman.gateway.schema import Schema
from pointsman.gateway.served import Served
from pointsman.gateway.settings import Limits
from pointsman.gateway.violations import MOST, plain, problems, together
from pointsman.gateway.work import Fault, Job, Row
from pointsman.runtime.row_types import FEATURE_TYPES

_SOUND: Final[dict[FeatureType, Any]] = {
    FeatureType.STRING: "",
    FeatureType.BOOLEAN: False,
    FeatureType.INTEGER: 0,
    FeatureType.LONG: 0,
    FeatureType.FLOAT: 0.0,
    FeatureType.DOUBLE: 0.0,
}
"""Stands for what is settled while the rest of a body is looked at for what is not."""


def read_predict(served: Served, door: Door, body: bytes | bytearray, limits: Limits) -> Asked:
    """As `native.read_predict`, with the answers the project declares."""
    try:
        asked = native.read_predict(served, body, limits)
    except PointsmanError as error:
        if error.kind is not Kind.INVALID:
            raise
        return _mended(served, door, body, limits)
    where = (lambda place: f"features[{place}]") if asked.many else (lambda _: "features")
    _look(served, door, asked, where)
    return asked


def read_infer(
    served: Served,
    door: Door,
    body: bytes | bytearray,
    json_bytes: bytes | None,
    limits: Limits,
) -> Asked:
    """As `oip.read_infer`, with the answers the project declares."""
    try:
        asked = oip.read_infer(served, body, json_bytes, limits)
    except PointsmanError as error:
        if error.kind is not Kind.INVALID or json_bytes == b"0":
            raise
        mender = Mender(door)
        try:
            asked = oip.read_infer(served, body, json_bytes, limits, mender.rows)
        except PointsmanError:
            _count_refused(served, mender.seen.values())
            raise
        asked.marks = mender.seen or None
        return asked
    _look(served, door, asked, lambda place: f"row {place}")
    return asked


def _look(served: Served, door: Door, asked: Asked, where: Any) -> None:
    """Marks the rows that are complete and of the right types, and still not as expected."""
    clean = door.clean
    marks = {
        place: door.look(values) for place, values in enumerate(asked.rows) if not clean(values)
    }
    if not marks:
        return
    found: list[Violation] = []
    for place, seen in marks.items():
        found += _refusals(door, where(place), seen.rejected)
        _settle(served.schema, asked, place, seen)
    if found:
        _count_refused(served, marks.values())
        raise together(found[: MOST + 1])
    asked.marks = marks


def _settle(schema: Schema, asked: Asked, place: int, seen: Seen) -> None:
    if seen.values != asked.rows[place]:
        asked.rows[place] = seen.values
        asked.features[place] = schema.row_json(seen.values)


def _refusals(door: Door, path: str, rejected: Iterable[Found]) -> list[Violation]:
    return [
        Violation(path if found[0] == ROW else f"{path}.{found[0]}", *door.words(found))
        for found in rejected
    ]


def _mended(served: Served, door: Door, body: bytes | bytearray, limits: Limits) -> Asked:
    """A body that is JSON and was refused: what is refused by name stays so, all at once."""
    schema = served.schema
    value = msgspec.json.decode(body)
    given = value.get("features") if isinstance(value, dict) else None
    many = isinstance(given, list)
    rows: list[Any] = given if isinstance(given, list) else [given]
    if many:
        check_rows(len(rows), len(body), limits)
    seen: dict[int, Seen] = {}
    left: list[Any] = []
    own: list[Violation] = []
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            left.append(row)
            continue
        extras = [name for name in row if name not in schema.known]
        looked = door.look([_typed(one, row.get(one.name)) for one in schema.features], extras)
        seen[place] = looked
        left.append(_left(schema, row, looked))
        told = [found for found in looked.rejected if not _told_by_type(schema, found)]
        own += _refusals(door, f"features[{place}]" if many else "features", told)
    rest = {**value, "features": left if many else left[0]} if isinstance(value, dict) else value
    if given is None and isinstance(value, dict):
        rest = value
    found = [*islice(problems(schema, rest, features=True), MOST + 1), *own]
    if found:
        _count_refused(served, seen.values())
        raise together(found[: MOST + 1])
    if not many:
        check_rows(1, len(body), limits)
    return _asked(schema, value, [seen[place] for place in range(len(rows))], many=many)


def _asked(schema: Schema, value: dict[str, Any], seen: Sequence[Seen], *, many: bool) -> Asked:
    rest = {name: part for name, part in value.items() if name != "features"}
    try:
        asked = msgspec.convert(rest, schema.decide.type)
    except (msgspec.ValidationError, ValueError) as error:
        raise together((Violation("", plain(str(error))),)) from None
    unit, context = native.identity(schema, asked)
    rows = [one.values for one in seen]
    return Asked(
        [unit],
        context,
        asked.variant,
        asked.id or "",
        rows,
        [schema.row_json(values) for values in rows],
        many,
        marks={place: one for place, one in enumerate(seen) if one.notes} or None,
    )


def _typed(feature: Feature, value: Any) -> Any:
    """The value as its feature's type, None where there is none, else `WRONG`."""
    if value is None:
        return None
    try:
        return msgspec.convert(value, FEATURE_TYPES[feature.type])
    except msgspec.ValidationError:
        return WRONG


def _told_by_type(schema: Schema, found: Found) -> bool:
    """Whether `violations.problems` says it, too."""
    name, problem, _ = found
    if problem is Problem.MISSING:
        return name in schema.required
    return problem in {Problem.TYPE, Problem.EXTRA}


def _left(schema: Schema, row: dict[str, Any], seen: Seen) -> dict[str, Any]:
    """A row in which only what it is refused for is wrong."""
    refused = {(name, problem) for name, problem, _ in seen.rejected}
    left: dict[str, Any] = {}
    for feature in schema.features:
        name = feature.name
        if (name, Problem.TYPE) in refused:
            left[name] = row[name]
        elif (name, Problem.MISSING) in refused:
            if name in row:
                left[name] = None
        else:
            left[name] = _SOUND[feature.type]
    return left | {n: value for n, value in row.items() if (n, Problem.EXTRA) in refused}


def _count_refused(served: Served, rows: Iterable[Seen]) -> None:
    for seen in rows:
        if seen.rejected:
            refused = {note(name, problem, REJECT) for name, problem, _ in seen.rejected}
            served.counters.problems([parts(one) for one in refused], "")


def mark(job: Job, door: Door, marks: dict[int, Seen]) -> None:
    """Writes onto decided rows what was found about them, and sends on those whose variant is not
    to be asked.

    Raises PointsmanError(INVALID) where nobody else can be.
    """
    stranded: list[Violation] = []
    for place, seen in marks.items():
        row = job.rows[place]
        row.quality = seen.notes
        job.served.counters.problems([parts(one) for one in seen.notes], row.decision.assigned)
        if seen.diverted and not _divert(job, row, door, seen):
            path = f"features[{place}]" if job.many else "features"
            said = ", ".join(_of(seen, FALLBACK))
            message = f"{said}: {row.decision.assigned} is not to be asked, and no fallback can be"
            stranded.append(Violation(path, message, "send the row without the problem"))
    if stranded:
        job.close()
        raise together(stranded[: MOST + 1])


def _divert(job: Job, row: Row, door: Door, seen: Seen) -> bool:
    """Whether there is a fallback that can be asked for the row; it is then."""
    decision: Decision = row.decision
    able = tuple(name for name in decision.fallbacks if door.takes(name, row.values))
    if not able:
        return False
    watching = tuple(name for name in decision.shadows if door.takes(name, row.values))
    row.decision = msgspec.structs.replace(decision, fallbacks=able, shadows=watching)
    row.member = job.served.members[able[0]]
    row.tried = 2
    row.fault = Fault.QUALITY
    row.error = f"{decision.assigned}: not asked: {', '.join(_of(seen, FALLBACK))}"[:1000]
    return True


def _of(seen: Seen, answer: str) -> list[str]:
    """Feature and problem of each note with that answer."""
    told = [parts(one) for one in seen.notes]
    return [f"{name} {problem}" for name, problem, given in told if given == answer]
