"""What a rollout may conclude: harm is shown, no harm is shown to be left, or neither yet.

Rollback is "any", promotion is "all": guardrails share alpha for harm, and each has it whole for
non-inferiority, since all must hold at once (intersection-union: Berger 1982, Technometrics 24,
295-300). Silence never passes: an arm without data, a metric without variation and a list without
guardrails are answers of their own. Evidence that is unsound (lost units, uneven labels, lying
propensities) blocks a pass and never excuses a harm.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from pointsman.judge.kinds import MetricEvidence
from pointsman.judge.mean import Tuning
from pointsman.judge.sample_ratio import Coverage, Draws, RatioState, Stage


class Role(StrEnum):
    """What a breach means: a guardrail's rolls back, a signal's holds; a goal must be reached."""

    GUARDRAIL = "guardrail"
    SIGNAL = "signal"
    GOAL = "goal"


class Worse(StrEnum):
    """Which way the metric is worse. EITHER: any change beyond the margin is."""

    HIGHER = "higher"
    LOWER = "lower"
    EITHER = "either"


class Criterion(msgspec.Struct, frozen=True):
    """One bound on the difference of one metric between challenger and champion.

    margin: change for the worse that is tolerated, >= 0: a breach is shown beyond it, a pass
        within it. Of a goal: the improvement that must be shown to be exceeded.
    relative: the margin is a fraction of the champion's value
    needs_labels: unevenly arriving labels make this criterion unsound
    weight: its part of the guardrails' (signals') alpha
    """

    metric: str
    role: Role
    worse: Worse
    margin: float
    relative: bool = False
    slice: str = ""
    needs_labels: bool = False
    weight: float = 1.0

    @property
    def key(self) -> tuple[str, str]:
        return self.metric, self.slice


class GoalsNeeded(StrEnum):
    """Of several goals: every one, or any (found by e-BH, so that many tries earn nothing)."""

    ALL = "all"
    ANY = "any"


HEALTH_ALPHA: Final = 0.001
"""Error of the tests of whether evidence can be believed, together."""


class Criteria(msgspec.Struct, frozen=True):
    """Everything that was fixed before the first block.

    alpha: 1 - confidence
    tuning: where the sequences are tightest
    health_alpha: error of the sample-ratio, coverage and propensity tests, together
    epochs: weights below all of it that are planned: where safety is expected to be shown
    whole: of a role, what the weights of its criteria add up to once all of them are known; the
        rest is kept for those to come, so that they take nothing from those that are there
    """

    items: tuple[Criterion, ...]
    tuning: Tuning
    alpha: float = 0.05
    health_alpha: float = HEALTH_ALPHA
    goals_needed: GoalsNeeded = GoalsNeeded.ALL
    whole: Mapping[Role, float] = {}
    epochs: int = 1


class EpochHealth(msgspec.Struct, frozen=True):
    """What one epoch's units say of whether its evidence can be believed.

    stages: units by stage they reached; coverage: matured units and labels by share;
    logged: first exposures by logged propensity vector
    """

    epoch: int = 0
    stages: Mapping[Stage, RatioState] = {}
    coverage: tuple[Coverage, ...] = ()
    logged: tuple[Draws, ...] = ()


class Health(msgspec.Struct, frozen=True):
    """Whether the evidence can be believed, by epoch, in order.

    A sticky unit is drawn once, and counts in each epoch it comes back in: epochs are not
    independent of each other, so each is tested by itself.
    """

    epochs: tuple[EpochHealth, ...] = ()


class Evidence(msgspec.Struct, frozen=True):
    """What matured blocks add up to, by (metric, slice). A missing key is no data."""

    metrics: Mapping[tuple[str, str], MetricEvidence]
    health: Health = Health()


class Code(StrEnum):
    """One word for machines."""

    HARM_SHOWN = "HarmShown"
    WITHIN_MARGIN = "WithinMargin"
    GOAL_REACHED = "GoalReached"
    GOAL_OUT_OF_REACH = "GoalOutOfReach"
    NOT_YET = "NotYet"
    BURN_IN = "BurnIn"
    NO_DATA = "NoData"
    NO_CRITERIA = "NoCriteria"
    SAMPLE_RATIO = "SampleRatioMismatch"
    LABEL_COVERAGE = "LabelCoverageMismatch"
    PROPENSITY = "PropensityMismatch"
    SELECTIVE_LABELS = "SelectiveLabels"
    UNPROVEN_LABELS = "UnprovenLabels"


class Reason(msgspec.Struct, frozen=True):
    """Why: a word for machines, a sentence for people, and what it is about ("" for all).

    role: of the criterion it is about, since a metric may be bounded in two; None for all
    """

    code: Code
    text: str
    metric: str = ""
    slice: str = ""
    needs_labels: bool = False
    role: Role | None = None


class Measure(msgspec.Struct, frozen=True):
    """The numbers behind a reason. None: not known yet.

    estimate, lower, upper: change of the metric, relative where the criterion is; each bound
        holds at every look but for `alpha`
    harm_lower, harm_upper: the same at `harm_alpha`, which decides on harm
    challenger, champion: levels; n: units or decisions of each
    verdict, text: on this criterion alone, `pass`, `fail`, `inconclusive` or `no_data`, and why
    """

    criterion: Criterion
    n: tuple[int, int]
    alpha: float
    harm_alpha: float
    estimate: float | None = None
    lower: float | None = None
    upper: float | None = None
    harm_lower: float | None = None
    harm_upper: float | None = None
    challenger: float | None = None
    champion: float | None = None
    method: str = ""
    verdict: str = "no_data"
    text: str = ""


class Pass(msgspec.Struct, frozen=True, tag="pass"):
    """Shown to be within every margin, and every goal that is needed is reached."""

    reasons: tuple[Reason, ...]
    measures: tuple[Measure, ...] = ()


class Fail(msgspec.Struct, frozen=True, tag="fail"):
    """Harm is shown: at least one guardrail is broken."""

    reasons: tuple[Reason, ...]
    measures: tuple[Measure, ...] = ()


class Inconclusive(msgspec.Struct, frozen=True, tag="inconclusive"):
    """Neither harm nor its absence is shown.

    holds: something is wrong (a broken signal, unsound evidence), so that a rollout must not even
        advance a step; otherwise it is only too early to promote
    """

    reasons: tuple[Reason, ...]
    measures: tuple[Measure, ...] = ()
    holds: bool = False


class NoData(msgspec.Struct, frozen=True, tag="no_data"):
    """An arm has no data for something that must be judged. Never a pass."""

    reasons: tuple[Reason, ...]
    measures: tuple[Measure, ...] = ()


Verdict = Pass | Fail | Inconclusive | NoData

UNSOUND: Final = frozenset({Code.SAMPLE_RATIO, Code.LABEL_COVERAGE, Code.PROPENSITY})
