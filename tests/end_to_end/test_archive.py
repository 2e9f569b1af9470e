"""Decisions on real processes: archived, exported by command, and explained when rows are gone."""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import duckdb
from tests.end_to_end.conftest import Start
from tests.end_to_end.serving import EXAMPLE, Serving

from pointsman.store import retention
from pointsman.store.database import DATABASE_FILE, open_database

PERSON = json.loads((EXAMPLE / "person.json").read_text())


def test_decisions_outlive_their_segments_and_rows(start: Start, tmp_path: Path) -> None:
    """Sent, labelled, archived, exported each once with its label, and explained months later."""
    serving = start()
    text = (EXAMPLE / "project.yaml").read_text()
    assert "retention: {hot: 14d," in text
    serving.apply(text.replace("retention: {hot: 14d,", "retention: {hot: 14d, archive: 400d,"))
    sent = [decide(serving, f"=unit-{n}") for n in range(40)]
    label(serving, sent[0], ">50K")
    # A writer that ends closes its segment; an hour later it has waited long enough for others.
    serving.stop()
    for path in (serving.data / "journal").rglob("*.seg"):
        os.utime(path, (path.stat().st_mtime - 3600,) * 2)
    serving.start()
    folder = serving.data / "archive" / "decisions" / "project=default%2Fincome"
    serving.wait(lambda: ids_of(folder) >= set(sent))
    sent += [decide(serving, f"late-{n}") for n in range(10)]

    done = serving.cli("export", "income", "--format", "csv", "-o", "-")
    assert done.returncode == 0, done.stderr
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(done.stdout))}
    assert sorted(rows) == sorted(sent)
    assert "50 decisions" in done.stderr
    assert rows[sent[0]]["label"] == ">50K"
    assert rows[sent[0]]["unit"] == "'=unit-0"
    assert float(rows[sent[0]]["feature.age"]) == PERSON["features"]["age"]
    target = tmp_path / "champion.parquet"
    done = serving.cli("export", "income", "-o", str(target), "--served-by", "champion")
    assert done.returncode == 0, done.stderr
    found = duckdb.sql(f"SELECT served, count(*) FROM '{target}' GROUP BY served").fetchall()
    champions = sum(row["served"] == "champion" for row in rows.values())
    assert found == [("champion", champions)]
    assert list(tmp_path.glob("*.part")) == []

    before = explained(serving, sent[0])
    serving.stop()
    forget(serving.data)
    serving.start()
    after = explained(serving, sent[0])
    assert (after["record"], after["equal"]) == (before["record"], True)
    assert serving.cli("explain", "01900000-0000-7000-8000-000000000000").returncode == 1


def test_a_viewer_may_not_take_records_out(shared: Serving) -> None:
    """Features leave only for those whose role says so."""
    made = shared.cli("token", "create", "reader", "--role", "viewer", "-o", "json")
    viewer = json.loads(made.stdout)["token"]

    done = shared.cli("--token", viewer, "export", "income", "-o", "-", "--format", "csv")

    assert done.returncode == 1
    assert done.stdout == ""
    assert "permission export" in done.stderr


def decide(serving: Serving, unit: str) -> str:
    body = PERSON | {"unit": unit}
    status, found = serving.post("/v1/projects/income:predict", body)
    assert status == 200, found
    return str(found["decision_id"])


def label(serving: Serving, decision_id: str, value: str) -> None:
    body = [{"decision_id": decision_id, "label": value}]
    status, found = serving.post("/v1/feedback", body)
    assert status == 202, found
    serving.wait(lambda: explained(serving, decision_id)["held"] == {"label": value})


def explained(serving: Serving, decision_id: str) -> dict[str, Any]:
    status, found = serving.admin("GET", f"/v1/decisions/{decision_id}:explain")
    if status != 200:
        raise OSError(str(found))
    body: dict[str, Any] = found
    return body


def ids_of(folder: Path) -> set[str]:
    if not list(folder.glob("*/*.parquet")):
        return set()
    found = duckdb.sql(f"SELECT id FROM '{folder}/*/*.parquet'").fetchall()
    return {row[0] for row in found}


def forget(data: Path) -> None:
    """What retention does with hot rows that are old enough."""
    engine = open_database(data / DATABASE_FILE)
    with engine.begin() as connection:
        assert retention.delete_decisions(connection, "default/income", 1_000) == 50
    engine.dispose()
