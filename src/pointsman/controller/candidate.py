"""From a declared project to a table that could be published: resolved, prepared, compiled, proved.

Everything that can be wrong is found here, before anything is changed; all of it at once.
"""

from collections.abc import Callable, Mapping

import msgspec

from pointsman.controller.state import Pin, Serving
from pointsman.decide.compile import ProjectState, compile_project, next_state
from pointsman.decide.table import load
from pointsman.domain import artifact, table
from pointsman.domain.errors import Kind, PointsmanError, Violation
from pointsman.domain.table import Feature, ProjectTable, Runtime, Variant
from pointsman.ports import ModelVersion
from pointsman.runtime.align import check_features
from pointsman.runtime.blobs import BlobStore
from pointsman.spec.models import Project

Prepare = Callable[[ModelVersion, tuple[str, ...], tuple[Feature, ...]], str]
"""The digest of the artifact prepared from a model version for these classes and features (none:
those of its own signature). Blocking; may take minutes. Raises PointsmanError with the reason why
the version cannot be served."""

Known = Callable[[ModelVersion, tuple[str, ...], tuple[Feature, ...]], str]
"""The same where it was prepared before, else empty. Prepares nothing."""

Resolve = Callable[[str], ModelVersion]


def nothing_known(_: ModelVersion, __: tuple[str, ...], ___: tuple[Feature, ...]) -> str:
    """No memory of what was prepared."""
    return ""


class Candidate(msgspec.Struct, frozen=True):
    """A revision that has everything but its place in history.

    serving: what to store beside the spec; blobs: everything a gateway needs besides the table
    """

    project: Project
    serving: Serving
    table: ProjectTable
    blobs: tuple[str, ...]


class Resolution(msgspec.Struct, frozen=True):
    """Model references of a project, pinned. by_variant: of those variants that are models.

    signature: the model the input schema comes from, None where features are declared
    """

    by_variant: dict[str, ModelVersion]
    signature: ModelVersion | None


class Base(msgspec.Struct, frozen=True):
    """What a candidate builds on: the state to compile from, and pins that stay as they are."""

    state: ProjectState
    pins: Mapping[str, Pin]


class Workshop:
    """Makes candidates. Its methods block; none of them changes what is served."""

    def __init__(
        self, resolve: Resolve, prepare: Prepare, blobs: BlobStore, known: Known = nothing_known
    ) -> None:
        self._resolve = resolve
        self._prepare = prepare
        self._blobs = blobs
        self._known = known

    def resolve(
        self, project: Project, pins: Mapping[str, Pin], moved: Mapping[str, ModelVersion]
    ) -> Resolution:
        """Every model reference pinned: to `moved` where it names the variant, to the pin it has
        while what is written stays the same, and else to what the registry says now."""
        found: dict[str, ModelVersion] = {}
        problems: list[Violation] = []
        for name, declared in project.spec.variants.items():
            if declared.model is None:
                continue
            pin = pins.get(name)
            asked = pin.source if pin and pin.asked == declared.model else declared.model
            try:
                version = moved.get(name) or self._resolve(asked)
            except PointsmanError as error:
                problems += _violations(f"spec.variants.{name}.model", error)
                continue
            found[name] = msgspec.structs.replace(version, asked=declared.model)
        signature = self._signature(project, found, problems)
        if problems:
            raise _refused(project, "not every model could be found", problems)
        return Resolution(found, signature)

    def preview(self, project: Project, resolution: Resolution, base: Base) -> ProjectTable:
        """The table as it would be, but for artifacts and input schema: nothing is prepared."""
        variants = tuple(
            Variant(name, version.version, version.uri, "", Runtime.NATIVE)
            for name, version in resolution.by_variant.items()
        )
        return compile_project(project, msgspec.structs.replace(base.state, variants=variants))

    def build(self, project: Project, resolution: Resolution, base: Base) -> Candidate:
        """The candidate. Prepares what was not prepared before, several minutes at worst."""
        classes = tuple(project.spec.classes)
        problems: list[Violation] = []
        features, signed = self._schema(project, resolution, base, problems)
        if problems:
            raise _refused(project, "its input schema cannot be read", problems)
        known = self._prepared(base, classes, features) | signed
        variants: list[Variant] = []
        for name, version in resolution.by_variant.items():
            try:
                made = known.get(version.uri) or self._prepare(version, classes, features)
                manifest = artifact.decode(self._blobs.read(made))
                check_features(manifest.features, features)
            except PointsmanError as error:
                problems += _violations(f"spec.variants.{name}.model", error)
                continue
            variants.append(Variant(name, version.version, version.uri, made, manifest.runtime))
        if problems:
            raise _refused(project, "not every model can be served", problems)
        state = msgspec.structs.replace(base.state, variants=tuple(variants), features=features)
        pins = {
            name: Pin(version.asked, version.uri, version.version, version.registry)
            for name, version in resolution.by_variant.items()
        }
        return self.compiled(project, state, pins)

    def artifact(
        self, project: Project, resolution: Resolution, base: Base, source: str, *, make: bool
    ) -> str:
        """The artifact `build` would serve a pinned source with.

        make: whether to prepare what was not prepared before, for minutes at worst
        Raises PointsmanError with the reason why there is none.
        """
        version = next((v for v in resolution.by_variant.values() if v.uri == source), None)
        known = {variant.source: variant.artifact for variant in base.state.variants}
        if version is None:
            if known.get(source):
                return known[source]
            raise PointsmanError(Kind.INVALID, "no variant of the project names it")
        problems: list[Violation] = []
        classes = tuple(project.spec.classes)
        signature = resolution.signature
        if make or signature is None or project.spec.declared_features is not None:
            features, signed = self._schema(project, resolution, base, problems)
        else:
            made = self._known(signature, classes, ())
            features = artifact.decode(self._blobs.read(made)).features if made else ()
            signed = {signature.uri: made} if made else {}
        if problems:
            raise _refused(project, "its input schema cannot be read", problems)
        found = (self._prepared(base, classes, features) | signed).get(source)
        found = found or self._known(version, classes, features)
        if not found and make:
            found = self._prepare(version, classes, features)
        if not found:
            raise PointsmanError(
                Kind.INVALID,
                "it was not prepared yet, and preparing it is for those who may apply",
            )
        check_features(artifact.decode(self._blobs.read(found)).features, features)
        return found

    def compiled(self, project: Project, state: ProjectState, pins: Mapping[str, Pin]) -> Candidate:
        """The candidate of a state whose variants are prepared already. No registry is asked."""
        compiled = compile_project(project, state)
        # Checked with the very code gateways load it with.
        load(compiled)
        blobs: dict[str, None] = {}
        for variant in compiled.variants:
            if variant.runtime is not Runtime.CONSTANT:
                blobs[variant.artifact] = None
                manifest = artifact.decode(self._blobs.read(variant.artifact))
                blobs |= dict.fromkeys(file.digest for file in manifest.files)
        self._blobs.put_bytes(table.encode(compiled))
        serving = Serving(dict(pins), next_state(state, compiled))
        return Candidate(project, serving, compiled, tuple(blobs))

    def _signature(
        self, project: Project, found: Mapping[str, ModelVersion], problems: list[Violation]
    ) -> ModelVersion | None:
        wanted = project.spec.features_from
        if not wanted:
            return None
        for name, declared in project.spec.variants.items():
            if declared.model == wanted:
                return found.get(name)
        try:
            return self._resolve(wanted)
        except PointsmanError as error:
            problems += _violations("spec.features.from", error)
            return None

    def _schema(
        self, project: Project, resolution: Resolution, base: Base, problems: list[Violation]
    ) -> tuple[tuple[Feature, ...], dict[str, str]]:
        """The input schema: declared, or of a model's signature; else what it has been so far.

        With it, by pinned source, the artifact that had to be prepared to know it.
        """
        declared = project.spec.declared_features
        if declared is not None:
            return declared, {}
        signature = resolution.signature
        if signature is None:
            return base.state.features, {}
        try:
            made = self._prepare(signature, tuple(project.spec.classes), ())
            return artifact.decode(self._blobs.read(made)).features, {signature.uri: made}
        except PointsmanError as error:
            problems += _violations(_signature_path(project), error)
            return (), {}

    def _prepared(
        self, base: Base, classes: tuple[str, ...], features: tuple[Feature, ...]
    ) -> dict[str, str]:
        """Artifacts that serve already and fit as they are, by pinned source."""
        if features != base.state.features:
            return {}
        return {
            variant.source: variant.artifact
            for variant in base.state.variants
            if variant.artifact
            and artifact.decode(self._blobs.read(variant.artifact)).classes == classes
        }


def _signature_path(project: Project) -> str:
    """Where the model is named whose signature is the input schema."""
    for name, declared in project.spec.variants.items():
        if declared.model == project.spec.features_from:
            return f"spec.variants.{name}.model"
    return "spec.features.from"


def _violations(path: str, error: PointsmanError) -> list[Violation]:
    """What is wrong with a model, at the place where it is named."""
    found = [
        Violation(path, f"{violation.path}: {violation.message}", violation.hint)
        for violation in error.violations
    ]
    return found or [Violation(path, error.message, error.hint)]


def _refused(project: Project, what: str, problems: list[Violation]) -> PointsmanError:
    return PointsmanError(
        Kind.INVALID,
        f"{project.tenant}/{project.name}: {what}; nothing was changed",
        hint="what served before keeps serving",
        violations=tuple(problems),
    )
