"""Local model directories: below allowed roots, versioned by what is in them."""

from pathlib import Path

import pytest

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.plugins.local import LocalRegistry


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "root" / "model"
    (path / "inner").mkdir(parents=True)
    (path / "MLmodel").write_text("flavors: {}")
    (path / "inner" / "data").write_bytes(b"abc")
    return path


@pytest.fixture
def registry(tmp_path: Path) -> LocalRegistry:
    return LocalRegistry([tmp_path / "root"], trusted=True)


def test_the_version_is_what_is_in_the_directory(registry: LocalRegistry, model: Path) -> None:
    """Path and file URI resolve alike; a changed file is another version."""
    first = registry.resolve(str(model))
    assert registry.resolve(f"file://{model}").version == first.version
    assert first.trusted
    (model / "inner" / "data").write_bytes(b"abd")

    assert registry.resolve(str(model)).version != first.version


def test_download_copies_all_of_it(registry: LocalRegistry, model: Path, tmp_path: Path) -> None:
    """The copy is complete; a directory that changed since is refused."""
    version = registry.resolve(str(model))
    registry.download(version, tmp_path / "copy")
    assert (tmp_path / "copy" / "inner" / "data").read_bytes() == b"abc"
    (model / "MLmodel").write_text("flavors: {x: y}")

    with pytest.raises(PointsmanError) as raised:
        registry.download(version, tmp_path / "again")
    assert raised.value.kind is Kind.CONFLICT


@pytest.mark.parametrize("uri", ["/etc", "file:///etc/passwd", "/no/such/place"])
def test_outside_of_the_roots(registry: LocalRegistry, model: Path, uri: str) -> None:
    """What lies elsewhere is forbidden, whether it exists or not."""
    with pytest.raises(PointsmanError) as raised:
        registry.resolve(uri)

    assert raised.value.kind is Kind.FORBIDDEN


def test_links_out_of_the_root(registry: LocalRegistry, model: Path) -> None:
    """Neither a linked directory nor a linked file inside of a model leads out."""
    (model.parent / "away").symlink_to("/etc")
    with pytest.raises(PointsmanError) as raised:
        registry.resolve(str(model.parent / "away"))
    assert raised.value.kind is Kind.FORBIDDEN
    (model / "inner" / "passwd").symlink_to("/etc/passwd")

    with pytest.raises(PointsmanError, match="link"):
        registry.resolve(str(model))


@pytest.mark.parametrize(
    "uri", ["model", "../model", "file:model", "file://host/m", "/a/../b", "/a\0"]
)
def test_what_is_no_path(registry: LocalRegistry, uri: str) -> None:
    """Relative paths depend on where the controller was started, so there are none."""
    with pytest.raises(PointsmanError) as raised:
        registry.resolve(uri)

    assert raised.value.kind is Kind.INVALID


def test_a_missing_directory(registry: LocalRegistry, model: Path) -> None:
    """Inside of a root, absence may be told."""
    with pytest.raises(PointsmanError) as raised:
        registry.resolve(str(model.parent / "other"))

    assert raised.value.kind is Kind.NOT_FOUND
