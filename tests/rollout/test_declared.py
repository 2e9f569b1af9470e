"""From the project file to the terms of a rollout, and what is refused on the way."""

from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
import yaml

from pointsman.decide.allocation import initial, moved, reallocate, shares
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import SPACE
from pointsman.rollout.declared import terms
from pointsman.rollout.terms import COOLDOWN_MS, NO_DATA_DEADLINE_MS, Analyse, Approve, SetWeight
from pointsman.spec.models import Project
from pointsman.spec.rollouts import problems

FULL = """
apiVersion: pointsman/v1
kind: Project
metadata: {name: fraud, tenant: payments}
spec:
  classes: [legit, fraud]
  context: {account: string, country: string}
  unit: account
  decision: {deny: [fraud]}
  variants:
    champion: {model: "models:/fraud@champion"}
    challenger: {model: "models:/fraud@challenger"}
    steady: {model: "models:/fraud/7"}
  rules:
    - {name: embargo, when: 'request.country == "KP"', use: champion}
    - {name: default, split: {champion: 60, challenger: 5, steady: 20}}
  outcomes: {label: {horizon: 7d}}
  metrics:
    recall: {kind: classifier, of: recall}
    errors: {kind: operational, event: error}
  rollout:
    variant: challenger
    rule: default
    steps:
      - setWeight: 1
      - analysis: {hold: 30m, minDecisions: 2000}
      - setWeight: 12.5
      - analysis: {hold: 1d, minOutcomes: 500}
      - approval: {by: approver}
      - setWeight: 100
    guardrails:
      - {metric: errors, relative: 0.10}
    signals:
      - {metric: recall, atLeast: -0.01}
    onNoData: rollback
    noDataDeadline: 5m
    cooldown: 2h
    onSuccess: {setAlias: champion}
  limits:
    maxStep: 25
    approvals: 2
    freeze: [{from: "2026-12-20", to: "2027-01-02", zone: Europe/Berlin}]
"""


def project(text=FULL):
    return Project.model_validate(yaml.safe_load(text))


def changed(*pairs):
    text = FULL
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return project(text)


def found(*pairs):
    """Paths and messages of everything wrong after these changes."""
    return [(v.path.removeprefix("spec."), v.message) for v in problems(changed(*pairs))]


def test_everything_declared_is_in_the_terms():
    """Durations are milliseconds, weights are exact, and the arms but the variant keep theirs."""
    declared = terms(project())

    assert declared is not None
    assert declared.steps == (
        SetWeight(Decimal(1)),
        Analyse(hold_ms=1_800_000, min_decisions=2000),
        SetWeight(Decimal("12.5")),
        Analyse(hold_ms=86_400_000, min_outcomes=500),
        Approve("approver"),
        SetWeight(Decimal(100)),
    )
    assert (declared.project, declared.variant, declared.against) == (
        "fraud",
        "challenger",
        "champion",
    )
    assert declared.others == (("champion", Decimal(60)), ("steady", Decimal(20)))
    assert (declared.guardrails, declared.signals) == (("errors",), ("recall",))
    assert (declared.no_data, declared.no_data_deadline_ms) == ("rollback", 300_000)
    assert (declared.cooldown_ms, declared.alias) == (7_200_000, "champion")
    assert (declared.max_step, declared.approvals) == (Decimal(25), 2)


def test_what_is_left_out_has_the_safe_default():
    """Ten minutes of silence, an hour of cool-down, no alias, no limits."""
    text = FULL
    for line in ("onNoData: rollback", "noDataDeadline: 5m", "cooldown: 2h"):
        text = text.replace(f"    {line}\n", "")
    text = text.replace("    onSuccess: {setAlias: champion}\n", "").partition("  limits:")[0]
    declared = terms(project(text))

    assert declared is not None
    assert declared.no_data == "hold"
    assert declared.no_data_deadline_ms == NO_DATA_DEADLINE_MS == 600_000
    assert declared.cooldown_ms == COOLDOWN_MS == 3_600_000
    assert (declared.alias, declared.max_step, declared.freezes) == ("", None, ())


def test_a_project_without_a_rollout_has_no_terms():
    """And nothing is wrong with it."""
    text = FULL.partition("  rollout:")[0]

    assert terms(project(text)) is None
    assert problems(project(text)) == []


def test_a_freeze_is_whole_days_of_its_own_zone():
    """Both ends included, whatever the offset is on each of them."""
    (freeze,) = terms(changed(("2027-01-02", "2027-03-28"))).freezes
    berlin = ZoneInfo("Europe/Berlin")

    assert freeze.from_ms == datetime(2026, 12, 20, tzinfo=berlin).timestamp() * 1000
    # Clocks go forward on the last day.
    assert freeze.until_ms == datetime(2027, 3, 29, tzinfo=berlin).timestamp() * 1000


@pytest.mark.parametrize("weight", ["0", "1", "12.5", "99.9", "100"])
def test_weights_give_the_variant_its_share_and_the_others_their_proportions(weight):
    """As `decide.allocation` carries them out, to within one point of 2^32."""
    declared = terms(project())
    before = initial({"champion": 60, "challenger": 5, "steady": 20})
    got = shares(reallocate(before, dict(declared.weights(Decimal(weight)))))
    share = float(weight) / 100

    assert got.get("challenger", 0.0) == pytest.approx(share, abs=2 / SPACE)
    assert got.get("champion", 0.0) == pytest.approx((1 - share) * 0.75, abs=2 / SPACE)
    assert got.get("steady", 0.0) == pytest.approx((1 - share) * 0.25, abs=2 / SPACE)


def test_a_rollback_and_a_second_try_move_the_same_units():
    """Half the sum of the differences each way, and nobody else."""
    declared = terms(project())
    allocations = [initial(dict(declared.weights(Decimal(0))))]
    for weight in (1, 10, 0, 1, 10):
        allocations.append(reallocate(allocations[-1], dict(declared.weights(Decimal(weight)))))

    assert moved(allocations[0], allocations[1]) == pytest.approx(SPACE / 100, abs=2)
    assert moved(allocations[2], allocations[3]) == pytest.approx(SPACE / 10, abs=2)


WRONG = [
    (
        [("    variant: challenger\n", "    variant: chalenger\n")],
        [("rollout.variant", "there is no variant named 'chalenger'")],
    ),
    (
        [("    rule: default\n", "    rule: defualt\n")],
        [("rollout.rule", "there is no rule named 'defualt'")],
    ),
    (
        [("    rule: default\n", "    rule: embargo\n")],
        [
            (
                "rollout.rule",
                "the rule 'embargo' has no split, so there are no weights to move",
            )
        ],
    ),
    (
        [("    variant: challenger\n", "    variant: champion\n")],
        [("rollout.against", "'champion' cannot grow against itself")],
    ),
    (
        [("champion: 60, challenger: 5, ", "champion: 60, ")],
        [("rollout.variant", "'challenger' is not in the split of the rule 'default'")],
    ),
    (
        [("champion: 60, challenger: 5, ", "champion: 0, challenger: 5, ")],
        [
            (
                "rollout.against",
                "'champion' has no weight in the split: nothing could be compared",
            )
        ],
    ),
    (
        [("setWeight: 12.5", "setWeight: 1")],
        [("rollout.steps[2]", "1 % is no step up from 1 %")],
    ),
    (
        [("      - setWeight: 1\n", "")],
        [
            (
                "rollout.steps[0]",
                "there is nothing to analyse before the variant has traffic",
            )
        ],
    ),
    (
        [("      - analysis: {hold: 30m, minDecisions: 2000}\n", "")],
        [("rollout.steps[1]", "nothing is looked at between 1 % and 12.5 %")],
    ),
    (
        [("setWeight: 100", "setWeight: 90")],
        [("rollout.steps[5]", "nothing is looked at between 90 % and the promotion")],
    ),
    (
        [("setWeight: 1\n", "setWeight: 100\n")],
        [
            ("rollout.steps", "all traffic at once leaves nothing to compare with"),
            ("rollout.steps[2]", "12.5 % is no step up from 100 %"),
        ],
    ),
    (
        [("    guardrails:\n      - {metric: errors, relative: 0.10}\n", "")],
        [
            (
                "rollout.guardrails",
                "without a guardrail nothing could stop it, and nothing could show it to be safe",
            )
        ],
    ),
    (
        [("metric: errors", "metric: eror")],
        [("rollout.guardrails[0].metric", "there is no metric named 'eror'")],
    ),
    (
        [("  outcomes: {label: {horizon: 7d}}\n", "")],
        [
            ("rollout.steps[3]", "waits for outcomes, and none are declared"),
            (
                "rollout.signals[0].metric",
                "'recall' needs labels, and none are declared",
            ),
        ],
    ),
    (
        [("2026-12-20", "2026-02-30"), ("Europe/Berlin", "Europe/Berln")],
        [
            ("limits.freeze[0].from", "'2026-02-30' is no day of the calendar"),
            ("limits.freeze[0].zone", "there is no time zone 'Europe/Berln'"),
        ],
    ),
    (
        [("2027-01-02", "2026-01-02")],
        [("limits.freeze[0].to", "2026-01-02 is before 2026-12-20")],
    ),
]


@pytest.mark.parametrize(("pairs", "expected"), WRONG, ids=lambda value: str(value)[-60:-4])
def test_a_course_that_could_not_be_stopped_or_could_not_end_is_refused(pairs, expected):
    """Each with its path; all of them at once."""
    assert found(*pairs) == expected


def test_all_problems_are_reported_at_once():
    """The error carries them, each with what to do."""
    broken = changed(("metric: errors", "metric: eror"), ("setWeight: 12.5", "setWeight: 0.5"))
    with pytest.raises(PointsmanError) as refused:
        terms(broken)

    assert refused.value.kind is Kind.INVALID
    assert len(refused.value.violations) == 2
    assert all(violation.hint for violation in refused.value.violations)


def test_a_course_without_any_weight_is_refused():
    """It would wait for ever, or promote what nobody has seen."""
    steps = FULL[FULL.index("      - setWeight: 1\n") : FULL.index("    guardrails:")]
    one = found((steps, "      - approval: {by: approver}\n"))

    assert one == [("rollout.steps", "no step gives the variant any traffic")]
