"""Decisions as one row of plain columns each, and as nested values."""

import json
from collections.abc import Mapping
from typing import Final

import duckdb

from pointsman.archive.columns import COLUMNS
from pointsman.archive.parquet import literal, name

_FLATTENED: Final = ("context", "features", "propensities", "probabilities")
_KNOWN_LATER: Final = ("label", "label_at_ms", "reward", "outcome_cost")
_KNOWN: Final = (
    "LEFT JOIN held ON held.decision_id = chosen.id LEFT JOIN watched ON watched.id = chosen.id"
)
_WHOLE: Final = frozenset({"UBIGINT", "BIGINT"})

NESTED: Final = (
    "SELECT chosen.* REPLACE (context::JSON AS context, "
    "TRY_CAST(features AS JSON) AS features), "  # `:decide` has none
    + ", ".join(f"held.{column}" for column in _KNOWN_LATER)
    + f", watched.shadows FROM chosen {_KNOWN}"
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
    taken_apart = ["*"]
    for source, prefix in (("context", "context"), ("features", "feature")):
        kinds = _members(connection, source)
        # All members at once: a text that is parsed for each of them takes memory for each.
        listed = ", ".join(literal(pointer(key)) for key in kinds)
        text = f"json_extract_string(TRY_CAST({source} AS JSON), [{listed}])"
        taken_apart += [f"{text} AS {source}_values"] if kinds else []
        for place, (key, kind) in enumerate(kinds.items(), 1):
            value = f"chosen.{source}_values[{place:d}]"
            typed = value if kind == "VARCHAR" else f"TRY_CAST({value} AS {kind})"
            columns[f"{prefix}.{key}"] = (typed, kind)
    for variant in _variants(connection):
        found = f"list_filter(propensities, lambda p: p.variant = {literal(variant)})"
        columns[f"propensity.{variant}"] = (f"{found}[1].propensity", "")
    columns |= _probabilities(connection, classes)
    shown = []
    taken: set[str] = set()
    for title, (expression, kind) in columns.items():
        value = _guarded(expression) if guard and kind == "VARCHAR" else expression
        shown.append(f"{value} AS {name(_title(title, taken, guard=guard))}")
    rows = f"(SELECT {', '.join(taken_apart)} FROM chosen) AS chosen"
    return f"SELECT {', '.join(shown)} FROM {rows} {_KNOWN}"


def pointer(key: str) -> str:
    """JSON pointer to a member of an object."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


def _members(connection: duckdb.DuckDBPyConnection, source: str) -> dict[str, str]:
    """Members of a column's objects, sorted, and the type all their values fit in."""
    # Structures are few, and merged here: DuckDB's own aggregate of them holds every row.
    found = connection.execute(
        f"SELECT DISTINCT json_structure(object)::VARCHAR FROM (SELECT TRY_CAST({source} AS JSON) "
        "AS object FROM chosen) WHERE json_type(object) = 'OBJECT'"
    )
    kinds: dict[str, set[str]] = {}
    while rows := found.fetchmany(1000):
        for (structure,) in rows:
            for key, kind in json.loads(structure).items():
                kinds.setdefault(key, set()).add(kind if isinstance(kind, str) else "JSON")
    return {key: _type(seen - {"NULL"}) for key, seen in sorted(kinds.items())}


def _type(seen: set[str]) -> str:
    """The column's type by what DuckDB finds its values to be; text where they have none in
    common."""
    if seen == {"BOOLEAN"}:
        return "BOOLEAN"
    if seen and seen <= _WHOLE:
        return "BIGINT"
    return "DOUBLE" if seen and seen <= _WHOLE | {"DOUBLE"} else "VARCHAR"


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
