"""A project blob made ready to serve, off to the side: decoded, compiled, models loaded and warm.

Nothing of what is being served is touched; whoever asked swaps the result in, or keeps the old.
"""

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from pointsman.decide.table import load as compile_table
from pointsman.domain import artifact
from pointsman.domain.artifact import ArtifactManifest
from pointsman.domain.errors import Kind, PointsmanError, Violation
from pointsman.domain.quality import Quality
from pointsman.domain.table import Feature, Guard, ProjectTable, Runtime, TableRow, Variant, digest
from pointsman.gateway.counters import Counters
from pointsman.gateway.metrics import NAMED_FEATURES
from pointsman.gateway.quality import Door
from pointsman.gateway.schema import Schema
from pointsman.gateway.served import Pick, Score, Served
from pointsman.gateway.tally import Tally
from pointsman.runtime.blobs import BlobStore
from pointsman.runtime.rows import picker

_logger = logging.getLogger(__name__)

WARM_S: Final = 60.0
"""How long the model runner may take to load a native model."""

_decoder = msgspec.json.Decoder(ProjectTable)


class Warmer(Protocol):
    """The model runner's client."""

    async def warm(self, digest: str) -> Any: ...

    async def keep(self, digests: Iterable[str]) -> None: ...


class Loader:
    """Models that are loaded stay loaded for as long as a served table names them."""

    def __init__(
        self,
        blobs: BlobStore,
        counters: Counters,
        runner: Warmer | None,
        gateway: Path,
        slot: int,
    ) -> None:
        self._gateway = gateway
        self._slot = slot
        self._tallies: dict[str, Tally] = {}
        self.blobs = blobs
        self.counters = counters
        self._runner = runner
        self._models: dict[tuple[str, tuple[Feature, ...]], Score] = {}

    async def load(
        self, row: TableRow, *, allow_cold: bool = False
    ) -> tuple[Served, tuple[str, ...]]:
        """The project, and the names of native variants that are not warm yet.

        row: its blobs must be in the store
        allow_cold: do not wait for the model runner to load native variants (start from the last
            known good, with the runner starting as well): their fallbacks answer meanwhile
        Raises PointsmanError with everything that is wrong.
        """
        blob = await asyncio.to_thread(self.blobs.read, row.digest)
        table = decode(row, blob)
        compiled = compile_table(table)
        scores: dict[str, Score] = {}
        picks: dict[str, Pick] = {}
        cold: list[str] = []
        found: list[Violation] = []
        for variant in table.variants:
            try:
                if variant.runtime is Runtime.ONNX:
                    scores[variant.name] = await asyncio.to_thread(self._model, variant, table)
                elif variant.runtime is Runtime.NATIVE:
                    picks[variant.name] = await asyncio.to_thread(self._pick, variant, table)
                    if allow_cold:
                        # Warmed later: a restarted worker must not wait for the seconds that a
                        # starting runner needs to load what it holds.
                        cold.append(variant.name)
                    else:
                        await self.warm(variant)
            except PointsmanError as error:
                found.append(Violation(f"variants.{variant.name}", error.message, error.hint))
        if found:
            raise PointsmanError(
                Kind.UNAVAILABLE,
                "; ".join(f"{v.path}: {v.message}" for v in found),
                hint="the table that is in use stays in use",
                violations=tuple(found),
            )
        made = Served(compiled, Schema(table), scores, picks, self.counters)
        if table.quality is not None:
            made.door = await asyncio.to_thread(self._door, table, table.quality)
            made.counters.named = _named(table.quality)
        made.tallies = {
            guard.rule: tally
            for guard in table.guards
            if (tally := self._tally(guard, table)) is not None
        }
        return made, tuple(cold)

    def _door(self, table: ProjectTable, declared: Quality) -> Door:
        needs = {
            variant.name: [
                one.name for one in self._manifest(variant, table).features if one.required
            ]
            for variant in table.variants
            if variant.runtime is not Runtime.CONSTANT
        }
        return Door(table, declared, needs)

    def _tally(self, guard: Guard, table: ProjectTable) -> Tally | None:
        """The one there is, if there is one: its file has one writer. None where the disk has no
        room for it: to be served unguarded is better than not to be served."""
        known = self._tallies.get(guard.evidence)
        if known is None:
            try:
                known = Tally(guard, table, self._gateway, self._slot)
            except OSError as error:
                name = f"{table.tenant}/{table.project}"
                _logger.error("%s is served without its local guard: %s", name, error)
                return None
            self._tallies[guard.evidence] = known
        return known

    async def keep_only(self, served: list[Served]) -> None:
        """Lets go of models that no table names any more, here and in the model runner."""
        used = {
            (variant.artifact, project.table.features)
            for project in served
            for variant in project.table.variants
        }
        self._models = {key: model for key, model in self._models.items() if key in used}
        guards = {guard.evidence for project in served for guard in project.table.guards}
        self._tallies = {key: tally for key, tally in self._tallies.items() if key in guards}
        if self._runner is not None:
            await self._runner.keep(
                variant.artifact
                for project in served
                for variant in project.table.variants
                if variant.runtime is Runtime.NATIVE
            )

    def _model(self, variant: Variant, table: ProjectTable) -> Score:
        key = (variant.artifact, table.features)
        known = self._models.get(key)
        if known is not None:
            return known
        # Here and not above: onnxruntime takes a while to import, and constants need none of it.
        from pointsman.runtime.onnx import OnnxModel

        manifest = self._manifest(variant, table)
        score: Score = OnnxModel.load(manifest, self.blobs, table.features).score
        self._models[key] = score
        return score

    def _pick(self, variant: Variant, table: ProjectTable) -> Pick:
        """From a row of the project to a row of the model, which may know fewer features."""
        names = [feature.name for feature in self._manifest(variant, table).features]
        return picker(names, table.features)

    def _manifest(self, variant: Variant, table: ProjectTable) -> ArtifactManifest:
        where = f"artifact {variant.artifact[:12]}"
        try:
            manifest = artifact.decode(self.blobs.read(variant.artifact))
        except (msgspec.DecodeError, ValueError) as error:
            raise PointsmanError(Kind.INVALID, f"{where} is not a manifest: {error}") from None
        if manifest.classes != table.classes:
            raise PointsmanError(
                Kind.INVALID,
                f"{where} was prepared for classes {', '.join(manifest.classes)}, "
                f"not {', '.join(table.classes)}",
            )
        return manifest

    async def warm(self, variant: Variant) -> None:
        """Returns once the model runner has the variant loaded. Raises PointsmanError."""
        if self._runner is None:
            raise PointsmanError(
                Kind.UNAVAILABLE,
                "needs the model runner, which this gateway has not",
                hint="start it with a model runner, or use a model that compiles to ONNX",
            )
        try:
            async with asyncio.timeout(WARM_S):
                await self._runner.warm(variant.artifact)
        except PointsmanError:
            raise
        except (OSError, TimeoutError) as error:
            said = str(error) or type(error).__name__
            raise PointsmanError(
                Kind.UNAVAILABLE, f"the model runner did not load it: {said}"
            ) from None


def decode(row: TableRow, blob: bytes) -> ProjectTable:
    """The table of a manifest row. Raises PointsmanError(INVALID) with everything that is wrong."""
    where = f"table {row.number} of {row.tenant}/{row.project}"
    if digest(blob) != row.digest:
        raise PointsmanError(Kind.INVALID, f"{where}: its bytes do not match their digest")
    try:
        table = _decoder.decode(blob)
    except (msgspec.DecodeError, ValueError) as error:
        raise PointsmanError(Kind.INVALID, f"{where} cannot be read: {error}") from None
    found = []
    if (table.tenant, table.project) != (row.tenant, row.project):
        found.append(Violation("project", f"it is that of {table.tenant}/{table.project}"))
    if len(table.classes) < 2 or len(set(table.classes)) != len(table.classes):
        found.append(Violation("classes", "there must be two or more, all different"))
    if table.positive and table.positive not in table.classes:
        found.append(Violation("positive", f"{table.positive!r} is not one of the classes"))
    if table.deadline_ms <= 0:
        found.append(Violation("deadline_ms", f"{table.deadline_ms} is not positive"))
    found += _variant_problems(table)
    if table.quality is not None:
        expected = [own.name for own in table.quality.features]
        if expected != [feature.name for feature in table.features]:
            found.append(Violation("quality", "it is not about the features there are"))
    if found:
        raise PointsmanError(
            Kind.INVALID,
            f"{where}: " + "; ".join(f"{v.path}: {v.message}" for v in found),
            violations=tuple(found),
        )
    return table


def _named(declared: Quality) -> frozenset[str]:
    """Features that are counted by name: those with something declared first."""
    usual = sorted(
        declared.features, key=lambda own: own.low is None and not own.values and own.value is None
    )
    return frozenset(own.name for own in usual[:NAMED_FEATURES])


def _variant_problems(table: ProjectTable) -> list[Violation]:
    found = []
    for variant in table.variants:
        path = f"variants.{variant.name}"
        if variant.runtime is Runtime.CONSTANT and variant.constant not in table.classes:
            found.append(Violation(path, f"{variant.constant!r} is not one of the classes"))
        if variant.threshold is not None and not 0.0 <= variant.threshold <= 1.0:
            found.append(Violation(path, f"threshold {variant.threshold} is not from 0 to 1"))
    return found
