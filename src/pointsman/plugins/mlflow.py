"""The MLflow model registry over its REST API, as release 3.17 behaves.

The mlflow package is not imported: it takes seconds and hundreds of megabytes. A version's `source`
is `models:/m-<id>`, not a path, so artifacts are found through `get-download-uri`; an unknown alias
answers 400, not 404. All that is ever written is an alias and tags, after a rollout, and a profile
beside a model, when somebody asks for that. All methods block and belong off the event loop.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, NoReturn
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.plugins import directories
from pointsman.plugins.http import Answer, HttpClient
from pointsman.plugins.local import local_path
from pointsman.ports import ModelVersion, Registered

_API: Final = "/api/2.0/mlflow"
_ARTIFACTS: Final = "/api/2.0/mlflow-artifacts/artifacts"
_MAX_DEPTH: Final = 8
_TAG_BYTES: Final = 4_000
_DOWNLOAD_S: Final = 600.0
_FILE_S: Final = 30.0
_ALIAS: Final = re.compile(r"models:/(?P<name>[^/@:]+)@(?P<alias>[A-Za-z0-9_-]{1,255})")
_VERSION: Final = re.compile(r"models:/(?P<name>[^/@:]+)/(?P<version>[1-9][0-9]{0,9})")
_LOGGED: Final = re.compile(r"models:/(?P<id>m-[0-9a-f]{32})")
_RUN: Final = re.compile(r"runs:/(?P<id>[0-9a-f]{32})/(?P<path>[^\0]+)")
_ABSENT: Final = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})


class MlflowServer(msgspec.Struct, frozen=True):
    """An MLflow server as the operator configures it.

    name: of the registry, for people; url: of the server, without `/api`
    trusted: whether formats that carry code may be loaded from it
    authorization: makes the value of the Authorization header, empty for none
    file_roots: directories that `file:` artifact locations may be below; none unless allowed
    timeout_s: for connecting and for each wait for bytes
    """

    name: str
    url: str
    trusted: bool = False
    authorization: Callable[[], str] = str
    file_roots: tuple[Path, ...] = ()
    timeout_s: float = 10.0


class MlflowRegistry:
    """The registry of one MLflow server."""

    def __init__(self, server: MlflowServer) -> None:
        self._name = server.name
        self._trusted = server.trusted
        self._file_roots = server.file_roots
        self._client = HttpClient(
            server.url, authorization=server.authorization, timeout_s=server.timeout_s
        )

    @property
    def name(self) -> str:
        return self._name

    def check(self) -> None:
        """Asks for one registered model. Raises PointsmanError where the registry does not answer,
        or not to us."""
        try:
            self._get("registered-models/search", max_results="1")
        except Answer as answer:
            self._refused(self._client.url, answer)

    def resolve(self, uri: str) -> ModelVersion:
        """The version behind a URI: `models:/name@alias` or `/3`, `models:/m-…`, `runs:/id/path`.

        Raises PointsmanError: INVALID for any other URI, NOT_FOUND, BACKEND_FAILED, and FORBIDDEN
        for artifacts in a place the operator does not allow.
        """
        try:
            if match := _ALIAS.fullmatch(uri):
                found = self._get(
                    "registered-models/alias", name=match["name"], alias=match["alias"]
                )
                return self._registered(uri, found)
            if match := _VERSION.fullmatch(uri):
                found = self._get(
                    "model-versions/get", name=match["name"], version=match["version"]
                )
                return self._registered(uri, found)
            if match := _LOGGED.fullmatch(uri):
                return self._logged(uri, match["id"])
            if match := _RUN.fullmatch(uri):
                return self._run(uri, match["id"], match["path"])
        except Answer as answer:
            self._refused(uri, answer)
        raise PointsmanError(
            Kind.INVALID,
            f"{uri!r} is not a model URI",
            hint="write models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN_ID/PATH",
        )

    def download(self, version: ModelVersion, into: Path) -> None:
        """Fetches every file. What the server lists is not trusted: names, sizes, depth, time."""
        location = version.download
        try:
            if urlsplit(location).scheme == "mlflow-artifacts":
                fetch = _Fetch(self._client, time.monotonic() + _DOWNLOAD_S)
                fetch.directory(_artifact_path(location, self._client.host), into, 0)
                return
        except Answer as answer:
            self._refused(version.asked, answer)
        directories.copy(self._local(location, version.asked), into)

    def attached(self, version: ModelVersion, name: str, limit_bytes: int) -> bytes | None:
        """A file of the version's directory; None where there is none of that name.

        Raises PointsmanError: BACKEND_FAILED, TOO_LARGE past `limit_bytes`.
        """
        return self._file(version.download, name, limit_bytes, version.asked)

    def of_run(self, uri: str, limit_bytes: int) -> bytes | None:
        """A file that a run logged (`runs:/ID/PATH`); None where there is none.

        Raises as `attached`, and INVALID for another URI.
        """
        match = _RUN.fullmatch(uri)
        if match is None:
            raise PointsmanError(
                Kind.INVALID,
                f"{uri[:200]!r} names no file of a run",
                hint="write runs:/RUN_ID/PATH",
            )
        _plain(match["path"])
        try:
            run = self._get("runs/get", run_id=match["id"]).get("run")
        except Answer as answer:
            if answer.status == 404 or answer.code in _ABSENT:
                return None
            self._refused(uri, answer)
        if not isinstance(run, dict):
            raise self._nonsense("runs/get")
        return self._file(str(run["info"]["artifact_uri"]), match["path"], limit_bytes, uri)

    def attach(self, version: ModelVersion, name: str, content: bytes) -> None:
        """Puts a file into the version's directory, or writes over it.

        Raises PointsmanError: FORBIDDEN where the server does not take artifacts for others,
        BACKEND_FAILED.
        """
        if urlsplit(version.download).scheme != "mlflow-artifacts":
            raise PointsmanError(
                Kind.FORBIDDEN,
                f"{version.asked}: the server does not keep its files, they are at "
                f"{version.download[:200]!r}",
                hint=f"put {name} beside its MLmodel file, or log it in the run and name it in the "
                "version's tag `pointsman.profile`",
            )
        path = _artifact_path(version.download, self._client.host)
        try:
            self._client.put(f"{_ARTIFACTS}/{quote(path)}/{quote(name)}", content)
        except Answer as answer:
            self._refused(version.asked, answer)

    def _file(self, location: str, name: str, limit_bytes: int, asked: str) -> bytes | None:
        if urlsplit(location).scheme != "mlflow-artifacts":
            return directories.read(self._local(location, asked), name, limit_bytes)
        path = f"{_artifact_path(location, self._client.host)}/{name}"
        try:
            chunks = self._client.stream(f"{_ARTIFACTS}/{quote(path)}", limit_bytes, _FILE_S)
            return b"".join(chunks)
        except Answer as answer:
            # A store below the server may call what is not there an error of its own.
            if answer.status == 404 or answer.code in _ABSENT or not self._lists(path):
                return None
            self._refused(asked, answer)

    def _lists(self, path: str) -> bool:
        """Whether the server lists a file at the path."""
        directory, _, name = path.rpartition("/")
        try:
            listed = self._client.json(f"{_ARTIFACTS}?{urlencode({'path': directory})}", {})
        except Answer:
            return True
        return any(
            isinstance(one, dict) and one.get("path") == name for one in listed.get("files") or ()
        )

    def poll(self, names: Sequence[str]) -> dict[str, Registered]:
        """Aliases and newest version of each model, one cheap request each.

        Models that do not exist are left out. Raises PointsmanError(BACKEND_FAILED).
        """
        found = {}
        for name in names:
            try:
                model = self._get("registered-models/get", name=name).get("registered_model")
            except Answer as answer:
                if answer.status == 404 or answer.code in _ABSENT:
                    continue
                self._refused(f"models:/{name}", answer)
            if not isinstance(model, dict):
                raise self._nonsense("registered-models/get")
            aliases = {str(a["alias"]): str(a["version"]) for a in model.get("aliases") or ()}
            versions = [int(v["version"]) for v in model.get("latest_versions") or ()]
            found[name] = Registered(aliases, str(max(versions)) if versions else "")
        return found

    def write_back(self, source: str, alias: str, tags: Mapping[str, str]) -> None:
        """Tags a version (`models:/name/3`), then moves an alias to it.

        Raises PointsmanError: INVALID for a source that is no registered version, NOT_FOUND,
        BACKEND_FAILED.
        """
        match = _VERSION.fullmatch(source)
        if match is None:
            raise PointsmanError(
                Kind.INVALID,
                f"{source} is no registered version, so no alias can point to it",
                hint="roll out models:/NAME@ALIAS or models:/NAME/VERSION",
            )
        version = {"name": match["name"], "version": match["version"]}
        try:
            for key, value in tags.items():
                document = {**version, "key": key, "value": value[:_TAG_BYTES]}
                self._client.post(f"{_API}/model-versions/set-tag", document)
            self._client.post(f"{_API}/registered-models/alias", {**version, "alias": alias})
        except Answer as answer:
            self._refused(source, answer)

    def _registered(self, asked: str, answer: dict[str, Any]) -> ModelVersion:
        found = answer.get("model_version")
        if not isinstance(found, dict) or not found.get("name") or not found.get("version"):
            raise self._nonsense("model-versions/get")
        name, version = str(found["name"]), str(found["version"])
        if found.get("status") not in {None, "READY"}:
            raise PointsmanError(
                Kind.UNAVAILABLE,
                f"{asked}: version {version} is {found['status']}",
                hint="wait until the registry says READY",
            )
        location = self._get("model-versions/get-download-uri", name=name, version=version)
        tags = {str(t["key"]): str(t.get("value", "")) for t in found.get("tags") or ()}
        return self._version(
            f"models:/{name}/{version}", asked, version, str(location.get("artifact_uri")), tags
        )

    def _logged(self, asked: str, model_id: str) -> ModelVersion:
        info = self._logged_info(model_id)
        location = str(info.get("artifact_uri"))
        return self._version(f"models:/{model_id}", asked, model_id[2:14], location, _tags(info))

    def _logged_info(self, model_id: str) -> dict[str, Any]:
        model = self._get(f"logged-models/{quote(model_id, safe='')}").get("model")
        if not isinstance(model, dict) or not isinstance(model.get("info"), dict):
            raise self._nonsense("logged-models")
        info: dict[str, Any] = model["info"]
        return info

    def _run(self, asked: str, run_id: str, path: str) -> ModelVersion:
        _plain(path)
        run = self._get("runs/get", run_id=run_id).get("run")
        if not isinstance(run, dict):
            raise self._nonsense("runs/get")
        # Since MLflow 3 a run's model is an entity of its own, with the path as its name.
        for output in (run.get("outputs") or {}).get("model_outputs") or ():
            info = self._logged_info(str(output["model_id"]))
            if info.get("name") == path:
                location = str(info.get("artifact_uri"))
                return self._version(asked, asked, run_id[:12], location, _tags(info))
        location = f"{run['info']['artifact_uri']}/{path}"
        return self._version(asked, asked, run_id[:12], location, {})

    def _version(
        self, uri: str, asked: str, version: str, location: str, tags: dict[str, str]
    ) -> ModelVersion:
        if urlsplit(location).scheme == "mlflow-artifacts":
            _artifact_path(location, self._client.host)
        else:
            self._local(location, asked)  # refused now, not after everything else
        return ModelVersion(uri, asked, version, self._name, self._trusted, location, tags)

    def _local(self, location: str, asked: str) -> Path:
        """A `file:` location of the registry, where the operator allows it."""
        if urlsplit(location).scheme not in {"file", ""}:
            raise PointsmanError(
                Kind.FORBIDDEN,
                f"{asked}: its files are at {location[:200]!r}, which we cannot read",
                hint="let the MLflow server hand out artifacts (`mlflow server --serve-artifacts`)",
            )
        return directories.allowed(local_path(location), self._file_roots, asked)

    def _get(self, call: str, **query: str) -> dict[str, Any]:
        return self._client.json(f"{_API}/{call}", query)

    def _refused(self, uri: str, answer: Answer) -> NoReturn:
        if answer.status == 404 or answer.code in _ABSENT:
            raise PointsmanError(
                Kind.NOT_FOUND,
                f"{uri}: {answer.message or 'not in the registry'}",
                hint=f"look at {self._client.url} for the names, versions and aliases there are",
            ) from None
        raise PointsmanError(
            Kind.BACKEND_FAILED,
            f"{uri}: the registry at {self._client.url} answered {answer.status} {answer.code}: "
            f"{answer.message}",
            hint="look at the registry's own log",
        ) from None

    def _nonsense(self, call: str) -> PointsmanError:
        return PointsmanError(
            Kind.BACKEND_FAILED,
            f"the registry at {self._client.url} answered {call} with something unexpected",
            hint="is it an MLflow server, and is its release one of those supported?",
        )


class _Fetch:
    """One download: what is left of its limits."""

    def __init__(self, client: HttpClient, deadline: float) -> None:
        self._client = client
        self._deadline = deadline
        self._bytes = directories.MAX_BYTES
        self._files = directories.MAX_FILES

    def directory(self, path: str, into: Path, depth: int) -> None:
        listed = self._client.json(f"{_ARTIFACTS}?{urlencode({'path': path})}", {}).get("files")
        if depth == 0 and not listed:
            raise PointsmanError(Kind.NOT_FOUND, f"the registry has no files at {path}")
        for entry in listed or ():
            name = str(entry.get("path", "")) if isinstance(entry, dict) else ""
            if not name or name in {".", ".."} or "/" in name or "\\" in name or "\0" in name:
                raise PointsmanError(
                    Kind.FORBIDDEN, f"the registry lists a file with the name {name[:100]!r}"
                )
            self._files -= 1
            if self._files < 0 or depth > _MAX_DEPTH:
                raise PointsmanError(Kind.TOO_LARGE, "the model has too many files")
            if entry.get("is_dir"):
                (into / name).mkdir()
                self.directory(f"{path}/{name}", into / name, depth + 1)
            else:
                self._file(f"{path}/{name}", into / name)

    def _file(self, path: str, target: Path) -> None:
        left_s = self._deadline - time.monotonic()
        with target.open("xb") as file:
            for chunk in self._client.stream(f"{_ARTIFACTS}/{quote(path)}", self._bytes, left_s):
                self._bytes -= len(chunk)
                file.write(chunk)


def _artifact_path(location: str, host: str) -> str:
    """The path below the server's artifact root. Raises PointsmanError(FORBIDDEN)."""
    parts = urlsplit(location)
    if parts.hostname not in {None, host}:
        raise PointsmanError(
            Kind.FORBIDDEN,
            f"the registry sends us to another host for its files: {parts.hostname}",
            hint="configure that server as a registry of its own",
        )
    path = parts.path.lstrip("/")
    _plain(path)
    return path


def _plain(path: str) -> None:
    if ".." in PurePosixPath(path).parts or path.startswith("/") or "\\" in path or "\0" in path:
        raise PointsmanError(
            Kind.FORBIDDEN,
            f"{path[:100]!r} leads out of the registry's artifacts",
            hint="write the path without `..`",
        )


def _tags(info: dict[str, Any]) -> dict[str, str]:
    return {str(t["key"]): str(t.get("value", "")) for t in info.get("tags") or ()}
