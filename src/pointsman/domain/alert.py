"""What can be alerted of: the closed set of kinds, and what each means where nobody says more."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec

_SECOND: Final = 1_000
_MINUTE: Final = 60_000
_HOUR: Final = 3_600_000
_DAY: Final = 86_400_000


class Kind(StrEnum):
    """What is wrong. The first ones are about a project, the last about the installation."""

    ROLLED_BACK = "rolled_back"
    MISSING_DATA = "missing_data"
    STUCK = "stuck"
    VARIANT_OUT = "variant_out"
    KILLED = "killed"
    SAMPLE_RATIO = "sample_ratio"
    LABEL_COVERAGE = "label_coverage"
    SELECTIVE_LABELS = "selective_labels"
    FALLBACK = "fallback"
    UNDECIDED = "undecided"
    VARIANT_ERRORS = "variant_errors"
    NOT_SERVED = "not_served"
    WRITE_BACK = "write_back"
    DRIFT = "drift"
    REGISTRY = "registry"
    JOURNAL = "journal"
    INGEST_LAG = "ingest_lag"
    BACKGROUND = "background"


class Severity(StrEnum):
    """How much it hurts. `critical`: traffic or people are, or would be, harmed."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Usual(msgspec.Struct, frozen=True):
    """A kind of alert as it is without a word in a file.

    meaning: when it is true, for people
    after_ms: how long it must be true before anybody is told
    quiet_ms: how long it must be gone before it counts as over: what comes and goes is one alert
    bound: largest share that is fine, in percent; None where the kind has none
    window_ms: what is looked at; None where the kind has none
    least: fewest decisions within the window; None where the kind counts none
    """

    meaning: str
    severity: Severity
    after_ms: int
    quiet_ms: int
    bound: float | None = None
    window_ms: int | None = None
    least: int | None = None


_CRITICAL: Final = Severity.CRITICAL
_WARNING: Final = Severity.WARNING

USUAL: Final[Mapping[Kind, Usual]] = MappingProxyType(
    {
        Kind.ROLLED_BACK: Usual(
            "A rollout was taken back, or failed, by itself. Over once another attempt begins, or "
            "after the window.",
            _CRITICAL,
            0,
            10 * _SECOND,
            window_ms=_DAY,
        ),
        Kind.MISSING_DATA: Usual(
            "A rollout's variant has traffic and no decision data.", _WARNING, _MINUTE, _MINUTE
        ),
        Kind.STUCK: Usual(
            "A rollout's step has taken so much longer than its own hold. Not while it is paused.",
            _WARNING,
            0,
            10 * _SECOND,
            window_ms=_DAY,
        ),
        Kind.VARIANT_OUT: Usual(
            "A gateway's own guard took a variant out.", _CRITICAL, 0, 30 * _SECOND
        ),
        Kind.KILLED: Usual("A kill switch that a person set is on.", _WARNING, 0, 10 * _SECOND),
        Kind.SAMPLE_RATIO: Usual(
            "Units are lost on their way, or were not drawn with the chances that are logged: a "
            "rollout's evidence cannot be believed.",
            _CRITICAL,
            _MINUTE,
            5 * _MINUTE,
        ),
        Kind.LABEL_COVERAGE: Usual(
            "Labels come for one arm of a rollout more often than for the other.",
            _WARNING,
            _MINUTE,
            5 * _MINUTE,
        ),
        Kind.SELECTIVE_LABELS: Usual(
            "Labels depend on what was answered, so a rollout claims nothing by them.",
            _WARNING,
            _MINUTE,
            5 * _MINUTE,
        ),
        Kind.FALLBACK: Usual(
            "More decisions than the bound were answered by another variant than the one assigned.",
            _WARNING,
            _MINUTE,
            5 * _MINUTE,
            bound=5.0,
            window_ms=10 * _MINUTE,
            least=100,
        ),
        Kind.UNDECIDED: Usual(
            "More decisions than the bound had reason DEFAULT: a condition could not be evaluated. "
            "Counted by whole hours.",
            _WARNING,
            _MINUTE,
            5 * _MINUTE,
            bound=1.0,
            window_ms=_HOUR,
            least=100,
        ),
        Kind.VARIANT_ERRORS: Usual(
            "A variant did not answer more of its decisions than the bound.",
            _CRITICAL,
            _MINUTE,
            5 * _MINUTE,
            bound=5.0,
            window_ms=5 * _MINUTE,
            least=100,
        ),
        Kind.NOT_SERVED: Usual(
            "A gateway on this machine refuses a version, or still serves an older table.",
            _CRITICAL,
            _MINUTE,
            30 * _SECOND,
        ),
        Kind.WRITE_BACK: Usual(
            "A rollout's success could not be written back to the registry.",
            _WARNING,
            _MINUTE,
            10 * _SECOND,
            window_ms=_DAY,
        ),
        Kind.DRIFT: Usual(
            "An input or an answer no longer looks like the reference, in the newest hour or day "
            "that is over.",
            _WARNING,
            0,
            10 * _SECOND,
        ),
        Kind.REGISTRY: Usual("A registry does not answer.", _WARNING, 2 * _MINUTE, _MINUTE),
        Kind.JOURNAL: Usual(
            "A journal cannot be read, or its disk is so full that decisions cannot be recorded.",
            _CRITICAL,
            30 * _SECOND,
            _MINUTE,
        ),
        Kind.INGEST_LAG: Usual(
            "What gateways recorded has not been taken in for longer than the window.",
            _WARNING,
            0,
            _MINUTE,
            window_ms=2 * _MINUTE,
        ),
        Kind.BACKGROUND: Usual(
            "Background work of the controller keeps failing.", _WARNING, 2 * _MINUTE, _MINUTE
        ),
    }
)

INSTALLATION: Final = frozenset({Kind.REGISTRY, Kind.JOURNAL, Kind.INGEST_LAG, Kind.BACKGROUND})
"""Kinds that are about no project."""

OF_PROJECTS: Final = tuple(kind for kind in Kind if kind not in INSTALLATION)
"""Kinds a project's file can say something about."""
