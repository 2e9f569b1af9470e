"""Decisions as one row of plain columns each, and as nested values."""

from collections.abc import Iterable, Mapping
from typing import Final

import duckdb

from pointsman.archive.columns import COLUMNS
from pointsman.archive.parquet import literal, name

_FLATTENED: Final = ("context", "features", "propensities", "probabilities")
_KNOWN_LATER: Final = ("label", "label_at_ms", "reward", "outcome_cost")
_JOINED: Final = (
    "chosen LEFT JOIN held ON held.decision_id = chosen.id LEFT JOIN watched ON "
    "watched.id = chosen.id"
)
_NUMBERS: Final = frozenset({"UBIGINT", "BIGINT", "DOUBLE"})
_WHOLE: Final = frozenset({"UBIGINT", "BIGINT"})

NESTED: Final = (
    "SELECT chosen.* REPLACE (context::JSON AS context, "
    "TRY_CAST(features AS JSON) AS features), "  # `:decide` has none
    + ", ".join(f"held.{column}" for column in _KNOWN_LATER)
    + f", watched.shadows FROM {_JOINED}"
)
"""Decisions as they were logged, with what became known: nothing is flattened or guarded."""


def query(
    connection: duckdb.DuckDBPyConnection, classes: Mapping[str, tuple[str, ...]], *, guard: bool
) -> str:
    """A query of `chosen` with a column for each feature, attribute, class and variant there is.

    guard: text that a spreadsheet would take for a formula begins with an apostrophe, and so does
        the name of such a column
    """
    plain = {n: (f"chosen.{name(n)}", t) for n, t in COLUMNS["decisions"].items()}
    columns = {n: pair for n, pair in plain.items() if n not in _FLATTENED}
    columns["live"] = ("to_json(live)::VARCHAR", "VARCHAR")
    columns |= {c: (f"held.{c}", "VARCHAR" if c == "label" else "") for c in _KNOWN_LATER}
    columns["shadows"] = ("watched.shadows::VARCHAR", "VARCHAR")
    for source, prefix in (("context", "context"), ("features", "feature")):
        for key, kind in _keys(connection, source).items():
            columns[f"{prefix}.{key}"] = (_value(source, key, kind), kind)
    for variant in _variants(connection):
        found = f"list_filter(propensities, lambda p: p.variant = {literal(variant)})"
        columns[f"propensity.{variant}"] = (f"{found}[1].propensity", "")
    columns |= _probabilities(connection, classes)
    shown = []
    taken: set[str] = set()
    for title, (expression, kind) in columns.items():
        value = _guarded(expression) if guard and kind == "VARCHAR" else expression
        shown.append(f"{value} AS {name(_title(title, taken, guard=guard))}")
    return f"SELECT {', '.join(shown)} FROM {_JOINED}"


def pointer(key: str) -> str:
    """JSON pointer to a member of an object."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


def _keys(connection: duckdb.DuckDBPyConnection, source: str) -> dict[str, str]:
    """Members of a column's objects, sorted, and the type all their values fit in."""
    found = connection.execute(
        f"SELECT key, list(DISTINCT type) FROM (SELECT key, json_type(value) AS type FROM "
        f"(SELECT TRY_CAST({source} AS JSON) AS object FROM chosen), "
        "LATERAL (SELECT unnest(json_keys(object)) AS key), "
        "LATERAL (SELECT json_extract(object, '/' || replace(replace(key, '~', '~0'), '/', '~1')) "
        "AS value) WHERE json_type(object) = 'OBJECT') GROUP BY key ORDER BY key"
    ).fetchall()
    return {key: _type(types) for key, types in found}


def _type(types: Iterable[str]) -> str:
    seen = {kind for kind in types if kind not in (None, "NULL")}
    if seen == {"BOOLEAN"}:
        return "BOOLEAN"
    if seen and seen <= _WHOLE:
        return "HUGEINT" if "UBIGINT" in seen and "BIGINT" in seen else "BIGINT"
    return "DOUBLE" if seen and seen <= _NUMBERS else "VARCHAR"


def _value(source: str, key: str, kind: str) -> str:
    text = f"json_extract_string(TRY_CAST({source} AS JSON), {literal(pointer(key))})"
    return text if kind == "VARCHAR" else f"TRY_CAST({text} AS {kind})"


def _variants(connection: duckdb.DuckDBPyConnection) -> list[str]:
    found = connection.execute(
        "SELECT DISTINCT unnest(propensities).variant AS variant FROM chosen ORDER BY variant"
    )
    return [row[0] for row in found.fetchall()]


def _probabilities(
    connection: duckdb.DuckDBPyConnection, classes: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, str]]:
    """By the name of the class; a table nobody knows leaves them in one column, in its order."""
    digests = {
        row[0] for row in connection.execute("SELECT DISTINCT digest FROM chosen").fetchall()
    }
    named: dict[str, dict[str, int]] = {}
    for digest in sorted(digests & classes.keys()):
        for place, label in enumerate(classes[digest]):
            named.setdefault(label, {})[digest] = place + 1
    columns: dict[str, tuple[str, str]] = {}
    for label, places in named.items():
        cases = " ".join(
            f"WHEN {literal(digest)} THEN probabilities[{place:d}]"
            for digest, place in places.items()
        )
        columns[f"probability.{label}"] = (f"CASE digest {cases} END", "")
    if digests - classes.keys():
        known = ", ".join(literal(digest) for digest in sorted(digests & classes.keys()))
        other = f"digest NOT IN ({known})" if known else "true"
        columns["probabilities"] = (
            f"CASE WHEN {other} THEN to_json(probabilities)::VARCHAR END",
            "VARCHAR",
        )
    return columns


def _guarded(expression: str) -> str:
    risky = f"regexp_matches({expression}, '^[=+\\-@\\t\\r\\n]')"
    return f"CASE WHEN {risky} THEN '''' || {expression} ELSE {expression} END"


def _title(title: str, taken: set[str], *, guard: bool) -> str:
    """A column's name: SQL does not tell upper from lower case, so another one gets a number."""
    shown = f"'{title}" if guard and title[:1] in "=+-@\t\r\n" else title
    number, candidate = 1, shown
    while candidate.lower() in taken:
        number += 1
        candidate = f"{shown}_{number}"
    taken.add(candidate.lower())
    return candidate
