"""The command line as its users run it: words, exit codes, machine-readable output."""

import json
import socket
import time
from pathlib import Path
from typing import Any

import yaml

from control_process import ControlProcess, project

VERBS = """
    init lint plan apply get list status history diff undo explain kill unkill doctor version
    serve gateway controller key token proposals verify promote pause resume abort retry approve
    alerts
"""


def written(path: Path, *documents: dict[str, Any]) -> str:
    path.write_text("---\n".join(yaml.safe_dump(document) for document in documents))
    return str(path)


def test_verbs_of_a_rollout_need_one(run: Any, tmp_path: Path) -> None:
    """They say what is missing, and end with 1."""
    run("apply", "-f", written(tmp_path / "p.yaml", project("plain")), "--yes")

    for verb in ("promote", "pause", "resume", "abort", "retry", "approve"):
        told = run(verb, "plain", "--reason", "now")
        assert told.code == 1
        assert "default/plain declares no rollout" in told.err


def test_from_file_to_served_and_back(run: Any, tmp_path: Path) -> None:
    """init, lint, plan, apply, plan again, change, undo: with the exit codes scripts rely on."""
    file = written(tmp_path / "p.yaml", project("story", {"champion": 90, "challenger": 10}))

    assert run("lint", file).code == 0
    first = run("plan", "-f", file)
    applied = run("apply", "-f", file, "--yes", "--reason", "first")
    nothing = run("plan", "-f", file)
    written(tmp_path / "p.yaml", project("story", {"champion": 80, "challenger": 20}))
    change = run("plan", "-f", file)
    run("apply", "-f", file, "--yes")
    undone = run("undo", "story", "--reason", "worse")

    assert (first.code, nothing.code, change.code) == (2, 0, 2)
    assert first.out.rstrip().endswith("Plan: 5 to add, 0 to change, 0 to destroy")
    assert applied.code == 0
    assert "revision 1 applied" in applied.out
    assert "  ~ rule default" in change.out
    assert "champion → challenger: 10 %" in change.out
    assert change.out.rstrip().endswith("Plan: 0 to add, 1 to change, 0 to destroy")
    assert "back to revision 1, as revision 3" in undone.out


def test_output_for_programs_is_whole_and_alone(run: Any, tmp_path: Path) -> None:
    """-o json and -o yaml print one document and nothing else, before or after the command."""
    file = written(tmp_path / "p.yaml", project("machine"))

    applied = json.loads(run("apply", "-f", file, "--yes", "-o", "json").out)
    status = yaml.safe_load(run("-o", "yaml", "status", "machine").out)
    listed = json.loads(run("list", "--output=json").out)

    assert applied["results"][0]["number"] == 1
    assert status["project"] == "default/machine"
    assert "default/machine" in {row["project"] for row in listed["projects"]}


def test_get_prints_what_apply_takes(run: Any, tmp_path: Path) -> None:
    """A project taken from the server and applied again is no change."""
    run("apply", "-f", written(tmp_path / "p.yaml", project("again")), "--yes")

    text = run("get", "again").out
    planned = run("plan", "-f", "-", stdin=text)

    assert planned.code == 0, planned.out
    assert "no changes" in planned.out


def test_nothing_is_deleted_without_prune(run: Any, tmp_path: Path) -> None:
    """A directory that lost a file deletes nothing, unless told so."""
    tenant = "pruned"
    documents = [project("stays"), project("goes")]
    for document in documents:
        document["metadata"]["tenant"] = tenant
    directory = tmp_path / "projects"
    directory.mkdir()
    written(directory / "both.yaml", *documents)
    run("apply", "-f", str(directory), "--yes")
    written(directory / "both.yaml", documents[0])

    without = run("apply", "-f", str(directory), "--yes", "--tenant", tenant)
    planned = run("plan", "-f", str(directory), "--prune", "--tenant", tenant)
    after_plan = run("list", "--tenant", tenant, "-o", "json")
    pruned = run("apply", "-f", str(directory), "--prune", "--yes", "--tenant", tenant)
    after = run("list", "--tenant", tenant, "-o", "json")

    assert "no changes" in without.out
    assert planned.code == 2
    assert "Plan: 0 to add, 0 to change, 1 to destroy" in planned.out
    assert len(json.loads(after_plan.out)["projects"]) == 2
    assert pruned.code == 0
    assert [row["project"] for row in json.loads(after.out)["projects"]] == ["pruned/stays"]


def test_dry_run_changes_nothing(run: Any, tmp_path: Path) -> None:
    file = written(tmp_path / "p.yaml", project("dry"))

    dry = run("apply", "-f", file, "--dry-run")

    assert dry.code == 0
    assert "Plan: 5 to add" in dry.out
    assert run("get", "dry").code == 1


def test_lint_says_where_what_and_what_to_do(run: Any, tmp_path: Path) -> None:
    """All problems at once, each with file, line and column."""
    document = project("Bad Name", {"champion": 0, "nobody": 0}, colour="red")
    file = written(tmp_path / "bad.yaml", document)

    said = run("lint", file)

    assert said.code == 1
    assert said.err.count(f"{file}:") >= 3
    assert "hint:" in said.err


def test_errors_are_words_and_exit_code_1(run: Any, control: ControlProcess) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"

    down = run("list", "--url", nobody)
    denied = run("list", POINTSMAN_TOKEN="wrong")
    unknown = run("status", "nobody")
    nonsense = run("list", "--url", "ftp://x")
    missing = run("plan", "-f", "/nowhere.yaml")

    for said in (down, denied, unknown, nonsense, missing):
        assert said.code == 1
        assert said.err.startswith("error: ")
        assert "Traceback" not in said.err
    assert "is `pointsman serve` running?" in down.err
    assert control.token not in down.err + denied.err


def test_only_changes_end_a_plan_with_2(run: Any, tmp_path: Path) -> None:
    """A mistyped option must not look like something to apply."""
    file = written(tmp_path / "p.yaml", project("exits"))

    assert run("plan", "-f", file).code == 2
    assert run("plan").code == 1
    assert run("plan", "--nonsense").code == 1
    assert run("plan", "-f", "/nowhere.yaml").code == 1
    assert run("--help").code == 0


def test_init_says_what_it_wrote_in_any_format(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "made.yaml"

    made = json.loads(run("init", "made", "-f", str(path), "-o", "json").out)

    schema = tmp_path / "project.schema.json"
    assert made == {"file": str(path), "schema": str(schema), "project": "made"}
    assert run("lint", str(path)).code == 0
    assert path.read_text().startswith("# yaml-language-server: $schema=./project.schema.json\n")
    assert schema.read_text() == run("schema").out


def test_kill_works_without_any_controller(run: Any, tmp_path: Path) -> None:
    """On this machine's disk, in well under the second it may take to be heeded."""
    (tmp_path / "gateway").mkdir()
    where = ("--local", "--data", str(tmp_path))

    started = time.monotonic()
    killed = run("kill", "income", "--variant", "challenger", "--reason", "fire", *where)
    took_s = time.monotonic() - started
    again = run("kill", "income", "--variant", "challenger", *where)
    kept = json.loads((tmp_path / "gateway" / "overrides.json").read_text())
    lifted = run("unkill", "income", "--variant", "challenger", *where)
    elsewhere = run("kill", "income", "--local", "--data", str(tmp_path / "nowhere"))

    assert (killed.code, again.code, lifted.code, elsewhere.code) == (0, 0, 0, 1)
    assert kept["switches"][0]["target"] == "default/income/challenger"
    assert kept["switches"][0]["reason"] == "fire"
    assert "it was before" in again.out
    assert took_s < 10.0


def test_keys_and_tokens_are_shown_once(run: Any) -> None:
    key = run("key", "create", "shop", "--permission", "infer", "--permission", "pin").out
    token = run("token", "create", "ci", "--role", "viewer").out.splitlines()[0]
    listed = run("key", "list").out + run("token", "list").out

    assert key.startswith("pmk_")
    assert "infer, pin" in key
    assert key.split()[0] not in listed
    assert token not in listed
    assert run("list", POINTSMAN_TOKEN=token).code == 0
    assert run("undo", "x", POINTSMAN_TOKEN=token).code == 1


def test_a_lost_admin_token_is_replaced_by_who_owns_the_directory(
    run: Any, control: ControlProcess
) -> None:
    made = run(
        "token", "create", "rescue", "--role", "admin", "--data", str(control.data), "-o", "json"
    )

    token = json.loads(made.out)["token"]

    assert run("token", "list", POINTSMAN_TOKEN=token).code == 0


def test_doctor_version_and_verify_speak_of_this_installation(
    run: Any, control: ControlProcess
) -> None:
    doctor = run("doctor")
    version = run("version")
    verified = run("verify", "--data", str(control.data))

    assert (doctor.code, version.code, verified.code) == (0, 0, 0)
    assert str(control.data / "store.db") in version.out
    assert "chain holds" in doctor.out
    assert "audit log:" in verified.out


def test_help_names_every_verb_and_starts_without_the_heavy_parts(run: Any) -> None:
    """`--help` imports neither the web framework, nor SQL, nor pydantic."""
    said = run("--help")

    for verb in VERBS.split():
        assert f"\n  {verb} " in said.out, verb
    imported = run("--help", PYTHONPROFILEIMPORTTIME="1").err
    for heavy in ("fastapi", "sqlalchemy", "pydantic", "numpy", "rich.table", "yaml"):
        assert f" {heavy}\n" not in imported


def test_init_writes_a_file_that_lints(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "new.yaml"

    made = run("init", "churn", "--file", str(file))
    again = run("init", "churn", "--file", str(file))

    assert made.code == 0
    assert again.code == 1
    assert run("lint", str(file)).code == 0


def test_a_plan_over_a_limit_is_approved_by_somebody_else(run: Any, tmp_path: Path) -> None:
    """apply is refused with what to type; a colleague types it; then it goes through."""
    limits = {"maxStep": 5, "approvals": 1}
    file = written(
        tmp_path / "p.yaml", project("held", {"champion": 90, "challenger": 10}, limits=limits)
    )
    assert run("apply", "-f", file, "--yes").code == 0
    written(tmp_path / "p.yaml", project("held", {"champion": 60, "challenger": 40}, limits=limits))
    planned = run("plan", "-f", file)
    found = json.loads(run("plan", "-f", file, "-o", "json").out)["plans"][0]
    told = run("apply", "-f", file, "--yes")
    plain = run("plan", "-f", file, "--no-replay")
    wrong = run("plan", "-f", file, "--since", "soon")
    own = run("approve", "held", "--plan", found["limits"]["plan"], "--reason", "mine")
    made = json.loads(run("token", "create", "colleague", "--role", "approver", "-o", "json").out)
    agreed = run(
        "approve", "held", "--plan", found["limits"]["plan"][:12], "--reason", "seen",
        POINTSMAN_TOKEN=made["token"],
    )  # fmt: skip
    applied = run("apply", "-f", file, "--yes")

    assert planned.code == 2
    assert planned.out.startswith("No logged decisions to replay")
    assert "! maxStep: challenger grows by 30 points in rule default, 5 allowed" in planned.out
    assert found["limits"]["open"] is False
    assert told.code == 1
    assert f"--plan {found['limits']['plan']}" in told.err
    assert (plain.code, "maxStep" in plain.out) == (2, False)
    assert (wrong.code, "not a duration" in wrong.err) == (1, True)
    assert (own.code, "your own" in own.err) == (1, True)
    assert (agreed.code, "approved (seen)" in agreed.out) == (0, True)
    assert applied.code == 0
