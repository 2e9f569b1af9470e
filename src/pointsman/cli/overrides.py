"""Kill switches of this machine's gateway, written to its disk; no controller has a part in it."""

import getpass
from pathlib import Path

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import ProjectTable
from pointsman.gateway.loader import decode
from pointsman.gateway.manifest import LAST_GOOD, read_manifest
from pointsman.gateway.overrides import FILE, Switch, lift_switch, set_switch
from pointsman.runtime.blobs import BlobStore


def switch(data: Path, target: str, reason: str, *, on: bool) -> bool:
    """Whether anything changed. Workers heed it within half a second.

    Raises PointsmanError: NOT_FOUND where no gateway has run on this directory.
    """
    path = _gateway(data) / FILE
    if on:
        return set_switch(path, Switch(target, actor=getpass.getuser(), reason=reason))
    return lift_switch(path, target)


def growing(data: Path, project: str) -> str:
    """The variant that this gateway's own table sends a rollout's traffic to.

    project: `tenant/project`
    Raises PointsmanError: NOT_FOUND where no gateway has run on this directory, or its table has no
    rollout that splits traffic; INVALID where the table cannot be read.
    """
    table = _table(data, project)
    guards = table.guards if table is not None else ()
    if not guards:
        raise PointsmanError(
            Kind.NOT_FOUND,
            f"{project}: no rollout splits its traffic in the table of this gateway",
            hint="name what is to lose its traffic with --variant",
        )
    return guards[0].variant


def _table(data: Path, project: str) -> ProjectTable | None:
    """As this machine's gateway serves it; None where it has none of that name."""
    gateway = _gateway(data)
    try:
        manifest = read_manifest((gateway / LAST_GOOD).read_bytes())
    except FileNotFoundError:
        return None
    # Beside a controller its own blobs are used, elsewhere those that were fetched.
    stores = [BlobStore(at) for at in (gateway / "blobs", data / "blobs") if at.is_dir()]
    for row in manifest.rows:
        if f"{row.tenant}/{row.project}" == project:
            for store in stores:
                if store.path(row.digest).exists():
                    return decode(row, store.read(row.digest))
    return None


def _gateway(data: Path) -> Path:
    gateway = data / "gateway"
    if not gateway.is_dir():
        raise PointsmanError(
            Kind.NOT_FOUND,
            f"{data} is no data directory of a gateway: there is no {gateway}",
            hint="name it with --data; every start prints it",
        )
    return gateway
