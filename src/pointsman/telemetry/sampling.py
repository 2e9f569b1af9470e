"""Which traces are recorded: decided once, at the head, from the trace id alone.

The standard variables OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG say how. The draw is the
OpenTelemetry SDK's own (the low 64 bits of the trace id, against the rate), so that every service
that samples by the same rate keeps the same traces.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.telemetry.context import Context

_ALL: Final = 1 << 64
_LOW: Final = _ALL - 1
SAMPLER: Final = "OTEL_TRACES_SAMPLER"
ARGUMENT: Final = "OTEL_TRACES_SAMPLER_ARG"
DEFAULT: Final = "parentbased_always_on"
"""As the OpenTelemetry specification has it."""
_KINDS: Final = ("always_on", "always_off", "traceidratio")
_NAMES: Final = (*_KINDS, *(f"parentbased_{kind}" for kind in _KINDS))


class Sampler(msgspec.Struct, frozen=True):
    """bound: traces whose low 64 bits are below are drawn; by_parent: a caller's choice stands"""

    bound: int
    by_parent: bool

    def takes(self, low: int) -> bool:
        """Whether a trace without a caller is drawn. low: the low 64 bits of its id"""
        return low < self.bound

    def follows(self, parent: Context) -> bool:
        """Whether the request of this caller is recorded."""
        if self.by_parent:
            return parent.sampled
        return int(parent.trace[16:], 16) < self.bound


def from_environment(environment: Mapping[str, str]) -> Sampler:
    """The sampler. Raises PointsmanError(INVALID) for a name or a rate that is none."""
    name = environment.get(SAMPLER, "").strip().lower() or DEFAULT
    if name not in _NAMES:
        raise PointsmanError(
            Kind.INVALID,
            f"{SAMPLER}: {name[:60]!r} is not known",
            hint=f"one of {', '.join(_NAMES)}",
        )
    kind = name.removeprefix("parentbased_")
    rate = {"always_on": 1.0, "always_off": 0.0}.get(kind)
    if rate is None:
        rate = _rate(environment.get(ARGUMENT, "").strip() or "1.0")
    return Sampler(round(rate * _ALL), kind != name)


def low_bits(trace: str) -> int:
    """The low 64 bits of a trace id of 32 hex digits."""
    return int(trace, 16) & _LOW


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0.0 <= rate <= 1.0:
        raise PointsmanError(
            Kind.INVALID,
            f"{ARGUMENT}: {text[:40]!r} is not a share between 0 and 1",
            hint="0.01 records one trace in a hundred",
        )
    return rate
