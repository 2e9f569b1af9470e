"""Content-addressed blobs: whole or absent, checked when read, never through a link."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.runtime.blobs import BlobStore

ABC = hashlib.sha256(b"abc").hexdigest()


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def test_a_blob_is_named_by_its_bytes(blobs: BlobStore, tmp_path: Path) -> None:
    """Bytes and files with the same content are one blob."""
    source = tmp_path / "source"
    source.write_bytes(b"abc")

    assert blobs.put_bytes(b"abc") == ABC == blobs.put_file(source)
    assert blobs.read(ABC) == b"abc"
    assert blobs.path(ABC) == blobs.root / "sha256" / ABC[:2] / ABC
    assert list(blobs) == [ABC]
    assert list((blobs.root / "tmp").iterdir()) == []


def test_bytes_that_are_not_what_was_promised_are_refused(blobs: BlobStore, tmp_path: Path) -> None:
    """A damaged transfer leaves nothing behind."""
    source = tmp_path / "source"
    source.write_bytes(b"abd")
    with pytest.raises(PointsmanError, match="damaged"):
        blobs.put_bytes(b"abd", expected=ABC)
    with pytest.raises(PointsmanError, match="damaged"):
        blobs.put_file(source, expected=ABC)

    assert list(blobs) == []
    assert list((blobs.root / "tmp").iterdir()) == []


def test_damage_on_disk_is_noticed_and_healed(blobs: BlobStore) -> None:
    """A flipped byte is never handed out; putting the good bytes again repairs the blob."""
    blobs.put_bytes(b"abc")
    blobs.path(ABC).write_bytes(b"abX")
    with pytest.raises(PointsmanError, match="do not match") as raised:
        blobs.read(ABC)

    assert raised.value.kind is Kind.INTERNAL
    blobs.put_bytes(b"abc")
    assert blobs.read(ABC) == b"abc"


def test_missing_blob(blobs: BlobStore) -> None:
    """A blob that is not here says so, and can be asked for politely."""
    with pytest.raises(PointsmanError) as raised:
        blobs.read(ABC)

    assert raised.value.kind is Kind.UNAVAILABLE
    assert not blobs.has(ABC)
    assert not blobs.remove(ABC)


@pytest.mark.parametrize("bad", ["", "../../etc/passwd", "A" * 64, ABC + "\n", ABC[:-1], "/" * 64])
def test_names_that_are_no_digests_are_refused(blobs: BlobStore, bad: str) -> None:
    """No text from outside becomes a path unless it is a digest."""
    with pytest.raises(PointsmanError) as raised:
        blobs.path(bad)

    assert raised.value.kind is Kind.INVALID


def test_links_are_refused(blobs: BlobStore, tmp_path: Path) -> None:
    """Neither a symbolic nor a hard link in the store is read, nor a link as a source."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"abc")
    target = blobs.path(ABC)
    target.parent.mkdir()
    target.symlink_to(secret)
    with pytest.raises(PointsmanError, match="symbolic link"):
        blobs.read(ABC)
    with pytest.raises(PointsmanError, match="symbolic link"):
        blobs.put_file(target)
    assert not blobs.has(ABC)
    target.unlink()
    os.link(secret, target)

    with pytest.raises(PointsmanError, match="hard links"):
        blobs.read(ABC)
    assert not blobs.has(ABC)


def test_a_named_pipe_does_not_hang(blobs: BlobStore) -> None:
    """Opening something that is not a plain file returns at once, with a refusal."""
    target = blobs.path(ABC)
    target.parent.mkdir()
    os.mkfifo(target)
    with pytest.raises(PointsmanError, match="plain file"):
        blobs.read(ABC)


def test_leftovers_of_dead_writers_are_removed(blobs: BlobStore) -> None:
    """Old temporary files go when a store is opened; young ones may have a writer."""
    old, young = blobs.root / "tmp" / "old", blobs.root / "tmp" / "young"
    directory = blobs.root / "tmp" / "directory"
    directory.mkdir()
    (directory / "inside").write_bytes(b"")
    old.write_bytes(b"")
    young.write_bytes(b"")
    for leftover in (old, directory):
        os.utime(leftover, (time.time() - 7200,) * 2)
    BlobStore(blobs.root)

    assert not old.exists()
    assert not directory.exists()
    assert young.exists()
