"""The law of ingestion: the same records in any order and any portions give the same store."""

import math
import random
from collections import Counter, defaultdict

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ingest import reading

from pointsman.domain import evidence
from pointsman.domain.evidence import CellKey, Confusion, CrossMoments, Moments, Paired
from pointsman.domain.table import SPACE, Shadow

CLASSES = ("no", "yes")
VERSIONS = {"champion": "2", "challenger": "3"}
OTHER = {"champion": "challenger", "challenger": "champion"}

decisions = st.builds(
    lambda n, unit, variant, reason, score, block, country, shadow: {
        "id": f"d{n}",
        "at": block * evidence.BLOCK_MS + n,
        "unit": unit,
        "variant": variant,
        "reason": reason,
        "score": score,
        "country": country,
        "shadow": shadow,
    },
    st.integers(0, 7),
    st.integers(0, 3),
    st.sampled_from(["champion", "challenger"]),
    st.sampled_from(["SPLIT", "SPLIT", "RULE"]),
    st.sampled_from([0.0, 0.25, 0.9, 1.0]),
    st.integers(0, 2),
    st.sampled_from(["DE", "FR"]),
    st.sampled_from([None, 0.125, 0.5, 0.9, "error"]),
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
    """(variant, block, slice, metric) -> sums, whatever kind they are of; see `plain`."""
    cells = defaultdict(Counter)
    splits = [d for d in known.values() if d["reason"] == "SPLIT"]
    paired = [d for d in known.values() if isinstance(d["shadow"], float)]
    first, first_pair = firsts(splits), firsts(paired)
    for decision in known.values():
        name, shadow = decision["id"], decision["shadow"]
        label, reward = values.get((name, "label")), values.get((name, "reward"))
        found = {}
        if decision["reason"] == "SPLIT":
            found |= own(decision, label, reward, exposed=name in first)
        if shadow is not None:
            families = ("flips", "paired")[: 1 + (name in first_pair)]
            found |= {f"{f}/{OTHER[decision['variant']]}": pair(decision, label) for f in families}
        block = evidence.block_of(decision["at_ms"])
        for name in ("", f"country={decision['country']}"):
            for metric, sums in found.items():
                cells[decision["variant"], block, name, metric].update(sums)
    return {key: dict(sums) for key, sums in cells.items()}


def firsts(decisions):
    """Ids of each unit's first decision."""
    ordered = sorted(decisions, key=lambda d: (d["at_ms"], d["id"]), reverse=True)
    return set({d["unit"]: d["id"] for d in ordered}.values())


def own(decision, label, reward, *, exposed):
    """What a decision adds by itself and beside the champion's score."""
    score = decision["score"]
    predicted = int(score >= 0.5)
    observed = {"denied": float(predicted), "error": 0.0, "cost": 0.5}
    beside = {"denied": float(predicted)}
    events = {"denied": float(predicted), "error": 0.0}
    found = {}
    if label is not None:
        observed["correct"] = beside["correct"] = float(CLASSES[predicted] == label)
        events["wrong"] = float(CLASSES[predicted] != label)
        given = score if label == "yes" else 1 - score
        observed["log_loss"] = -math.log(max(given, 2.0**-53))
        observed["brier"] = 2 * (1 - given) ** 2
        at = CLASSES.index(label) * 2 + predicted
        found["confusion"] = {at: 1, (decision["unit"], at): 1}
    if reward is not None:
        observed["reward"] = beside["reward"] = reward
    found |= {metric: {"n": 1, "total": value} for metric, value in observed.items()}
    if exposed:
        found |= {f"first/{m}": {"n": 1, "total": value} for m, value in events.items()}
        if label is not None:
            found["first/confusion"] = {CLASSES.index(label) * 2 + predicted: 1}
    x = score if decision["variant"] == "champion" else decision["shadow"]
    if isinstance(x, float):
        for metric, value in beside.items():
            sums = {"n": 1, "total": value, "x": x, "cross": x * value}
            found[f"given/champion/{metric}"] = sums
    return found


def pair(decision, label):
    """What both answers add, side by side."""
    score, other = decision["score"], decision["shadow"]
    if other == "error":
        return {"failed": 1}
    served, shadow = int(score >= 0.5), int(other >= 0.5)
    flip = served * 2 + shadow
    sums = {("flip", flip): 1, ("action", flip): 1, "scored": 1}
    sums |= {"shift": other - score, "distance": abs(other - score)}
    if label is not None:
        sums |= {("label", CLASSES.index(label) * 4 + flip): 1, ("known", flip): 1}
    return sums


def stored_cells(world):
    """The same, from the store; what counts nothing is left out."""
    found = {}
    for key, payload in world.read(reading.cells, "default/loan", "default").items():
        assert isinstance(key, CellKey)
        sums = plain(payload)
        if any(sums.values()):
            found[key.variant, key.block_ms, key.slice, key.metric] = sums
    return found


def plain(payload):
    """A payload's sums by name; nothing of kinds that are tested elsewhere."""
    match payload:
        case Moments():
            return {"n": sum(payload.n), "total": sum(payload.total)}
        case CrossMoments():
            sums = {"n": sum(payload.n), "total": sum(payload.total)}
            return sums | {"x": sum(payload.covariate), "cross": sum(payload.cross)}
        case Confusion():
            by_bucket = {(i // 4, i % 4): n for i, n in payload.by_bucket.items()}
            return dict(enumerate(payload.counts)) | by_bucket
        case Paired():
            sums = {("flip", i): n for i, n in payload.flips.items()}
            sums |= {("label", i): n for i, n in payload.labelled.items()}
            sums |= {("action", i): n for i, n in enumerate(payload.actions)}
            sums |= {("known", i): n for i, n in enumerate(payload.labelled_actions)}
            sums |= {"scored": payload.scored, "failed": payload.failed}
            return sums | {"shift": payload.shift, "distance": payload.distance}
    return {}


def same(one, other):
    """Whether two cells have the same sums, where what is left out is 0."""
    return all(
        one.get(name, 0) == pytest.approx(other.get(name, 0), abs=1e-9)
        for name in one.keys() | other.keys()
    )


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
    records += [shadow_record(make, d) for d in known.values() if d["shadow"] is not None]
    dice.shuffle(records)
    world = new_world()
    everyone = {"default": (Shadow("champion", SPACE, "salt"),)}
    watched = msgspec.structs.replace(make.project, shadowed=everyone)
    world.catalog.projects["default/loan"] = watched
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
        assert same(stored[key], expected), key
    labelled = sum(1 for _, kind in registers if kind == "label")
    counted = world.all(
        "SELECT coalesce(sum(decisions), 0), coalesce(sum(labelled), 0) FROM traffic"
    )
    assert counted == [(len(known), labelled)]
    assert stored_heads(world) == heads_of(known, registers)
    check_states(world, known, told)
    world.close()


def stored_heads(world):
    """(of, variant, block) -> units assigned, served, logged, labelled; without empty ones."""
    rows = world.all(
        "SELECT of, variant, block_ms, assigned, served, logged, labelled FROM headcount"
        " WHERE block_ms >= 0"
    )
    return {(of, v, block): tuple(heads) for of, v, block, *heads in rows if any(heads)}


def heads_of(known, registers):
    """The same from nothing: every unit's first split decision, and whether it has a label."""
    heads = defaultdict(Counter)
    first = firsts([d for d in known.values() if d["reason"] == "SPLIT"])
    for name in first:
        decision = known[name]
        key = decision["variant"], evidence.block_of(decision["at_ms"])
        heads["split", *key] += Counter(units=1, labelled=(name, "label") in registers)
        heads["logged", *key] += Counter(units=1)
    return {
        (of, *key): (n["units"],)
        + ((n["units"], n["units"], n["labelled"]) if of == "split" else (0, 0, 0))
        for (of, *key), n in heads.items()
    }


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
        version=VERSIONS[decision["variant"]],
        reason=decision["reason"],
        probabilities=(1 - score, score),
        predicted=CLASSES[score >= 0.5],
        action="deny" if score >= 0.5 else "allow",
        context={"country": decision["country"]},
    )


def shadow_record(make, decision):
    variant = OTHER[decision["variant"]]
    record = make.shadow(decision["id"], variant)
    version, score = VERSIONS[variant], decision["shadow"]
    if score == "error":
        return msgspec.structs.replace(
            record, version=version, probabilities=(), predicted="", action="", error="late"
        )
    return msgspec.structs.replace(
        record,
        version=version,
        probabilities=(1 - score, score),
        predicted=CLASSES[score >= 0.5],
        action="deny" if score >= 0.5 else "allow",
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
