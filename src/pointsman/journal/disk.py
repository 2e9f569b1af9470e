"""The system calls writers make, in one place, so that tests can make each of them fail."""

import os
from pathlib import Path
from typing import Final


class Disk:
    """Plain system calls; every method raises OSError as the kernel says."""

    def create(self, path: Path) -> int:
        """Descriptor of a new file that only its owner can read; fails if there is one."""
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(path, flags, 0o600)

    def open(self, path: Path) -> int:
        """Descriptor of a file that is there, to sync it by."""
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def replace(self, source: Path, target: Path) -> None:
        """Renames a file over another one."""
        source.replace(target)

    def write(self, descriptor: int, data: bytes) -> int:
        """Bytes written, which may be fewer than given."""
        return os.write(descriptor, data)

    def truncate(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        os.fdatasync(descriptor)

    def sync_directory(self, path: Path) -> None:
        """Makes names in a directory durable: created, renamed and removed ones."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def free_bytes(self, path: Path) -> int:
        """What an unprivileged process can still write below a directory."""
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize


DISK: Final = Disk()
