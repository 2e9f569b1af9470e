"""Kill switches of this machine's gateway, written to its disk; no controller has a part in it."""

import getpass
from pathlib import Path

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.gateway.overrides import FILE, Switch, lift_switch, set_switch


def switch(data: Path, target: str, reason: str, *, on: bool) -> bool:
    """Whether anything changed. Workers heed it within half a second.

    Raises PointsmanError: NOT_FOUND where no gateway has run on this directory.
    """
    gateway = data / "gateway"
    if not gateway.is_dir():
        raise PointsmanError(
            Kind.NOT_FOUND,
            f"{data} is no data directory of a gateway: there is no {gateway}",
            hint="name it with --data; every start prints it",
        )
    path = gateway / FILE
    if on:
        return set_switch(path, Switch(target, actor=getpass.getuser(), reason=reason))
    return lift_switch(path, target)
