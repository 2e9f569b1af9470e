"""The rules that users install: sound, and every alert fires when it should and only then."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.end_to_end.serving import ROOT
from tests.monitoring.tools import program, said

RULES = ROOT / "deploy" / "prometheus" / "pointsman.rules.yml"
CASES = Path(__file__).parent / "alerts.yml"
GUIDE = ROOT / "docs" / "guide" / "monitoring.md"
RECORDED = ("pointsman-requests", "pointsman-decisions")
TARGETS = {
    "G": 'job="pointsman-gateway",instance="g1:8700"',
    "C": 'job="pointsman-controller",instance="c1:8701"',
}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def cases() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(CASES.read_text())
    return found


def test_the_rules_are_sound() -> None:
    """promtool finds nothing to say against them."""
    assert "SUCCESS" in said(program("promtool"), "check", "rules", "--lint-fatal", str(RULES))


def test_the_other_files_are_sound() -> None:
    """What Prometheus and Alertmanager are configured with, as their own tools see it."""
    deploy = ROOT / "deploy"
    scraping = str(deploy / "prometheus" / "prometheus.yml")
    routes = str(deploy / "alertmanager" / "pointsman.yml")

    said(program("promtool"), "check", "config", "--syntax-only", scraping)
    assert "SUCCESS" in said(program("amtool"), "check-config", routes)


@pytest.mark.parametrize(
    ("severity", "receiver"),
    [
        ("critical", "somebody-now"),
        ("warning", "somebody-in-the-morning"),
        ("info", "nobody-in-particular"),
    ],
)
def test_who_is_told_depends_on_how_bad_it_is(severity: str, receiver: str) -> None:
    """By amtool's own reading of the routes."""
    routes = str(ROOT / "deploy" / "alertmanager" / "pointsman.yml")
    labels = ["alertname=PointsmanAnything", f"severity={severity}"]

    told = said(program("amtool"), "config", "routes", "test", f"--config.file={routes}", *labels)

    assert told.strip() == receiver


def test_every_alert_fires_when_it_should_and_stays_quiet_when_not(tmp_path: Path) -> None:
    """Word for word what is told then, by promtool's own evaluation."""
    groups = {
        rule["alert"]: group["name"]
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    files: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for name, case in cases().items():
        fires, quiet = case["fires"], case["quiet"]
        expected = {
            "exp_labels": {"severity": case["severity"], **fires["labels"]},
            "exp_annotations": {
                "summary": fires["summary"],
                "runbook_url": f"docs/guide/monitoring.md#{name.lower()}",
            },
        }
        tests = files.setdefault((groups[name], case.get("every", "1m")), [])
        tests += [_test(name, fires, [expected]), _test(name, quiet, [])]
    paths = [_written(tmp_path, *about, tests) for about, tests in files.items()]

    said(program("promtool"), "test", "rules", *paths)

    assert cases().keys() == alerts().keys()


def _written(directory: Path, group: str, every: str, tests: list[dict[str, Any]]) -> str:
    """Tests of one group's alerts, with no more of the rules than it needs: that is much faster."""
    document = yaml.safe_load(RULES.read_text())
    known = [one for one in document["groups"] if one["name"] == group]
    if re.search(r"\b(job|project|project_variant):", json.dumps(known)):
        known = [one for one in document["groups"] if one["name"] in RECORDED] + known
    rules = directory / f"{group}.rules.yml"
    rules.write_text(yaml.safe_dump({"groups": known}))
    path = directory / f"{group}.{every}.yml"
    asked = {"rule_files": [str(rules)], "evaluation_interval": every, "tests": tests}
    path.write_text(yaml.safe_dump(asked))
    return str(path)


def _test(name: str, case: dict[str, Any], expected: list[dict[str, Any]]) -> dict[str, Any]:
    series = [
        {"series": _in_full(text), "values": values} for text, values in case["series"].items()
    ]
    return {
        "interval": "1m",
        "input_series": series,
        "alert_rule_test": [{"eval_time": case["at"], "alertname": name, "exp_alerts": expected}],
    }


def _in_full(series: str) -> str:
    name, _, labels = series.removesuffix("}").partition("{")
    parts = [TARGETS.get(label, label) for label in labels.split(",")]
    return f"{name}{{{','.join(part for part in parts if part)}}}"


def test_a_false_word_in_an_alert_would_show(tmp_path: Path) -> None:
    """The test above can fail: promtool tells another sentence apart."""
    name = "PointsmanGatewayDown"
    case = cases()[name]
    wrong = {"exp_labels": case["fires"]["labels"] | {"severity": "info"}}
    path = _written(tmp_path, "pointsman-gateways", "1m", [_test(name, case["fires"], [wrong])])

    with pytest.raises(AssertionError, match="FAILED"):
        said(program("promtool"), "test", "rules", path)


def test_every_alert_says_what_the_value_is_and_what_to_do() -> None:
    """A sentence with the value, a severity of three, and a heading of the guide to read on at."""
    headings = re.findall(r"^#+ (.+)$", GUIDE.read_text(), re.MULTILINE)
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings
    }
    for name, rule in alerts().items():
        summary = rule["annotations"]["summary"]

        assert rule["labels"]["severity"] in {"critical", "warning", "info"}, name
        assert "$value" in summary or name == "PointsmanNotScraped", name
        assert rule["annotations"]["runbook_url"] == f"docs/guide/monitoring.md#{name.lower()}"
        assert name.lower() in anchors, name


def test_rules_and_alerts_use_metrics_that_exist() -> None:
    """Named in the references, which tests hold to be complete."""
    pages = [ROOT / "docs" / "reference" / name for name in ("data-plane.md", "admin-api.md")]
    known = set(re.findall(r"`(pointsman_\w+)`", "".join(page.read_text() for page in pages)))
    known |= {"pointsman_journal_failures_total"}  # said as `..._failures_total`
    for rule in rules():
        used = set(re.findall(r"(?<![:\w])pointsman_\w+", rule["expr"]))
        base = {re.sub(r"_(bucket|count|sum)$", "", name) for name in used}

        assert base <= known, rule
