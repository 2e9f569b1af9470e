"""What is published in docs/conformance is what the code does, and it never changes."""

import importlib.util
import json
from decimal import Decimal
from pathlib import Path

import pytest
from xxhash import xxh3_64_hexdigest

from pointsman.decide.allocation import initial, lookup, moved, reallocate, widths
from pointsman.decide.hashing import hash32, hash64, unit_hash
from pointsman.domain.table import Allocation

DIRECTORY = Path(__file__).parents[2] / "docs" / "conformance"
VECTORS = json.loads((DIRECTORY / "vectors.json").read_text("ascii"))


def test_the_file_is_what_its_script_writes():
    """The committed vectors are exactly what the committed script makes."""
    spec = importlib.util.spec_from_file_location("generate", DIRECTORY / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)

    assert generate.text() == (DIRECTORY / "vectors.json").read_text("ascii")


@pytest.mark.parametrize("case", VECTORS["hash"])
def test_hashes(case):
    """Code, file, and xxh3_64 over the bytes written in the file agree."""
    salt, unit = case["salt"], case["unit"]
    raw = bytes.fromhex(case["unit_bytes"])

    assert f"{hash64(salt, unit):016x}" == case["hash64"]
    assert f"{unit_hash(unit):016x}" == case["unit_hash"] == xxh3_64_hexdigest(raw)
    assert hash32(salt, unit) == case["hash32"]
    assert xxh3_64_hexdigest(salt.encode() + b"\0" + raw) == case["hash64"]


@pytest.mark.parametrize("case", VECTORS["lookup"])
def test_lookups(case):
    """Every point on and beside every cut has the arm that the file says."""
    allocation = Allocation(tuple(case["allocation"]["cuts"]), tuple(case["allocation"]["arms"]))

    assert [[point, lookup(allocation, point)] for point, _ in case["arms"]] == case["arms"]


@pytest.mark.parametrize("chain", VECTORS["reallocate"])
def test_reallocations(chain):
    """Every step of every chain of weights has the widths, cuts and moves that the file says."""
    before = None
    for step in chain:
        weights = {arm: Decimal(weight) for arm, weight in step["weights"].items()}
        after = initial(weights) if before is None else reallocate(before, weights)

        assert widths(weights) == step["widths"]
        assert {"cuts": list(after.cuts), "arms": list(after.arms)} == step["allocation"]
        assert moved(before or after, after) == step["moved"]
        before = after


def test_published_values_are_fixed():
    """A few answers by heart: these may never change, whatever is regenerated."""
    assert f"{hash64('default/income/default#split', 'u-17'):016x}" == "4ffe43cac8c2db51"
    assert f"{unit_hash(''):016x}" == "2d06800538d394c2"  # xxHash's own sanity value
    assert initial({"champion": 90, "challenger": 10}).cuts == (0, 429496730)
