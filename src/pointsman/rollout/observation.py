"""What one tick has seen, frozen: the only thing besides terms, state and time it may look at."""

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """What the evidence says. There is no fifth answer, and silence is none of the first three."""

    PASS = "pass"  # noqa: S105 - shown to be within every margin; not a password
    FAIL = "fail"  # harm is shown
    INCONCLUSIVE = "inconclusive"  # neither yet
    NO_DATA = "no_data"


class Role(StrEnum):
    """What a finding is about."""

    GUARDRAIL = "guardrail"
    SIGNAL = "signal"
    GOAL = "goal"
    EVIDENCE = "evidence"  # the evidence itself: lost units, uneven labels, lying propensities


class Unit(StrEnum):
    """How a finding's value and bound are written."""

    POINTS = "points"  # differences of shares: 0.031 is +3.1 points
    PERCENT = "percent"  # relative differences: 0.1 is +10 %
    PLAIN = "plain"  # any other difference, as it is


class Health(StrEnum):
    """Whether a variant can take traffic, as gateways see it."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


class Verb(StrEnum):
    """What people may ask for."""

    PROMOTE = "promote"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    RETRY = "retry"
    UNDO = "undo"
    APPROVE = "approve"


class Version(msgspec.Struct, frozen=True):
    """One pinned version of a variant. Versions are the same if all of this is.

    label: for people (`13`); source: the pinned URI
    identity: digest of all that makes it serve differently: artifact, threshold, denied classes
    """

    label: str
    source: str = ""
    identity: str = ""


class Finding(msgspec.Struct, frozen=True):
    """Why the verdict is what it is, about one criterion.

    metric, slice: by the names of the spec; a slice is `attribute=value`, empty for all decisions
    value: the difference to the champion, in `unit`; None where there is none
    bound: what the value is held against, signed
    n: the challenger's decisions or units behind it
    needs_labels: it waits for outcomes, so that silence only holds
    text: what the judge says of it
    """

    role: Role
    metric: str
    verdict: Verdict
    slice: str = ""
    value: float | None = None
    bound: float | None = None
    unit: Unit = Unit.PLAIN
    n: int = 0
    needs_labels: bool = False
    text: str = ""


class Judgement(msgspec.Struct, frozen=True):
    """The verdict on all criteria together, over every epoch of this attempt, never pooled.

    holds: of an inconclusive verdict: something is wrong (a signal is broken, the evidence is not
        sound), so that not even a step may be taken
    findings: of a pass, one for every guardrail; otherwise whatever decided
    blind: why labels bear no claim, though metrics wait for them; empty where they do
    """

    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    holds: bool = False
    blind: str = ""


class Counts(msgspec.Struct, frozen=True):
    """What the rule assigned to the variant so far.

    decisions: assigned by the split in this epoch; outcomes: matured ones of them
    last_decision_ms: when the newest decision of any epoch was made; None without any
    """

    decisions: int = 0
    outcomes: int = 0
    last_decision_ms: int | None = None


class Refusal(msgspec.Struct, frozen=True):
    """A version that gateways will not serve, and why."""

    version: Version
    why: str


class Command(msgspec.Struct, frozen=True):
    """What a person asked for.

    seq: strictly increasing for each project, given by the store
    roles: what the person may act as (`approver`)
    full: of `promote`: skip every remaining step
    """

    seq: int
    verb: Verb
    actor: str
    roles: tuple[str, ...] = ()
    reason: str = ""
    full: bool = False


class Observation(msgspec.Struct, frozen=True):
    """All of it, read once.

    champion: what `against` is pinned to
    candidate: the version the variant is meant to have (its alias, resolved, prepared and proved);
        None while that is not known
    author: who asked for the candidate; empty where an alias moved
    epoch: of the rule, in the newest published table
    acknowledged: the latest publication (`Publish.publication`) that every gateway serves; 0
        before the first; acknowledged_ms: from when all of them have
    counts: of `epoch`
    judgement: over epochs after `State.after_epoch`; None where nothing was judged
    champion_health: of `against`, whatever version it has
    refusals: versions of the variant that gateways refuse to serve
    stopped: why gateways send it nothing (kill switch, local guard); empty where they do
    drifting: what drifted, where the project wants nothing to grow meanwhile; empty where nothing
    commands: all that may not be done yet, in any order
    """

    champion: Version
    candidate: Version | None
    epoch: int
    acknowledged: int = 0
    acknowledged_ms: int = 0
    counts: Counts = Counts()
    judgement: Judgement | None = None
    champion_health: Health = Health.HEALTHY
    refusals: tuple[Refusal, ...] = ()
    stopped: str = ""
    drifting: str = ""
    commands: tuple[Command, ...] = ()
    author: str = ""

    def refusal(self, version: Version) -> str:
        """Why gateways refuse a version; empty where they do not."""
        return next((found.why for found in self.refusals if found.version == version), "")
