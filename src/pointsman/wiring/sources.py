"""What is outside, as the operator names it: MLflow, local paths, and a webhook for people."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
import structlog
from sqlalchemy import Engine

from pointsman.controller.deeds import LogNotifier
from pointsman.controller.system_routes import VerifyWebhook
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.suggestion import did_you_mean
from pointsman.domain.table import Feature, digest
from pointsman.plugins.local import LocalRegistry
from pointsman.plugins.mlflow import MlflowRegistry, MlflowServer
from pointsman.plugins.mlflow_webhook import WebhookVerifier
from pointsman.plugins.webhook import WebhookNotifier
from pointsman.ports import (
    PROFILE_FILE,
    PROFILE_TAG,
    Clock,
    ModelVersion,
    Notifier,
    Profiled,
    Registered,
    Registry,
)
from pointsman.runtime import preparation
from pointsman.runtime.blobs import BlobStore
from pointsman.spec import references
from pointsman.store import revisions
from pointsman.store.database import reader
from pointsman.wiring.settings import Settings

_log = structlog.get_logger(__name__)
PROFILE_BYTES: Final = 4 << 20
LOCAL: Final = "local"
"""What `--trust-registry` calls the directories named by --allow-local."""


def registries(wanted: Settings) -> tuple[list[MlflowRegistry], LocalRegistry]:
    """Every source the operator allows. Raises PointsmanError for an address that is none."""
    servers = [
        MlflowRegistry(
            MlflowServer(
                name,
                url,
                name in wanted.trusted,
                authorization=wanted.authorization(name),
                file_roots=wanted.local_roots,
            )
        )
        for name, url in wanted.registries.items()
    ]
    return servers, LocalRegistry(wanted.local_roots, trusted=LOCAL in wanted.trusted, name=LOCAL)


def webhooks(wanted: Settings, clock: Clock) -> dict[str, VerifyWebhook]:
    """By registry name; only registries with a secret take deliveries."""
    return {
        name: WebhookVerifier(wanted.webhook_secret(name), clock).verify
        for name in wanted.webhook_secrets
    }


def notifier(wanted: Settings, clock: Clock) -> Notifier:
    """Who is told what happens. Raises PointsmanError for an address or a secret that is none."""
    url = wanted.notification_url()
    return WebhookNotifier(url, wanted.notification_secret, clock) if url else LogNotifier()


class Sources:
    """All registries as one. Versions come back with the name of their registry in their URI, so
    that a pin means the same whatever registries are added later."""

    def __init__(self, registries: Sequence[MlflowRegistry], local: LocalRegistry) -> None:
        self._registries = {registry.name: registry for registry in registries}
        self._local = local

    def resolve(self, uri: str) -> ModelVersion:
        """The pinned version. A reference that names no registry is looked for in all of them.

        Raises PointsmanError: NOT_FOUND, FORBIDDEN, BACKEND_FAILED, and CONFLICT where several
        registries have it.
        """
        if uri.startswith(("/", "./", "file:")):
            return self._local.resolve(uri)
        named, plain = references.split(uri)
        asked = [self._named(named, uri)] if named else list(self._registries.values())
        if not asked:
            raise PointsmanError(
                Kind.NOT_FOUND,
                f"{uri}: no model registry is configured",
                hint="start with --registry NAME=URL (or POINTSMAN_REGISTRIES)",
            )
        found: list[ModelVersion] = []
        unknown: PointsmanError | None = None
        for registry in asked:
            try:
                version = registry.resolve(plain)
            except PointsmanError as error:
                # One that does not answer may have it too: better no version than another one.
                if error.kind is not Kind.NOT_FOUND:
                    raise
                unknown = unknown or error
                continue
            pinned = references.within(version.uri, registry.name)
            found.append(msgspec.structs.replace(version, uri=pinned, asked=uri))
        if len(found) > 1:
            names = [version.registry for version in found]
            raise PointsmanError(
                Kind.CONFLICT,
                f"{uri}: {len(found)} registries have it: {', '.join(names)}",
                hint=f"name the one you mean: {references.within(uri, names[0])}",
            )
        if not found:
            raise unknown or PointsmanError(Kind.NOT_FOUND, f"{uri}: no registry knows it")
        return found[0]

    @property
    def registries(self) -> Mapping[str, MlflowRegistry]:
        return self._registries

    def watch(self, models: Iterable[str]) -> dict[str, Registered]:
        """Each registered model (`models://REGISTRY/NAME`) as it is now, by one request each;
        models that are not known are left out, and those of a registry that does not answer."""
        wanted: dict[str, list[str]] = {}
        for model in models:
            name, plain = references.split(model)
            wanted.setdefault(name, []).append(plain.removeprefix("models:/"))
        found: dict[str, Registered] = {}
        for name, registry in self._registries.items():
            try:
                seen = registry.poll(wanted.get(name, []))
            except PointsmanError as error:
                _log.debug("registry", registry=name, error=error.message)
                continue
            found |= {f"models://{name}/{model}": what for model, what in seen.items()}
        return found

    def write_back(self, source: str, alias: str, tags: Mapping[str, str]) -> None:
        """Moves an alias in the registry a pinned version came from, and tags the version.

        Raises PointsmanError: INVALID for a version that is in no registry, else as the registry.
        """
        named, plain = references.split(source)
        if not named:
            raise PointsmanError(
                Kind.INVALID,
                f"{source} is in no registry, so no alias can point to it",
                hint="remove `onSuccess`, or roll out models:/NAME@ALIAS",
            )
        self._named(named, source).write_back(plain, alias, tags)

    def profile(self, source: str, version: str) -> Profiled | None:
        """What lies beside a pinned version, else what its tag `pointsman.profile` names.

        Raises as `resolve`, and TOO_LARGE. version: other files of a path are another one
        """
        found = self.resolve(source)
        if found.version != version:
            return None
        place = PROFILE_FILE
        if found.registry == self._local.name:
            body = self._local.attached(found, PROFILE_FILE, PROFILE_BYTES)
            return None if body is None else Profiled(place, body)
        registry = self._named(found.registry, source)
        body = registry.attached(found, PROFILE_FILE, PROFILE_BYTES)
        if body is None and PROFILE_TAG in found.tags:
            place = f"{found.tags[PROFILE_TAG]}, named by the tag {PROFILE_TAG}"
            body = registry.of_run(found.tags[PROFILE_TAG], PROFILE_BYTES)
        return None if body is None else Profiled(place, body)

    def holder(self, version: ModelVersion) -> Registry:
        """The registry a version came from."""
        if version.registry == self._local.name:
            return self._local
        return self._named(version.registry, version.uri)

    def _named(self, name: str, uri: str) -> MlflowRegistry:
        if name in self._registries:
            return self._registries[name]
        raise PointsmanError(
            Kind.NOT_FOUND,
            f"{uri}: there is no registry {name!r}",
            hint=did_you_mean(name, self._registries)
            or f"start with --registry {name}=URL, or name the model elsewhere",
        )


class Preparer:
    """Prepares what was not prepared before; what was is found by everything it depends on."""

    def __init__(
        self, sources: Sources, blobs: BlobStore, engine: Engine, clock: Clock, wanted: Settings
    ) -> None:
        self._sources = sources
        self._blobs = blobs
        self._engine = engine
        self._clock = clock
        self._limits = preparation.Limits(
            memory_bytes=wanted.prepare_memory,
            timeout_s=wanted.prepare_timeout_s,
            cpu_s=wanted.prepare_timeout_s,
            model_bytes=wanted.prepare_model,
        )

    def known(
        self, version: ModelVersion, classes: tuple[str, ...], features: tuple[Feature, ...]
    ) -> str:
        """The digest of the artifact that was prepared before; empty where none was."""
        with reader(self._engine).connect() as connection:
            found = revisions.prepared(connection, _key(version, classes, features))
        return found if found and _complete(found, self._blobs) else ""

    def prepare(
        self, version: ModelVersion, classes: tuple[str, ...], features: tuple[Feature, ...]
    ) -> str:
        """The digest of the artifact. Blocking, for minutes; raises PointsmanError."""
        known = self.known(version, classes, features)
        if known:
            return known
        registry = self._sources.holder(version)
        made = preparation.fetch_and_prepare(
            registry, version, classes, features, self._blobs, self._limits
        )
        key, now_ms = _key(version, classes, features), self._clock.now_ms()
        with self._engine.begin() as connection:
            revisions.remember_prepared(connection, key, made.digest, version.uri, now_ms)
        return made.digest


def _complete(known: str, blobs: BlobStore) -> bool:
    if not blobs.has(known):
        return False
    manifest = preparation.load_manifest(known, blobs)
    return all(blobs.has(file.digest) for file in manifest.files)


def _key(version: ModelVersion, classes: tuple[str, ...], features: tuple[Feature, ...]) -> str:
    parts = (
        preparation.COMPILER,
        version.registry,
        version.uri,
        version.version,
        version.trusted,
        sorted(version.tags.items()),
        classes,
        features,
    )
    return digest(msgspec.json.encode(parts))
