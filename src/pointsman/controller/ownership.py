"""Who says what a split's weights are: the file, or the rollout that owns the rule.

Pure: what a change starts from, with the owned split as it has to be.
"""

from decimal import Decimal

import msgspec

from pointsman.controller import pinned as pinning
from pointsman.controller.candidate import Base
from pointsman.controller.pinned import Pinned, version_of
from pointsman.controller.state import Pin
from pointsman.decide.compile import Owned, ProjectState
from pointsman.domain.table import ProjectTable
from pointsman.rollout import declared
from pointsman.rollout.state import State
from pointsman.spec.models import Project


class Shift(msgspec.Struct, frozen=True):
    """What a rollout wants of a project. pinned: versions by variant; others stay as they are"""

    rule: str
    weights: tuple[tuple[str, Decimal], ...]
    pinned: dict[str, Pinned] = {}


def claimed(weight: Decimal, project: Project, base: Base) -> Base:
    """The base of a change by people, with the split a rollout owns at the rollout's weight."""
    terms = declared.terms(project)
    owned = () if terms is None else (Owned(terms.rule, terms.weights(weight)),)
    return Base(msgspec.structs.replace(base.state, owned=owned), base.pins)


def grows(rollout: State, project: Project, table: ProjectTable, *, exactly: bool = True) -> bool:
    """Whether a table has the version that grows where the rollout has its traffic.

    exactly: artifact and decision too, which a table that is only a preview cannot tell
    """
    assert project.spec.rollout is not None
    name = project.spec.rollout.variant
    found = next((one for one in table.variants if one.name == name), None)
    if found is None:
        return False
    return version_of(found) == rollout.target if exactly else found.source == rollout.target.source


def shifted(base: Base, project: Project, shift: Shift) -> tuple[ProjectState, dict[str, Pin]]:
    """The state and pins that a shift makes of a project's."""
    variants = {variant.name: variant for variant in base.state.variants}
    pins = dict(base.pins)
    adopted = {one.variant: one for one in base.state.adopted}
    for variant, pinned in shift.pinned.items():
        variants[variant] = msgspec.structs.replace(pinned.variant, name=variant)
        adopted.pop(variant, None)
        taken_over = pinning.adopted(project, variant, pinned)
        if taken_over is not None:
            adopted[variant] = taken_over
        if pinned.pin is not None:
            asked = pins[variant].asked if variant in pins else pinned.pin.asked
            pins[variant] = msgspec.structs.replace(pinned.pin, asked=asked)
    others = tuple(owned for owned in base.state.owned if owned.rule != shift.rule)
    state = msgspec.structs.replace(
        base.state,
        variants=tuple(variants.values()),
        owned=(*others, Owned(shift.rule, shift.weights)),
        adopted=tuple(adopted.values()),
    )
    return state, pins
