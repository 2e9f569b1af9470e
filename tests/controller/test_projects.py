"""Projects over the admin API, as stories."""

import threading
import time

import msgspec
import pytest

from control_process import ControlProcess, project
from pointsman.decide.allocation import lookup
from pointsman.decide.hashing import hash32
from pointsman.domain.table import Manifest, ProjectTable, digest

UNITS = [f"unit-{number}" for number in range(2_000)]


def path(name: str, verb: str = "") -> str:
    return f"/v1/tenants/default/projects/{name}{verb}"


def table_of(control: ControlProcess, gateway_token: str, name: str) -> ProjectTable:
    """The table gateways are given, fetched as they fetch it."""
    manifest = msgspec.json.decode(
        control.call("GET", "/v1/gateway/table", token=gateway_token).content, type=Manifest
    )
    row = next(row for row in manifest.rows if row.project == name)
    blob = control.call("GET", f"/v1/gateway/blobs/{row.digest}", token=gateway_token).content
    assert digest(blob) == row.digest
    return msgspec.json.decode(blob, type=ProjectTable)


def arms(table: ProjectTable) -> dict[str, str]:
    rule = table.rules[-1]
    assert rule.allocation is not None
    return {unit: lookup(rule.allocation, hash32(rule.salt, unit)) for unit in UNITS}


def test_apply_change_undo_restores_the_very_same_units(
    control: ControlProcess, gateway_token: str
) -> None:
    """undo brings every unit back to where it was, whatever the weights went through."""
    splits = [{"champion": 60, "challenger": 40}, {"champion": 20, "challenger": 80}]
    assert control.apply(project("story", splits[0])).json()["number"] == 1
    first = arms(table_of(control, gateway_token, "story"))
    assert control.apply(project("story", splits[1]), 1).json()["number"] == 2
    second = arms(table_of(control, gateway_token, "story"))

    undone = control.call("POST", path("story", ":undo"), {"reason": "worse"})

    assert undone.status_code == 200
    assert undone.json()["number"] == 3
    assert "back to revision 1" in undone.json()["sentence"]
    assert second != first
    assert arms(table_of(control, gateway_token, "story")) == first


def test_undo_of_a_long_way_round_is_exact(control: ControlProcess, gateway_token: str) -> None:
    """An allocation is what all changes left; undo takes the stored one, not one like it."""
    weights = [(50, 30, 20), (10, 60, 30), (34, 33, 33), (80, 5, 15)]
    names = ("champion", "challenger", "third")
    for number, triple in enumerate(weights):
        control.apply(project("round", dict(zip(names, triple, strict=True))), number)
        if number == 1:
            wanted = table_of(control, gateway_token, "round")

    control.call("POST", path("round", ":undo"), {"to": 2})

    now = table_of(control, gateway_token, "round")
    assert now.rules[0].allocation == wanted.rules[0].allocation
    assert now.number == 5
    assert now.rules[0].epoch > wanted.rules[0].epoch


def test_undo_twice_is_redo(control: ControlProcess, gateway_token: str) -> None:
    control.apply(project("redo", {"champion": 60, "challenger": 40}))
    control.apply(project("redo", {"champion": 50, "challenger": 50}), 1)
    second = arms(table_of(control, gateway_token, "redo"))

    control.call("POST", path("redo", ":undo"))
    control.call("POST", path("redo", ":undo"))

    assert arms(table_of(control, gateway_token, "redo")) == second


def test_the_same_content_changes_nothing(control: ControlProcess) -> None:
    document = project("same")
    control.apply(document)

    again = control.apply(document, 1).json()

    assert (again["changed"], again["number"], again["table"]) == (False, 1, 0)


def test_who_comes_second_is_refused(control: ControlProcess) -> None:
    """A change made to an older revision never wins."""
    control.apply(project("cas", {"champion": 60, "challenger": 40}))
    control.apply(project("cas", {"champion": 50, "challenger": 50}), 1)

    late = control.apply(project("cas", {"champion": 10, "challenger": 90}), 1)
    blind = control.call("PUT", path("cas"), project("cas", {"champion": 1, "challenger": 1}))

    assert late.status_code == blind.status_code == 409
    assert "is at revision 2" in late.json()["detail"]
    assert late.headers["content-type"] == "application/problem+json"
    assert control.call("GET", path("cas")).json()["number"] == 2


def test_of_many_at_once_one_wins(control: ControlProcess) -> None:
    """Compare-and-swap holds under a race: the others are told, and nothing is half done."""
    control.apply(project("race"))
    answers: list[int] = []

    def change(weight: int) -> None:
        document = project("race", {"champion": 100, "challenger": weight})
        answers.append(control.apply(document, 1).status_code)

    threads = [threading.Thread(target=change, args=(weight,)) for weight in range(20, 28)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answers) == [200] + [409] * 7
    assert control.call("GET", path("race")).json()["number"] == 2
    assert control.call("GET", "/v1/audit:verify").json()["ok"]


def test_plan_says_who_moves_and_changes_nothing(control: ControlProcess) -> None:
    control.apply(project("plan", {"champion": 90, "challenger": 10}))

    planned = control.call(
        "POST", path("plan", ":plan"), project("plan", {"champion": 70, "challenger": 30})
    ).json()

    assert planned["changed"] is True
    assert planned["summary"]["text"] == "Plan: 0 to add, 1 to change, 0 to destroy"
    (move,) = planned["moves"]
    assert move["rule"] == "default"
    assert move["share"] == pytest.approx(0.2, abs=1e-9)
    assert [(flow["from"], flow["to"]) for flow in move["flows"]] == [("champion", "challenger")]
    assert control.call("GET", path("plan")).json()["number"] == 1


def test_adding_and_removing_variants_shows_in_the_plan(control: ControlProcess) -> None:
    control.apply(project("parts"))
    changed = project("parts", {"champion": 1, "fourth": 1})
    del changed["spec"]["variants"]["third"]
    changed["spec"]["variants"]["fourth"] = {"constant": "fraud"}
    changed["spec"]["metrics"] = {"denied": {"kind": "decision", "event": "denied"}}
    changed["spec"]["decision"] = {"deny": ["fraud"]}

    planned = control.call("POST", path("parts", ":plan"), changed).json()

    found = {(c["operation"], c["kind"], c["name"]) for c in planned["changes"]}
    assert found == {
        ("~", "project", "parts"),
        ("+", "variant", "fourth"),
        ("-", "variant", "third"),
        ("~", "rule", "default"),
        ("+", "metric", "denied"),
    }


def test_delete_stops_serving_and_undo_brings_it_back(
    control: ControlProcess, gateway_token: str
) -> None:
    control.apply(project("gone"))
    before = arms(table_of(control, gateway_token, "gone"))

    deleted = control.call("DELETE", path("gone"), headers={"if-match": '"1"'})
    missing = control.call("GET", path("gone"))
    back = control.call("POST", path("gone", ":undo"))

    assert deleted.json()["number"] == 2
    assert missing.status_code == 404
    assert back.json()["number"] == 3
    assert arms(table_of(control, gateway_token, "gone")) == before


def test_what_was_deleted_can_be_made_anew_under_a_higher_number(
    control: ControlProcess,
) -> None:
    control.apply(project("phoenix"))
    control.call("DELETE", path("phoenix"))

    again = control.apply(project("phoenix", {"champion": 1, "challenger": 1}), 2)

    assert again.status_code == 200
    assert again.json()["number"] == 3


def test_a_project_without_history_cannot_be_undone(control: ControlProcess) -> None:
    control.apply(project("young"))

    answer = control.call("POST", path("young", ":undo"))

    assert answer.status_code == 422
    assert "no revision before 1" in answer.json()["detail"]


def test_kill_switches_reach_the_table_at_once(control: ControlProcess, gateway_token: str) -> None:
    """A gateway that waits for a table is woken by a kill switch, not by its time running out."""
    control.apply(project("killed"))
    known = control.call("GET", "/v1/gateway/table", token=gateway_token).headers["etag"]
    woken: list[tuple[float, Manifest]] = []

    def wait() -> None:
        answer = control.call(
            "GET",
            "/v1/gateway/table?wait=20",
            token=gateway_token,
            headers={"if-none-match": known},
        )
        woken.append((time.monotonic(), msgspec.json.decode(answer.content, type=Manifest)))

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(0.3)
    started = time.monotonic()
    killed = control.call("POST", path("killed", ":kill"), {"variant": "challenger", "reason": "r"})
    waiter.join(10)

    assert killed.json()["changed"] is True
    assert woken[0][0] - started < 2.0
    assert "default/killed/challenger" in woken[0][1].killed
    assert (
        control.call("POST", path("killed", ":kill"), {"variant": "challenger"}).json()["changed"]
        is False
    )
    lifted = control.call("POST", path("killed", ":unkill"), {"variant": "challenger"}).json()
    assert (lifted["changed"], lifted["switches"]) == (True, [])


def test_the_champion_cannot_be_killed_but_the_project_can(control: ControlProcess) -> None:
    control.apply(project("king"))

    champion = control.call("POST", path("king", ":kill"), {"variant": "champion"})
    nobody = control.call("POST", path("king", ":kill"), {"variant": "nobody"})
    whole = control.call("POST", path("king", ":kill"), {})

    assert (champion.status_code, nobody.status_code, whole.status_code) == (422, 404, 200)
    assert control.call("GET", path("king", "/status")).json()["phase"] == "killed"


def test_a_gateway_that_knows_the_table_is_told_nothing(
    control: ControlProcess, gateway_token: str
) -> None:
    first = control.call("GET", "/v1/gateway/table", token=gateway_token)

    again = control.call(
        "GET",
        "/v1/gateway/table",
        token=gateway_token,
        headers={"if-none-match": first.headers["etag"]},
    )

    assert again.status_code == 304
    assert again.content == b""


def test_status_tells_targets_with_and_without_holdout(control: ControlProcess) -> None:
    document = project("held", {"champion": 50, "challenger": 50})
    document["spec"]["rules"][0]["holdout"] = 10
    control.apply(document)

    status = control.call("GET", path("held", "/status")).json()

    arms_ = {arm["variant"]: arm["target"] for arm in status["rules"][0]["arms"]}
    assert arms_["champion"] == pytest.approx(0.55)
    assert arms_["challenger"] == pytest.approx(0.45)
    assert status["phase"] == "published"
    assert status["variants"][0]["figures"]["accuracy"]["missing"]


def test_history_names_who_did_what(control: ControlProcess) -> None:
    control.apply(project("past"), reason="first")
    control.call("POST", path("past", ":kill"), {"reason": "fire"})

    history = control.call("GET", path("past", "/history")).json()

    assert [entry["action"] for entry in history["entries"]] == ["kill", "apply"]
    assert "fire" in history["entries"][0]["sentence"]
    assert history["entries"][0]["actor"].startswith("tester (token ")
    assert history["revisions"][0]["reason"] == "first"


def test_projects_survive_a_kill_of_the_controller(
    control: ControlProcess, gateway_token: str
) -> None:
    """What was acknowledged is there after SIGKILL, table version and all."""
    control.apply(project("durable"))
    before = control.call("GET", "/v1/gateway/table", token=gateway_token)

    control.stop(9)
    control.start()

    after = control.call("GET", "/v1/gateway/table", token=gateway_token)
    assert after.headers["etag"] == before.headers["etag"]
    assert control.call("GET", path("durable")).json()["number"] == 1
