"""Decisions of a project as one file: from archive, journal and hot rows alike, each once.

DuckDB does the work, in a file of its own below the scratch directory: what it holds in memory is
bounded, whatever there is to export.
"""

from pathlib import Path
from typing import Any, Final

import duckdb

from pointsman.archive import flat, outcomes, parquet, segments
from pointsman.archive.jobs import Export, Exported, Format, Wanted
from pointsman.archive.parquet import literal

_COPY: Final[dict[Format, str]] = {
    "parquet": "(FORMAT parquet, COMPRESSION zstd)",
    "csv": "(FORMAT csv, HEADER true)",
    "jsonl": "(FORMAT json)",
}
_EVER: Final = 1 << 62


def write(export: Export, _archive: Path, scratch: Path) -> Exported:
    """Makes the file. Raises OSError or duckdb.Error."""
    files = {kind: [Path(path) for path in paths] for kind, paths in export.files.items()}
    for number, run in enumerate(export.runs):
        part, spool = scratch / f"run-{number}", scratch / f"spool-{number}"
        spool.mkdir()
        segments.write(run, part, spool)
        for kind in ("decisions", "shadows"):
            files.setdefault(kind, []).extend(sorted((part / kind).rglob("*.parquet")))
    result = scratch / f"export.{export.format}"
    with parquet.connect(scratch, database="work.duckdb") as connection:
        connection.execute("SET preserve_insertion_order = false")  # sorted at the end
        _tables(connection, export, files)
        query = flat.query(connection, export.classes, guard=export.format == "csv")
        if export.format == "jsonl":
            query = flat.NESTED
        ordered = f"{query} ORDER BY at_ms, id"
        connection.execute(f"COPY ({ordered}) TO {literal(result)} {_COPY[export.format]}")
        count = connection.execute("SELECT count(*) FROM chosen").fetchall()[0][0]
    return Exported(str(result), int(count))


def _tables(
    connection: duckdb.DuckDBPyConnection, export: Export, files: dict[Any, list[Path]]
) -> None:
    """`chosen`, the decisions that are wanted; `held` and `watched`, what is known about them."""
    kept = parquet.files_of("decisions", files.get("decisions", []))
    bounds = _bounds(export.wanted)
    everything = f"SELECT * FROM {kept} WHERE {bounds}"
    if export.hot:
        hot = parquet.lines_of("decisions", Path(export.hot))
        everything += (
            f" UNION ALL SELECT * FROM {hot} WHERE {bounds} AND id NOT IN (SELECT id FROM {kept})"
        )
    connection.execute(f"CREATE VIEW everything AS {everything}")
    # An id is used twice where a caller's request was repeated, or a segment is being archived
    # just now: few of them, found by id alone, so that the others pass without being compared.
    connection.execute(
        "CREATE TABLE twice AS SELECT id FROM everything GROUP BY id HAVING count(*) > 1"
    )
    condition = _condition(export.wanted)
    connection.execute(
        "CREATE TABLE chosen AS "
        f"SELECT * FROM everything WHERE id NOT IN (SELECT id FROM twice) AND {condition} "
        "UNION ALL SELECT * FROM (SELECT * FROM everything WHERE id IN (SELECT id FROM twice) "
        f"QUALIFY row_number() OVER (PARTITION BY id ORDER BY at_ms) = 1) WHERE {condition}"
    )
    known = parquet.files_of("outcomes", files.get("outcomes", []))
    union = f"SELECT * FROM {known}"
    if export.held:
        union += f" UNION ALL SELECT * FROM {parquet.lines_of('outcomes', Path(export.held))}"
    about = f"(SELECT * FROM ({union}) WHERE decision_id IN (SELECT id FROM chosen))"
    connection.execute(
        "CREATE TABLE held AS SELECT decision_id, "
        "max(value->>'$') FILTER (kind = 'label') AS label, "
        "max(at_ms) FILTER (kind = 'label') AS label_at_ms, "
        "max(TRY_CAST(value AS DOUBLE)) FILTER (kind = 'reward') AS reward, "
        "max(TRY_CAST(value AS DOUBLE)) FILTER (kind = 'cost') AS outcome_cost "
        f"FROM {outcomes.newest(about)} GROUP BY decision_id"
    )
    seen = parquet.files_of("shadows", files.get("shadows", []))
    connection.execute(
        "CREATE TABLE watched AS SELECT id, to_json(list({variant: variant, version: version, "
        "probabilities: probabilities, predicted: predicted, action: action, "
        "latency_us: latency_us, error: error} ORDER BY variant)) AS shadows FROM "
        f"(SELECT * FROM {seen} WHERE id IN (SELECT id FROM chosen) "
        "QUALIFY row_number() OVER (PARTITION BY id, variant ORDER BY at_ms) = 1) GROUP BY id"
    )


def _bounds(wanted: Wanted) -> str:
    return f"at_ms >= {wanted.since_ms:d} AND at_ms < {wanted.until_ms or _EVER:d}"


def _condition(wanted: Wanted) -> str:
    equal = {
        "assigned": wanted.variant,
        "version": wanted.version,
        "served": wanted.served_by,
        "rule": wanted.rule,
        "reason": wanted.reason,
    }
    parts = [f"{column} = {literal(value)}" for column, value in equal.items() if value]
    parts += [
        f"json_extract_string(context, {literal(flat.pointer(attribute))}) = {literal(value)}"
        for attribute, value in wanted.slices.items()
    ]
    if wanted.tables:
        each = [
            f"(served = {literal(variant)} AND digest IN ({', '.join(map(literal, digests))}))"
            for variant, digests in wanted.tables.items()
        ]
        parts.append(f"({' OR '.join(each)})")
    return " AND ".join(parts) or "true"
