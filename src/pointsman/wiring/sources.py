"""Where models come from, as the operator allows it: MLflow servers by name, and local paths."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from sqlalchemy import Engine

from pointsman.controller.candidate import Prepare
from pointsman.controller.system_routes import VerifyWebhook
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import Feature, digest
from pointsman.plugins.local import LocalRegistry
from pointsman.plugins.mlflow import MlflowRegistry, MlflowServer
from pointsman.plugins.mlflow_webhook import WebhookVerifier
from pointsman.ports import Clock, ModelVersion, Registry
from pointsman.runtime import preparation
from pointsman.runtime.blobs import BlobStore
from pointsman.store import revisions
from pointsman.store.database import reader
from pointsman.wiring.settings import Settings

LOCAL: Final = "local"
"""What `--trust-registry` calls the directories named by --allow-local."""


def registries(wanted: Settings) -> tuple[list[MlflowRegistry], LocalRegistry]:
    """Every source the operator allows. Raises PointsmanError for an address that is none."""
    servers = [
        MlflowRegistry(
            MlflowServer(name, url, name in wanted.trusted, file_roots=wanted.local_roots)
        )
        for name, url in wanted.registries.items()
    ]
    return servers, LocalRegistry(wanted.local_roots, trusted=LOCAL in wanted.trusted, name=LOCAL)


def webhooks(wanted: Settings, clock: Clock) -> dict[str, VerifyWebhook]:
    """By registry name; only registries with a secret take deliveries."""
    return {
        name: WebhookVerifier(secret, clock).verify
        for name, secret in wanted.webhook_secrets.items()
    }


class Sources:
    """All registries as one. A reference does not name its registry: the first that knows it has
    it, in the order the operator listed them."""

    def __init__(self, registries: Sequence[MlflowRegistry], local: Registry) -> None:
        self._registries = list(registries)
        self._local = local

    def resolve(self, uri: str) -> ModelVersion:
        """The pinned version. Raises PointsmanError: NOT_FOUND, FORBIDDEN, BACKEND_FAILED."""
        if uri.startswith(("/", "./", "file:")):
            return self._local.resolve(uri)
        if not self._registries:
            raise PointsmanError(
                Kind.NOT_FOUND,
                f"{uri}: no model registry is configured",
                hint="start with --registry NAME=URL (or POINTSMAN_REGISTRIES)",
            )
        unknown: PointsmanError | None = None
        for registry in self._registries:
            try:
                return registry.resolve(uri)
            except PointsmanError as error:
                if error.kind is not Kind.NOT_FOUND:
                    raise
                unknown = unknown or error
        raise unknown or PointsmanError(Kind.NOT_FOUND, f"{uri}: no registry knows it")

    def newest(self, names: Iterable[str]) -> dict[str, str]:
        """The highest version of each registered model, by name; unknown models are left out."""
        found: dict[str, str] = {}
        for registry in reversed(self._registries):
            seen = registry.poll(list(names))
            found |= {name: model.newest for name, model in seen.items() if model.newest}
        return found

    def holder(self, version: ModelVersion) -> Registry:
        """The registry a version came from."""
        for registry in (*self._registries, self._local):
            if registry.name == version.registry:
                return registry
        raise PointsmanError(
            Kind.UNAVAILABLE,
            f"{version.uri}: its registry {version.registry!r} is not configured any more",
            hint="start with --registry NAME=URL again, or name the model elsewhere",
        )


def preparer(sources: Sources, blobs: BlobStore, engine: Engine, clock: Clock) -> Prepare:
    """Prepares what was not prepared before; what was is found by everything it depends on."""

    def prepare(
        version: ModelVersion, classes: tuple[str, ...], features: tuple[Feature, ...]
    ) -> str:
        key = _key(version, classes, features)
        with reader(engine).connect() as connection:
            known = revisions.prepared(connection, key)
        if known and _complete(known, blobs):
            return known
        made = preparation.fetch_and_prepare(
            sources.holder(version), version, classes, features, blobs
        )
        with engine.begin() as connection:
            revisions.remember_prepared(connection, key, made.digest, version.uri, clock.now_ms())
        return made.digest

    return prepare


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
