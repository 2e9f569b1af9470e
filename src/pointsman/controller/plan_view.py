"""A plan as the admin API tells it: one sentence, the replay, the limits, and how long it takes."""

from typing import Any

import msgspec

from pointsman.controller.gate import Standing
from pointsman.controller.outlook import Asked, Course, Seen
from pointsman.controller.pacing import per_day, ratio, waits
from pointsman.decide.estimate import SliceForecast
from pointsman.decide.forecast import Forecast
from pointsman.spec.models import Project


def outlook(
    project: Project, course: Course | None, seen: Seen | None, standing: Standing | None
) -> dict[str, Any]:
    """The part of a plan's answer that comes of logged decisions and limits."""
    if seen is None or course is None or standing is None:
        told = None if standing is None else limits(standing)
        return {"sentence": "", "replay": None, "limits": told}
    change = seen.change
    drawn = ratio(project, change)
    return {
        "sentence": sentence(course, seen, standing),
        "replay": {
            **replay(change, seen.asked),
            "first_weight": None if course.first is None else float(course.first),
            "full": None if seen.full is None else replay(seen.full, seen.asked_full),
            "per_day": per_day(change),
            "sample_ratio": None if drawn is None else msgspec.to_builtins(drawn),
            "waits": [msgspec.to_builtins(wait) for wait in waits(project, change)],
        },
        "limits": limits(standing),
    }


def replay(found: Forecast, asked: tuple[Asked, ...]) -> dict[str, Any]:
    """The numbers of a replay, and what versions were asked for it."""
    body: dict[str, Any] = msgspec.to_builtins(found)
    del body["split"]  # told as `sample_ratio`
    body["share"], body["units_share"] = found.share, found.units_share
    body["asked"] = [msgspec.to_builtins(one) for one in asked]
    for one in (body["whole"], *body["slices"]):
        one["arms"] = [
            {"variant": arm, "before": before, "after": after} for arm, before, after in one["arms"]
        ]
        one["cost"] = {"before": one["cost"][0], "after": one["cost"][1]}
    return body


def limits(standing: Standing) -> dict[str, Any]:
    return {
        "over": [msgspec.to_builtins(one) for one in standing.over],
        "frozen": standing.frozen,
        "plan": standing.hash,
        "approvals": standing.approvals if standing.over else 0,
        "agreed": list(standing.agreed),
        "open": standing.open,
    }


def sentence(course: Course, seen: Seen, standing: Standing) -> str:
    """What matters most, for people."""
    change = seen.change
    if not change.decisions:
        return "No logged decisions to replay: nobody can say who would notice."
    step = "" if course.first is None else f" at the rollout's first step ({course.first} %)"
    told = (
        f"Of {change.decisions:,} logged decisions {change.share:.2%} would go to another "
        f"variant{step}, of units {change.units_share:.2%}"
    )
    told += f"; {_worst(change)}"
    if seen.full is not None:
        told += f"; at 100 % {_worst(seen.full)}"
    verdict = ""
    if standing.frozen:
        verdict = f" It cannot be applied now: {standing.frozen}."
    elif standing.over and not standing.open:
        missing = standing.approvals - len(standing.agreed)
        verdict = f" It is over {len(standing.over)} limit(s) and needs {missing} approval(s)."
    elif standing.over:
        verdict = f" It is over {len(standing.over)} limit(s), which has been approved."
    return f"{told}.{verdict}"


def _worst(forecast: Forecast) -> str:
    told = [one for one in (*forecast.slices[:1], forecast.whole) if one.denied is not None]
    if not told:
        return "what they would be answered is not known"
    unknown = forecast.whole.sources.unknown / forecast.decisions
    but = f", not counting {unknown:.2%} of which nobody knows what they get" if unknown else ""
    return "denials shift by " + " and ".join(_shift(one) for one in told) + but


def _shift(one: SliceForecast) -> str:
    assert one.denied is not None
    return f"{one.denied.shift * 100:+.2f} points in {one.name or 'all decisions'}"
