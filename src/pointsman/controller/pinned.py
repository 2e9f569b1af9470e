"""A version as it stands, or could stand, in a table: prepared, with where it came from.

A rollout knows versions by what makes them serve differently, so one and the same version is
recognised whatever variant serves it.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from msgspec.structs import replace

from pointsman.controller import state
from pointsman.controller.state import Pin
from pointsman.decide.compile import Adopted, decision_of
from pointsman.domain.table import ProjectTable, Variant, digest
from pointsman.rollout.observation import Version
from pointsman.spec.models import Project
from pointsman.store.revisions import Revision


class Pinned(msgspec.Struct, frozen=True):
    """variant: with its artifact and decision; pin: None for a constant

    schema: of the project its artifact was made for: it serves no other classes and features
    """

    variant: Variant
    pin: Pin | None
    schema: str


_encoder: Final = msgspec.json.Encoder(order="deterministic")
_decoder: Final = msgspec.json.Decoder(Pinned)


def encode(pinned: Pinned) -> bytes:
    return _encoder.encode(pinned)


def decode(stored: bytes) -> Pinned:
    """Raises msgspec.ValidationError on anything else."""
    return _decoder.decode(stored)


def version_of(variant: Variant) -> Version:
    """The version a variant of a table serves, threshold and denied classes included."""
    parts = (variant.artifact, variant.constant, variant.threshold, sorted(variant.deny))
    return Version(variant.version, variant.source, digest(msgspec.json.encode(parts))[:16])


def schema_of(table: ProjectTable) -> str:
    """Equal for two tables exactly if an artifact of the one can serve the other."""
    return digest(msgspec.json.encode((table.classes, table.features)))[:16]


def decided(pinned: Pinned, project: Project, name: str) -> Pinned:
    """The same version as the project's variant `name` would serve it: with that one's decision."""
    decision = decision_of(project, name)
    variant = replace(
        pinned.variant, name=name, threshold=decision.threshold, deny=tuple(decision.deny)
    )
    return Pinned(variant, pinned.pin, pinned.schema)


def adopted(project: Project, name: str, pinned: Pinned) -> Adopted | None:
    """What a variant has to adopt to serve a version as it was judged; None where nothing."""
    declared = project.spec.decision_of(name)
    over = (declared.threshold, tuple(declared.deny))
    own = (pinned.variant.threshold, pinned.variant.deny)
    return None if own == over else Adopted(name, *own, over)


def of_revision(revision: Revision, table: ProjectTable) -> Iterator[Pinned]:
    """Every variant of a revision."""
    pins = state.decode(revision.state).pins
    schema = schema_of(table)
    for variant in table.variants:
        yield Pinned(variant, pins.get(variant.name), schema)


def find(wanted: Version, among: Iterable[Pinned], schema: str) -> Pinned | None:
    """The first that serves as `wanted` does, where the project has this schema."""
    fitting = (found for found in among if found.schema == schema)
    return next((found for found in fitting if version_of(found.variant) == wanted), None)
