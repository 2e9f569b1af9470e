"""Labels that depend on what was served bear no claim, in a split as in pairs; the rest goes on."""

import pytest
from test_assess import BAD_ERRORS, ERRORS, GOOD_ERRORS, RECALL, TUNING, codes, recalls

from pointsman.judge.assess import judge
from pointsman.judge.labels import ActionCoverage, Labels, selection_of_arms
from pointsman.judge.verdict import Code, Criteria, Evidence, Fail, Inconclusive, NoData, Pass
from pointsman.judge.withheld import judge_by_labels

SURVIVORS = ActionCoverage(allowed=4_000, allowed_labelled=4_000, denied=1_000)
BOTH = ActionCoverage(4_000, 3_600, 2_000, 1_800)
FEW = ActionCoverage(40, 36, 4, 3)


def of(coverage, small=None):
    arms = {"challenger": small or coverage, "champion": coverage}
    return selection_of_arms(arms, may_deny=True)


def judged(metrics, labels, *criteria):
    return judge_by_labels(Evidence(metrics), Criteria(criteria, TUNING), labels)


@pytest.mark.parametrize("challenger", [0.8, 0.2], ids=["would pass", "would fail"])
def test_labels_of_survivors_neither_pass_nor_fail(challenger):
    """A recall that looks fine and one that looks broken are the same: not known. It holds, and
    says how many labels there are of which action."""
    metrics = {ERRORS.key: GOOD_ERRORS, RECALL.key: recalls(challenger, 0.8)}
    found = judged(metrics, of(SURVIVORS), ERRORS, RECALL)
    errors, recall = found.measures

    assert isinstance(found, Inconclusive)
    assert found.holds
    assert codes(found) == [Code.SELECTIVE_LABELS]
    assert "0 of 1,000 denied" in found.reasons[0].text
    assert "4,000 of 4,000 allowed" in found.reasons[0].text
    assert errors.verdict == "pass"
    assert (recall.verdict, recall.estimate, recall.upper) == ("inconclusive", None, None)
    assert min(recall.n) > 10_000


def test_what_needs_no_labels_goes_on():
    """Harm that is seen without them rolls back; data that is missing is missing still."""
    bad = judged(
        {ERRORS.key: BAD_ERRORS, RECALL.key: recalls(0.8, 0.8)}, of(SURVIVORS), ERRORS, RECALL
    )
    silent = judged({RECALL.key: recalls(0.8, 0.8)}, of(SURVIVORS), ERRORS, RECALL)

    assert isinstance(bad, Fail)
    assert codes(bad) == [Code.HARM_SHOWN]
    assert isinstance(silent, Inconclusive)
    assert codes(silent) == [Code.SELECTIVE_LABELS, Code.NO_DATA]


def test_labels_for_every_action_are_judged_as_ever():
    """The very same verdict as without the question."""
    for challenger in (0.8, 0.2):
        metrics = {ERRORS.key: GOOD_ERRORS, RECALL.key: recalls(challenger, 0.8)}
        criteria = Criteria((ERRORS, RECALL), TUNING)
        assert judge_by_labels(Evidence(metrics), criteria, of(BOTH)) == judge(
            Evidence(metrics), criteria
        )
    assert isinstance(
        judged(metrics | {RECALL.key: recalls(0.8, 0.8)}, of(BOTH), ERRORS, RECALL), Pass
    )


def test_while_it_is_not_known_nothing_passes_and_a_shown_harm_stands():
    """Too early is no reason to hold a step, and a way back never waits."""
    good = {ERRORS.key: GOOD_ERRORS, RECALL.key: recalls(0.8, 0.8)}
    early = judged(good, of(FEW), ERRORS, RECALL)
    harm = judged({**good, RECALL.key: recalls(0.2, 0.8)}, of(FEW), ERRORS, RECALL)
    silent = judged({RECALL.key: recalls(0.8, 0.8)}, of(FEW), ERRORS, RECALL)

    assert isinstance(early, Inconclusive)
    assert not early.holds
    assert codes(early) == [Code.UNPROVEN_LABELS]
    assert codes(harm) == [Code.HARM_SHOWN]
    assert isinstance(silent, NoData)


def test_a_small_arm_is_open_by_what_all_show_and_selective_by_itself():
    """Whether a label comes depends on what was done. But one arm without them spoils the whole."""
    assert of(BOTH, small=FEW).labels is Labels.OPEN
    found = of(BOTH, small=SURVIVORS)
    assert found.labels is Labels.SELECTIVE
    assert "of challenger" in found.text
    assert of(ActionCoverage()).labels is Labels.UNPROVEN
    nobody = selection_of_arms({"a": ActionCoverage(9, 3)}, may_deny=False)
    assert nobody.labels is Labels.OPEN
