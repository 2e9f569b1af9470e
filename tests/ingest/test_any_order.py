"""The law of ingestion: the same records in any order and any portions give the same store."""

import math
import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.domain import evidence
from pointsman.domain.evidence import CellKey, Confusion, Moments
from pointsman.store import payloads

CLASSES = ("no", "yes")

decisions = st.builds(
    lambda n, unit, variant, reason, score, block, country: {
        "id": f"d{n}",
        "at": block * evidence.BLOCK_MS + n,
        "unit": unit,
        "variant": variant,
        "reason": reason,
        "score": score,
        "country": country,
    },
    st.integers(0, 7),
    st.integers(0, 3),
    st.sampled_from(["champion", "challenger"]),
    st.sampled_from(["SPLIT", "SPLIT", "RULE"]),
    st.sampled_from([0.0, 0.25, 0.9, 1.0]),
    st.integers(0, 2),
    st.sampled_from(["DE", "FR"]),
)
pieces = st.builds(
    lambda name, decision, kind, yes, at, received, tenant: {
        "id": f"f{name}",
        "decision": f"d{decision}",
        "kind": kind,
        "value": (CLASSES[yes] if kind == "label" else float(yes) + 0.1),
        "at": at,
        "received": received,
        "tenant": tenant,
    },
    st.integers(0, 9),
    st.integers(0, 9),
    st.sampled_from(["label", "label", "reward"]),
    st.booleans(),
    st.integers(0, 20),
    st.integers(0, 20),
    st.sampled_from(["default", "default", "default", "other"]),
)


def oracle(known, told):
    """The slow obvious twin: registers first, then every cell from nothing."""
    by_id = defaultdict(list)
    for piece in told:
        by_id[piece["tenant"], piece["id"]].append(piece)
    registers = {}
    for group in by_id.values():
        piece = min(group, key=lambda p: (p["received"], body(p)))
        decision = known.get(piece["decision"])
        if decision is None or piece["tenant"] != "default":
            continue
        key = (piece["decision"], piece["kind"])
        order = (piece["at"], piece["received"], piece["id"])
        if key not in registers or order > registers[key][0]:
            registers[key] = (order, piece["value"])
    values = {key: value for key, (_, value) in registers.items()}
    return values, cells_of(known, values)


def body(piece):
    said_at = -1 if piece["at"] == piece["received"] else 10**12 + piece["at"]
    return (piece["decision"], piece["kind"], repr(piece["value"]), said_at)


def cells_of(known, values):
    """(variant, block, slice, metric) -> (how many, their sum) or confusion counts."""
    cells = {}
    for decision in known.values():
        if decision["reason"] != "SPLIT":
            continue
        predicted = int(decision["score"] >= 0.5)
        observed = {"denied": float(predicted), "error": 0.0, "cost": 0.5}
        label = values.get((decision["id"], "label"))
        if label is not None:
            observed["correct"] = float(CLASSES[predicted] == label)
            given = decision["score"] if label == "yes" else 1 - decision["score"]
            observed["log_loss"] = -math.log(max(given, 2.0**-53))
            observed["brier"] = 2 * (1 - given) ** 2
        if (decision["id"], "reward") in values:
            observed["reward"] = values[decision["id"], "reward"]
        block = evidence.block_of(decision["at_ms"])
        for name in ("", f"country={decision['country']}"):
            stem = (decision["variant"], block, name)
            for metric, value in observed.items():
                n, total = cells.get((*stem, metric), (0, 0.0))
                cells[*stem, metric] = (n + 1, total + value)
            if label is not None:
                counts = cells.setdefault((*stem, "confusion"), [0] * 4)
                counts[CLASSES.index(label) * 2 + predicted] += 1
    return cells


def stored_cells(world):
    """The same, from the store; what counts nothing is left out."""
    found = {}
    for key, payload in world.read(payloads.cells, "default/loan", "default").items():
        assert isinstance(key, CellKey)
        name = (key.variant, key.block_ms, key.slice, key.metric)
        if isinstance(payload, Moments) and sum(payload.n):
            found[name] = (sum(payload.n), sum(payload.total))
        elif isinstance(payload, Confusion) and sum(payload.counts):
            found[name] = payload.counts
    return found


@given(
    st.lists(decisions, max_size=8, unique_by=lambda d: d["id"]),
    st.lists(pieces, max_size=16),
    st.integers(0, 1 << 30),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_order_of_arrival_gives_the_same_registers_and_cells(
    new_world, make, drawn, told, seed
):
    """Whatever stream a record is in, and whenever a tick or a restart comes between."""
    dice = random.Random(seed)
    known = {d["id"]: d | {"at_ms": make.noon + d["at"]} for d in drawn}
    # One moment in which all of it happens: nothing is late, nothing is in the future.
    records = [decision_record(make, d) for d in known.values()]
    records += [piece_record(make, p) for p in told]
    dice.shuffle(records)
    world = new_world()
    while records:
        world.write(
            *(records.pop() for _ in range(min(len(records), dice.randint(1, 4)))),
            stream=dice.choice(["w0", "w1"]),
        )
        if dice.random() < 0.5:
            world.ingester.tick()
        if dice.random() < 0.2:
            world.ingester.close()
            world.ingester = world.new_ingester()
    world.drain()

    registers, cells = oracle(known, told)

    assert world.held() == registers
    stored = stored_cells(world)
    assert stored.keys() == cells.keys()
    for key, expected in cells.items():
        assert stored[key] == pytest.approx(expected, abs=1e-9), key
    labelled = sum(1 for _, kind in registers if kind == "label")
    counted = world.all(
        "SELECT coalesce(sum(decisions), 0), coalesce(sum(labelled), 0) FROM traffic"
    )
    assert counted == [(len(known), labelled)]
    check_states(world, known, told)
    world.close()


def check_states(world, known, told):
    """Every piece has a state, one of each id counts, and one of each register is applied."""
    states = Counter(state for (state,) in world.all("SELECT state FROM feedback"))
    assert sum(states.values()) == len(told)
    copies = states["duplicate"] + states["conflicting"]
    assert len(told) - copies == len({(p["tenant"], p["id"]) for p in told})
    assert states["applied"] == len(world.held())
    assert states["rejected"] == states["expired"] == 0
    waiting = {d for (d,) in world.all("SELECT DISTINCT decision_id FROM inbox")}
    assert waiting.isdisjoint(known)


def decision_record(make, decision):
    score = decision["score"]
    return make.decision(
        decision["id"],
        at_ms=decision["at_ms"],
        unit=f"u{decision['unit']}",
        unit_hash=decision["unit"] << 40 | decision["unit"],
        assigned=decision["variant"],
        served=decision["variant"],
        reason=decision["reason"],
        probabilities=(1 - score, score),
        predicted=CLASSES[score >= 0.5],
        action="deny" if score >= 0.5 else "allow",
        context={"country": decision["country"]},
    )


def piece_record(make, piece):
    make_one = make.label if piece["kind"] == "label" else make.reward
    record = make_one(piece["id"], piece["decision"], piece["value"], at=piece["at"])
    return type(record)(
        record.id,
        record.decision_id,
        record.kind,
        record.value,
        record.at_ms,
        make.noon + piece["received"],
        piece["tenant"],
    )
