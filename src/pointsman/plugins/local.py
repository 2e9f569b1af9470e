"""Models in directories of this machine, as `mlflow.*.save_model` writes them.

A path has no versions: the digest of its files stands in for one, so a changed directory is another
version, and a table pins what was prepared, not what lies there later.
"""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.plugins import directories
from pointsman.ports import ModelVersion

VERSION_DIGITS = 12


class LocalRegistry:
    """Model directories below `roots`. trusted: whether formats that carry code may be loaded."""

    def __init__(
        self, roots: Sequence[Path], *, trusted: bool = False, name: str = "local"
    ) -> None:
        self._roots = tuple(roots)
        self._trusted = trusted
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def resolve(self, uri: str) -> ModelVersion:
        """uri: an absolute path or a `file:` URI. The version is the digest of what is there."""
        path = directories.allowed(local_path(uri), self._roots, uri)
        return ModelVersion(
            uri=str(path),
            asked=uri,
            version=directories.digest(path)[:VERSION_DIGITS],
            registry=self._name,
            trusted=self._trusted,
            download=str(path),
        )

    def download(self, version: ModelVersion, into: Path) -> None:
        path = directories.allowed(Path(version.download), self._roots, version.asked)
        directories.copy(path, into)
        if directories.digest(into)[:VERSION_DIGITS] != version.version:
            raise PointsmanError(
                Kind.CONFLICT,
                f"{version.asked} changed after it was resolved to {version.version}",
                hint="apply again to take what is there now",
            )

    def attached(self, version: ModelVersion, name: str, limit_bytes: int) -> bytes | None:
        """A file of the version's directory; None where there is none, or the directory has changed
        since. Raises PointsmanError(TOO_LARGE)."""
        path = directories.allowed(Path(version.download), self._roots, version.asked)
        if directories.digest(path)[:VERSION_DIGITS] != version.version:
            return None
        return directories.read(path, name, limit_bytes)


def local_path(uri: str) -> Path:
    """The path of an absolute path or `file:` URI. Raises PointsmanError(INVALID)."""
    if uri.startswith("/"):
        text = uri
    else:
        parts = urlsplit(uri)
        text = unquote(parts.path)
        if parts.scheme != "file" or parts.netloc not in {"", "localhost"} or parts.query:
            text = ""
    if not text.startswith("/") or "\0" in text or ".." in Path(text).parts:
        raise PointsmanError(
            Kind.INVALID,
            f"{uri!r} is not an absolute path",
            hint="write it from the root, without `..`: /models/income",
        )
    return Path(text)
