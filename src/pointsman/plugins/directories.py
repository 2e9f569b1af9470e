"""Model directories on local disk: only below roots the operator allows, never through links."""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from pointsman.domain.errors import Kind, PointsmanError

MAX_BYTES: Final = 2 << 30
MAX_FILES: Final = 2_000


def allowed(path: Path, roots: Sequence[Path], asked: str) -> Path:
    """The directory with every link on the way resolved, if it is below a root.

    Raises PointsmanError: FORBIDDEN outside of the roots, whether it exists or not; NOT_FOUND where
    there is no directory.
    """
    real = Path(os.path.realpath(path))
    if not any(real.is_relative_to(os.path.realpath(root)) for root in roots):
        where = ", ".join(map(str, roots)) or "none are allowed"
        raise PointsmanError(
            Kind.FORBIDDEN,
            f"{asked} is not below a directory that models may be read from ({where})",
            hint="move the model there, or let the operator allow its directory",
        )
    if not real.is_dir():
        raise PointsmanError(
            Kind.NOT_FOUND,
            f"{asked}: there is no such directory",
            hint="give the directory that holds the MLmodel file",
        )
    return real


def files(directory: Path) -> Iterator[tuple[str, Path, os.stat_result]]:
    """Relative name, path and status of every file, by name.

    Raises PointsmanError: FORBIDDEN for anything that is not a plain file with one name, TOO_LARGE.
    """
    found = []
    for parent, directories, names in os.walk(directory, followlinks=False):
        links = [d for d in directories if (Path(parent) / d).is_symlink()]
        found += [Path(parent) / name for name in (*names, *links)]
    total = 0
    for i, path in enumerate(sorted(found)):
        status = path.lstat()
        name = path.relative_to(directory).as_posix()
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise PointsmanError(
                Kind.FORBIDDEN,
                f"{name} in the model is a link or no plain file",
                hint="put a copy of the file in its place",
            )
        total += status.st_size
        if total > MAX_BYTES or i >= MAX_FILES:
            raise PointsmanError(
                Kind.TOO_LARGE,
                f"the model has more than {MAX_BYTES >> 20:,} MiB or {MAX_FILES:,} files",
                hint="serve it from a model server",
            )
        yield name, path, status


def digest(directory: Path) -> str:
    """Hex SHA-256 over the names and contents of all files."""
    whole = hashlib.sha256()
    for name, path, _ in files(directory):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{name}\0{content}\n".encode())
    return whole.hexdigest()


def copy(directory: Path, into: Path) -> None:
    """Copies every file below `into`. A file that turns into a link on the way is refused."""
    for name, path, _ in files(directory):
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as source, target.open("xb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)


def read(directory: Path, name: str, limit_bytes: int) -> bytes | None:
    """One file below a directory, never through a link; None where there is no plain file.

    Raises PointsmanError(TOO_LARGE).
    """
    path = directory / name
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(directory)):
        return None
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        content = file.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise PointsmanError(Kind.TOO_LARGE, f"{name} has more than {limit_bytes:,} bytes")
    return content
