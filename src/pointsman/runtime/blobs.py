"""Content-addressed files on local disk: a blob's name is the SHA-256 of its bytes.

A blob appears whole or not at all (temporary file, fsync, rename, fsync of the directory), is never
changed, and is checked each time it is read, so that what was proved is what is loaded. Several
processes may share one store.
"""

import errno
import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from pointsman.domain.errors import Kind, PointsmanError

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_CHUNK: Final = 1 << 20
_STALE_S: Final = 3600.0
"""Temporary files older than this were left by a process that died; a live writer is quicker."""


class BlobStore:
    """Blobs below one directory: `sha256/<first two hex digits>/<digest>`, temporary ones in `tmp`.

    The directory belongs to us: only its owner can read it, and anything in it that is not a plain
    file with exactly one name (a symbolic link, a hard link, a device) is refused.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._tmp = root / "tmp"
        self._blobs = root / "sha256"
        for directory in (root, self._tmp, self._blobs):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._remove_stale()

    @property
    def root(self) -> Path:
        return self._root

    def path(self, digest: str) -> Path:
        """Where the blob is, or would be. Raises PointsmanError(INVALID) for a malformed digest."""
        if _DIGEST.fullmatch(digest) is None:
            raise PointsmanError(
                Kind.INVALID,
                f"not a blob digest: {digest[:80]!r}",
                hint="a digest is 64 lowercase hexadecimal digits",
            )
        return self._blobs / digest[:2] / digest

    def has(self, digest: str) -> bool:
        """Whether a readable blob of that name is here. Its bytes are checked by `read`."""
        try:
            status = self.path(digest).lstat()
        except FileNotFoundError:
            return False
        return stat.S_ISREG(status.st_mode) and status.st_nlink == 1

    def put_bytes(self, blob: bytes, *, expected: str = "") -> str:
        """The digest under which the bytes are now durable.

        expected: digest the bytes must have; PointsmanError(BACKEND_FAILED) where they do not
        """
        digest = hashlib.sha256(blob).hexdigest()
        _check_expected(digest, expected)
        if self._sound(digest):
            return digest
        handle, name = tempfile.mkstemp(dir=self._tmp)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(blob)
                _sync(file)
            self._publish(Path(name), digest)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return digest

    def put_file(self, source: Path, *, expected: str = "") -> str:
        """As `put_bytes`, for a file of any size. A symbolic link is refused."""
        handle, name = tempfile.mkstemp(dir=self._tmp)
        hasher = hashlib.sha256()
        try:
            with os.fdopen(handle, "wb") as file, _open_plain(source, one_name=False) as reading:
                while chunk := reading.read(_CHUNK):
                    hasher.update(chunk)
                    file.write(chunk)
                _sync(file)
            digest = hasher.hexdigest()
            _check_expected(digest, expected)
            self._publish(Path(name), digest)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return digest

    def read(self, digest: str) -> bytes:
        """The blob's bytes, checked against their name.

        Raises PointsmanError: UNAVAILABLE where it is missing, INTERNAL where it is damaged.
        """
        path = self.path(digest)
        try:
            with _open_plain(path, one_name=True) as file:
                blob = file.read()
        except FileNotFoundError:
            raise PointsmanError(
                Kind.UNAVAILABLE,
                f"blob {digest} is not in {self._root}",
                hint="it is fetched again with the next table, or prepare the model again",
            ) from None
        if hashlib.sha256(blob).hexdigest() != digest:
            raise PointsmanError(
                Kind.INTERNAL,
                f"blob {digest} in {self._root} is damaged: its bytes do not match its name",
                hint="check the disk; remove the file and it is fetched or prepared again",
            )
        return blob

    def remove(self, digest: str) -> bool:
        """Whether a blob was there to be removed."""
        try:
            self.path(digest).unlink()
        except FileNotFoundError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        """Digests of all blobs here, in no order; for collecting what no table names any more."""
        for directory in self._blobs.iterdir():
            if directory.is_dir():
                for file in directory.iterdir():
                    if _DIGEST.fullmatch(file.name) is not None:
                        yield file.name

    def _sound(self, digest: str) -> bool:
        # A damaged copy must not win over the good bytes in hand.
        try:
            self.read(digest)
        except PointsmanError:
            return False
        return True

    def _publish(self, temporary: Path, digest: str) -> None:
        target = self.path(digest)
        fresh = not target.parent.exists()
        target.parent.mkdir(mode=0o700, exist_ok=True)
        temporary.replace(target)
        _sync_directory(target.parent)
        if fresh:
            _sync_directory(self._blobs)

    def _remove_stale(self) -> None:
        oldest = time.time() - _STALE_S
        for file in self._tmp.iterdir():
            try:
                status = file.lstat()
                if status.st_mtime >= oldest:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    shutil.rmtree(file, ignore_errors=True)
                else:
                    file.unlink()
            except FileNotFoundError:
                continue  # another process was quicker


def _check_expected(digest: str, expected: str) -> None:
    if expected and digest != expected:
        raise PointsmanError(
            Kind.BACKEND_FAILED,
            f"blob arrived damaged: expected {expected}, got {digest}",
            hint="fetch it again; if it stays so, the sender's store is damaged",
        )


def _open_plain(path: Path, *, one_name: bool) -> BinaryIO:
    """The open file. one_name: also refuse a file that has further hard links."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _refused(path, "it is a symbolic link") from None
        raise
    status = os.fstat(handle)
    problem = ""
    if not stat.S_ISREG(status.st_mode):
        problem = "it is not a plain file"
    elif one_name and status.st_nlink != 1:
        problem = f"it has {status.st_nlink} names (hard links)"
    if problem:
        os.close(handle)
        raise _refused(path, problem)
    return os.fdopen(handle, "rb")


def _refused(path: Path, why: str) -> PointsmanError:
    return PointsmanError(
        Kind.FORBIDDEN,
        f"{path} is refused: {why}",
        hint="only plain files with one name are read; copy the file in place of the link",
    )


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
