"""Kill switches set at the controller. Gateways get them with the table, at once.

A gateway has switches of its own on its disk, which need no controller (`pointsman kill --local`).
"""

from pointsman.controller.ledger import Ledger
from pointsman.controller.projects import Intent, Projects
from pointsman.decide.live import check_switch
from pointsman.store import published
from pointsman.store.audit import Entry
from pointsman.store.published import KillSwitch


class Switches:
    """Sets, lifts and lists kill switches."""

    def __init__(self, ledger: Ledger, projects: Projects) -> None:
        self._ledger = ledger
        self._projects = projects

    def kill(self, name: str, variant: str, intent: Intent) -> tuple[bool, int]:
        """Whether it was not set before, and the table version that carries it (0: unchanged).

        variant: empty = the whole project, which then sends everything to the champion
        Raises PointsmanError: NOT_FOUND, or INVALID for the champion.
        """
        current = self._projects.current(name)
        if variant:
            check_switch(self._projects.table(current), variant)
        target = f"{name}/{variant}" if variant else name
        if target in {switch.target for switch in self.of(name)}:
            return False, 0
        switch = KillSwitch(target, self._ledger.now_ms(), intent.actor, intent.reason)
        where = f"nothing is sent to {variant}" if variant else "everything goes to the champion"
        entry = _entry("kill", name, target, f"{target}: killed, {where}", intent)
        new = self._ledger.publish(entry, lambda tx: _ignore(published.set_kill_switch(tx, switch)))
        return True, new.version

    def lift(self, name: str, variant: str, intent: Intent) -> tuple[bool, int]:
        """Whether it was set, and the table version without it (0: unchanged)."""
        target = f"{name}/{variant}" if variant else name
        if target not in {switch.target for switch in self.of(name)}:
            return False, 0
        entry = _entry("unkill", name, target, f"{target}: kill switch lifted", intent)
        new = self._ledger.publish(
            entry, lambda tx: _ignore(published.lift_kill_switch(tx, target))
        )
        return True, new.version

    def of(self, name: str) -> list[KillSwitch]:
        """The switches set on a project and its variants."""
        with self._ledger.reading() as connection:
            return published.kill_switches(connection, name)


def _entry(action: str, name: str, target: str, sentence: str, intent: Intent) -> Entry:
    reason = f" ({intent.reason})" if intent.reason else ""
    return Entry(
        actor=intent.actor,
        tenant=name.partition("/")[0],
        target=name,
        action=action,
        sentence=sentence + reason,
        payload={"switch": target, "reason": intent.reason},
    )


def _ignore(_: object) -> None:
    """The switch was looked for just before; a lost race changes nothing."""
