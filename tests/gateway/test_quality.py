"""Rows that are not as expected, on a real gateway: every problem, every answer, both protocols."""

import json

import pytest

from pointsman.domain.quality import FeatureQuality, Quality
from pointsman.domain.records import DecisionRecord, ShadowRecord
from pointsman.domain.table import SPACE, Feature, FeatureType, Shadow

FEATURES = (
    Feature("amount", FeatureType.DOUBLE),
    Feature("age-years", FeatureType.LONG),
    Feature("country", FeatureType.STRING),
    Feature("vip", FeatureType.BOOLEAN, required=False),
    Feature("note", FeatureType.STRING, required=False),
)
ROW = {"amount": 12.5, "age-years": 41, "country": "DE", "vip": True, "note": "x"}
WHOLE = {
    "missing": {key: value for key, value in ROW.items() if key != "age-years"},
    "null": ROW | {"age-years": None},
    "extra": ROW | {"shoe": 44},
    "type": ROW | {"age-years": "old"},
    "range": ROW | {"age-years": 150},
    "unseen": ROW | {"country": "XX"},
    "allNull": {key: value for key, value in ROW.items() if key not in {"vip", "note"}},
}
NOTES = {
    "missing": "age-years:missing",
    "null": "age-years:missing",
    "extra": "shoe:extra",
    "type": "age-years:type",
    "range": "age-years:range",
    "unseen": "country:unseen",
    "allNull": "*:allNull",
}
IMPOSSIBLE = {("missing", "warn"), ("null", "warn"), ("type", "warn")} | {
    ("extra", "impute"),
    ("allNull", "impute"),
}
CASES = [
    (problem, answer)
    for problem in WHOLE
    for answer in ("reject", "impute", "fallback", "warn")
    if (problem, answer) not in IMPOSSIBLE
]
CHAMPION, CHALLENGER = (0.1, 0.01), (0.02, 0.05)
DATATYPES = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}


def quality(answer):
    """Every problem has this answer, or the nearest there can be."""
    needed = "reject" if answer == "warn" else answer
    common = {"type": needed, "range": answer, "unseen": answer}
    return Quality(
        extra="reject" if answer == "impute" else answer,
        all_null="reject" if answer == "impute" else answer,
        features=(
            FeatureQuality("amount", needed, **common, low=-1e6, high=1e6, value=10.0),
            FeatureQuality("age-years", needed, **common, low=18, high=100, value=40),
            FeatureQuality("country", needed, **common, values=("DE", "FR"), value="FR"),
            FeatureQuality("vip", None, **common, value=False),
            FeatureQuality("note", None, **common, value=""),
        ),
    )


def tensors(rows):
    """Rows as one JSON tensor a feature; what is no row's own is left out."""
    names = dict.fromkeys(name for row in rows for name in row)
    found = []
    for name in names:
        data = [row.get(name) for row in rows]
        kinds = {type(value) for value in data if value is not None}
        wanted = {"amount": "FP64", "age-years": "INT64", "country": "BYTES", "vip": "BOOL"}
        datatype = DATATYPES[kinds.pop()] if len(kinds) == 1 else wanted.get(name, "BYTES")
        if kinds == set() and data.count(None) == len(data):
            datatype = wanted.get(name, "BYTES")
        found.append({"name": name, "shape": [len(rows)], "datatype": datatype, "data": data})
    return {"inputs": found}


class Asking:
    """One worker that serves a project for each answer, by both protocols."""

    def __init__(self, world, kit):
        self.kit = kit
        self.world = world
        variants = {
            "champion": world.model(CHAMPION),
            "challenger": world.model(CHALLENGER),
            "safe": "legit",
        }
        watching = (Shadow("challenger", SPACE, "watching"),)
        rules = [kit.rule(use="champion", fallback=("challenger", "safe"), shadows=watching)]
        tables = [
            world.project(variants, rules, name=name, features=FEATURES, quality=quality(name))
            for name in ("reject", "impute", "fallback", "warn")
        ]
        bare = [kit.rule(use="champion")]
        tables += [
            world.project(
                variants, bare, name="alone", features=FEATURES, quality=quality("fallback")
            ),
            world.project(variants, rules, name="plain", features=FEATURES),
            world.project(
                variants,
                [kit.rule(use="champion", fallback=("challenger",))],
                name="models-only",
                features=FEATURES,
                quality=quality("fallback"),
            ),
        ]
        world.publish(tables)
        self.worker = world.worker()

    def ask(self, project, rows, protocol):
        """(status, answer object)"""
        many = isinstance(rows, list)
        if protocol == "predict":
            path, body = f"/v1/projects/{project}:predict", {"features": rows}
        else:
            path, body = f"/v2/models/{project}/infer", tensors(rows if many else [rows])
        status, headers, answer = self.worker.post(path, body)
        return status, headers, json.loads(answer)

    def records(self, headers, kind=DecisionRecord):
        id_ = headers["x-decision-id"]
        assert self.kit.until(lambda: self._of(id_, DecisionRecord))
        return self._of(id_, kind)

    def _of(self, id_, kind):
        found = [one for one in self.worker.records() if isinstance(one, kind)]
        return [one for one in found if one.id.partition("/")[0] == id_]


@pytest.fixture(scope="module")
def asking(shared_world, kit):
    return Asking(shared_world, kit)


@pytest.mark.parametrize("protocol", ["predict", "infer"])
@pytest.mark.parametrize(("problem", "answer"), CASES)
def test_every_problem_has_the_answer_that_is_declared_for_it(
    asking, kit, problem, answer, protocol
):
    """Refused by name; settled by a value; answered by another variant; or noted and gone on."""
    status, headers, body = asking.ask(answer, WHOLE[problem], protocol)
    name = NOTES[problem].partition(":")[0]

    if answer == "reject":
        assert status == 400
        assert len(body["violations"]) == 1
        told = str(body["violations"])
        assert (name in told) or problem == "allNull"
        return
    assert status == 200
    (record,) = asking.records(headers)
    seen = json.loads(record.features)
    expected = {one.name: WHOLE[problem].get(one.name) for one in FEATURES}
    if answer == "impute":
        expected |= {"country": "FR"} if problem == "unseen" else {"age-years": 40}
    elif problem == "type":
        expected["age-years"] = None
    assert record.quality == (f"{NOTES[problem]}:{answer}",)
    assert seen == expected
    if answer == "fallback":
        # The challenger's model needs the age: a row without one is not shown to it either.
        hole = problem in {"missing", "null", "type"}
        assert (record.assigned, record.served) == ("champion", "safe" if hole else "challenger")
        assert (record.reason, record.served_reason) == ("RULE", "FALLBACK")
        assert record.fault == "quality"
        assert record.error == f"champion: not asked: {name} {NOTES[problem].partition(':')[2]}"
    else:
        assert (record.served, record.fault, record.error) == ("champion", "", "")
        fraud = kit.probability(CHAMPION, -1.0, expected)
        assert record.probabilities[1] == pytest.approx(fraud)


@pytest.mark.parametrize("protocol", ["predict", "infer"])
def test_sound_rows_are_answered_as_without_expectations(asking, protocol):
    """Nothing is noted, nothing is different but the project's name."""
    answers = []
    for project in ("plain", "impute"):
        _, headers, body = asking.ask(project, ROW, protocol)
        (record,) = asking.records(headers)
        assert (record.quality, record.fault) == ((), "")
        assert json.loads(record.features) == ROW
        answers.append(record.probabilities)
        assert body

    assert answers[0] == answers[1]


@pytest.mark.parametrize("protocol", ["predict", "infer"])
def test_of_many_rows_only_the_bad_one_is_treated_so(asking, kit, protocol):
    """The others keep their variant, their values and their silence."""
    status, headers, _ = asking.ask("fallback", [ROW, WHOLE["null"], ROW], protocol)
    records = asking.records(headers)

    assert status == 200
    assert [one.served for one in records] == ["champion", "safe", "champion"]
    assert [one.quality for one in records] == [(), ("age-years:missing:fallback",), ()]
    fraud = kit.probability(CHAMPION, -1.0, ROW)
    assert [one.probabilities[1] for one in records] == pytest.approx([fraud, 0.0, fraud])


@pytest.mark.parametrize("protocol", ["predict", "infer"])
def test_a_shadow_sees_what_the_model_saw(asking, kit, protocol):
    """Imputed for one is imputed for all; what has a hole is shown to no model that needs it."""
    _, headers, _ = asking.ask("impute", WHOLE["missing"], protocol)
    _, diverted, _ = asking.ask("fallback", WHOLE["missing"], protocol)
    assert kit.until(lambda: asking.records(headers, ShadowRecord))
    (shadow,) = asking.records(headers, ShadowRecord)
    expected = kit.probability(CHALLENGER, -1.0, ROW | {"age-years": 40})
    assert shadow.probabilities[1] == pytest.approx(expected)

    _, later, _ = asking.ask("impute", WHOLE["null"], protocol)
    assert kit.until(lambda: asking.records(later, ShadowRecord))
    assert asking.records(diverted, ShadowRecord) == []


@pytest.mark.parametrize("protocol", ["predict", "infer"])
@pytest.mark.parametrize("project", ["alone", "models-only"])
def test_what_nobody_can_be_asked_about_is_refused(asking, project, protocol):
    """No fallback, or none that can do without the feature: no model is ever shown a hole."""
    status, _, body = asking.ask(project, WHOLE["missing"], protocol)

    assert status == 400
    assert "no fallback can be" in body["error"]


@pytest.mark.parametrize("protocol", ["predict", "infer"])
def test_everything_that_refuses_a_request_is_told_at_once(asking, protocol):
    """Also what only a value shows, and with the rows where it is."""
    rows = [WHOLE["range"], ROW | {"shoe": 1}, WHOLE["unseen"]]
    if protocol == "infer":
        rows = [row | {"shoe": 1} for row in rows]
    status, _, body = asking.ask("reject", rows, protocol)
    told = [f"{one['path']}: {one['message']}" for one in body["violations"]]

    assert status == 400
    assert len(told) == 3
    assert any("shoe" in one for one in told)
    assert any("150 is out of range" in one for one in told)
    assert any("'XX' is not a known value" in one for one in told)


def test_an_empty_row_and_one_of_nulls_are_rows_with_everything_missing(asking):
    """Each feature has its own problem, and each its own value."""
    for row in ({}, dict.fromkeys(ROW)):
        status, headers, _ = asking.ask("fallback", row, "predict")
        (record,) = asking.records(headers)
        assert (status, record.served) == (200, "safe")
        assert record.quality == (
            "amount:missing:fallback",
            "age-years:missing:fallback",
            "country:missing:fallback",
            "*:allNull:fallback",
        )


def test_tensors_may_come_as_bytes_or_as_one_for_all_features(asking, kit):
    """Values out of range are found there, too."""
    table = {"name": "x", "shape": [1, 5], "datatype": "FP64", "data": [1.0, 2.0, 3.0, 4.0, 5.0]}
    status, _, answer = asking.worker.post("/v2/models/warn/infer", {"inputs": [table]})
    assert (status, b"age-years" in answer) == (400, True)

    head = tensors([WHOLE["range"]])
    raw = (150).to_bytes(8, "little")
    place = next(one for one in head["inputs"] if one["name"] == "age-years")
    del place["data"]
    place["parameters"] = {"binary_data_size": 8}
    text = json.dumps(head).encode()
    length = {"inference-header-content-length": str(len(text))}
    for project, value in (("impute", 40), ("warn", 150)):
        status, headers, _ = asking.worker.post(f"/v2/models/{project}/infer", text + raw, length)
        (record,) = asking.records(headers)
        assert (status, json.loads(record.features)["age-years"]) == (200, value)
        assert record.quality == (f"age-years:range:{project}",)


def test_what_is_malformed_stays_refused(asking):
    """Expectations are about rows; what is none has no answer but one."""
    post = asking.worker.post
    assert post("/v1/projects/warn:predict", b"{")[0] == 400
    assert post("/v1/projects/warn:predict", {"features": 3})[0] == 400
    assert post("/v1/projects/warn:predict", {"features": []})[0] == 400
    assert post("/v1/projects/impute:predict", {"features": {}, "unit": 1.5})[0] == 400
    assert post("/v1/projects/impute:predict", {"features": {}, "context": {"no": 1}})[0] == 400
    assert post("/v1/projects/impute:predict", {})[0] == 400
    assert post("/v2/models/impute/infer", {"inputs": []})[0] == 400


def test_problems_are_counted_by_feature_problem_answer_and_variant(asking):
    """What is no feature counts as `*`, whatever callers call it; refused rows have no variant."""

    def count(project, feature, problem, answer, variant):
        labels = (
            f'answer="{answer}",feature="{feature}",problem="{problem}",'
            f'project="default/{project}",variant="{variant}"'
        )
        metrics = asking.worker.metrics()
        found = [
            value
            for name, value in metrics.items()
            if name.startswith("pointsman_feature_problems_total{")
            and sorted(name[name.index("{") + 1 : -1].split(",")) == sorted(labels.split(","))
        ]
        return sum(found)

    def rows(project, variant):
        name = f'pointsman_problem_rows_total{{project="default/{project}",variant="{variant}"}}'
        return asking.worker.metrics().get(name, 0.0)

    told = [
        ("impute", WHOLE["range"], ("age-years", "range", "impute", "champion")),
        ("fallback", WHOLE["type"], ("age-years", "type", "fallback", "champion")),
        ("warn", ROW | {"made-up": 1}, ("*", "extra", "warn", "champion")),
        ("reject", WHOLE["missing"], ("age-years", "missing", "reject", "")),
    ]
    for project, row, labels in told:
        before = count(project, *labels), rows(project, labels[-1])
        asking.ask(project, row, "predict")
        assert (count(project, *labels), rows(project, labels[-1])) == (
            before[0] + 1,
            before[1] + 1,
        )
    assert "made-up" not in asking.worker.get("/metrics")[2].decode()
