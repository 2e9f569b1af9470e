"""Writes `vectors.json` beside this file; a test holds the file equal to what this makes.

python docs/conformance/generate.py
"""

# ruff: noqa: INP001 - a script, not part of a package
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from pointsman.decide.allocation import initial, lookup, moved, reallocate, widths
from pointsman.decide.hashing import hash32, hash64, unit_bytes, unit_hash
from pointsman.domain.table import SPACE, Allocation

SALTS = ("", "default/income/default#split", "default/income#holdout", "zürich")
UNITS = (
    "",
    "0",
    "u-17",
    "account-4711",
    " leading and trailing ",
    "Zürich",
    "Zu\u0308rich",
    "日本語",
    "😀",
    "a\0b",
    "\0",
    "\ufeffbom",
    "\ud800",
    "x\udc00y\ud800",
    "x" * 16,
    "x" * 17,
    "x" * 128,
    "x" * 129,
    "x" * 240,
    "x" * 241,
    "long " * 100,
)
CHAINS: tuple[tuple[dict[str, int | str], ...], ...] = (
    ({"champion": 100},),
    ({"champion": 95, "challenger": 5}, {"champion": 90, "challenger": 10}),
    (
        {"champion": 99, "challenger": 1},
        {"champion": 50, "challenger": 50},
        {"champion": 0, "challenger": 100},
        {"champion": 100, "challenger": 0},
    ),
    ({"a": 90, "b": 5, "c": 5}, {"a": 80, "b": 10, "c": 10}, {"a": 80, "b": 20}),
    ({"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 1, "c": 1, "d": 1}, {"b": 1, "d": 1, "e": 1}),
    ({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1, "g": 1}, {"a": "0.001", "g": "99.999"}),
    ({"a": "0.1", "b": "0.2"}, {"b": "33.3", "a": "66.7"}, {"b": 1, "a": 1}, {"b": 9, "c": 1}),
    ({"m": 1}, {"a": 1, "m": 1, "z": 1}, {"m": 1}, {"a": 1, "z": 1}),
    ({"a": 1, "b": "0.0000000001"}, {"a": "0.0000000001", "b": 1}),
)


def vectors() -> dict[str, Any]:
    """The whole file as JSON values."""
    return {
        "format": 1,
        "hash": [_hashed(salt, unit) for salt in SALTS for unit in UNITS],
        "lookup": [_looked_up(chain) for chain in CHAINS],
        "reallocate": [_reallocated(chain) for chain in CHAINS],
    }


def text() -> str:
    """The file, byte for byte: ASCII, one case a line."""
    made = vectors()
    parts = [f'"format": {made.pop("format")}']
    for name, cases in made.items():
        lines = ",\n".join(f"  {json.dumps(case)}" for case in cases)
        parts.append(f'"{name}": [\n{lines}\n]')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _hashed(salt: str, unit: str) -> dict[str, Any]:
    return {
        "salt": salt,
        "unit": unit,
        "unit_bytes": unit_bytes(unit).hex(),
        "hash64": f"{hash64(salt, unit):016x}",
        "hash32": hash32(salt, unit),
        "unit_hash": f"{unit_hash(unit):016x}",
    }


def _looked_up(chain: tuple[dict[str, int | str], ...]) -> dict[str, Any]:
    allocation = _steps(chain)[-1]
    points = {0, SPACE - 1, SPACE // 2}
    points |= {p for cut in allocation.cuts for p in (cut - 1, cut, cut + 1) if 0 <= p < SPACE}
    return {
        "allocation": _plain(allocation),
        "arms": [[point, lookup(allocation, point)] for point in sorted(points)],
    }


def _reallocated(chain: tuple[dict[str, int | str], ...]) -> list[dict[str, Any]]:
    """Each step: the weights, their exact widths, the allocation, and the points that moved."""
    steps = _steps(chain)
    return [
        {
            "weights": weights,
            "widths": widths(_numbers(weights)),
            "allocation": _plain(after),
            "moved": moved(before, after),
        }
        for weights, before, after in zip(chain, [steps[0], *steps[:-1]], steps, strict=True)
    ]


def _steps(chain: tuple[dict[str, int | str], ...]) -> list[Allocation]:
    steps = [initial(_numbers(chain[0]))]
    for weights in chain[1:]:
        steps.append(reallocate(steps[-1], _numbers(weights)))
    return steps


def _numbers(weights: dict[str, int | str]) -> dict[str, int | Decimal]:
    return {arm: Decimal(w) if isinstance(w, str) else w for arm, w in weights.items()}


def _plain(allocation: Allocation) -> dict[str, Any]:
    return {"cuts": list(allocation.cuts), "arms": list(allocation.arms)}


if __name__ == "__main__":
    Path(__file__).with_name("vectors.json").write_text(text(), encoding="ascii")
