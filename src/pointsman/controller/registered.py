"""References that come with a champion from its registry.

Looked for beside whatever serves, however it came to serve (an apply, a followed alias, a rollout,
an undo), and never while something is applied: a registry that is down, or a profile that does not
fit, keeps nothing from being served.
"""

import hashlib

import msgspec
import structlog
from sqlalchemy import Connection

from pointsman.controller import baseline, state
from pointsman.controller.ledger import Ledger
from pointsman.controller.profiles import problems
from pointsman.controller.projects import Projects
from pointsman.controller.state import Pin
from pointsman.domain.errors import PointsmanError
from pointsman.domain.names import CHAMPION
from pointsman.judge.profile import Profile
from pointsman.ports import Profiled, Profiles
from pointsman.store import audit, references, revisions
from pointsman.store.audit import Entry
from pointsman.store.references import REGISTRY, Reference
from pointsman.store.revisions import Revision

_AGAIN_MS = 60_000
"""A profile may be logged after its version serves, and a registry may be down."""
_TOLD = 3
_log = structlog.get_logger(__name__)


class Registered:
    """Finds the profiles of champions. Blocking; used by one thread."""

    def __init__(self, ledger: Ledger, projects: Projects, profiles: Profiles) -> None:
        self._ledger = ledger
        self._projects = projects
        self._profiles = profiles
        self._settled: dict[str, tuple[str, str]] = {}
        self._later: dict[str, tuple[tuple[str, str], int]] = {}

    def turn(self) -> bool:
        """Looks for what was not found yet. False: nothing is left until the next time."""
        with self._ledger.reading() as connection:
            active = revisions.active(connection)
        down: set[str] = set()
        for revision in active:
            pin = state.decode(revision.state).pins.get(CHAMPION)
            if pin is None or pin.registry in down:
                continue
            # What a profile has to fit depends on both.
            what = (pin.source, revision.digest)
            waiting, until_ms = self._later.get(revision.project, (what, 0))
            waits = waiting == what and self._ledger.now_ms() < until_ms
            if self._settled.get(revision.project) == what or waits:
                continue
            try:
                found = self._look(revision, pin)
            except PointsmanError as error:
                _log.warning("profile", source=pin.source, error=error.message)
                down.add(pin.registry)
                found = False
            # Other files at a path are another version: what is not there will never be.
            if found or pin.source.startswith("/"):
                self._settled[revision.project] = what
            else:
                self._later[revision.project] = (what, self._ledger.now_ms() + _AGAIN_MS)
        return False

    def _look(self, revision: Revision, pin: Pin) -> bool:
        """Whether there is one, be it of use or not. Raises PointsmanError as the registry."""
        name = revision.project
        with self._ledger.reading() as connection:
            known = references.registered(connection, name, pin.version)
            counts = references.undeclared(connection, name)
        known = [one for one in known if baseline.decoded(one.body).source.endswith(_tail(pin))]
        if known:
            # The first that was found stays: what is compared with must not move along.
            if counts is None or counts.id != known[0].id:
                self._take(known[0], baseline.decoded(known[0].body))
            return True
        found = self._profiles.profile(pin.source, pin.version)
        if found is None:
            return False
        try:
            made = baseline.decoded(found.body)
        except msgspec.MsgspecError as error:
            self._ignore(name, found, f"it is no profile: {error}")
            return True
        features = [feature.name for feature in self._projects.table(revision).features]
        if wrong := problems(made, features, len(found.body)):
            more = f" and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
            self._ignore(name, found, "; ".join(one.message for one in wrong[:_TOLD]) + more)
            return True
        source = f"{made.source} ({found.place}{_tail(pin)}"
        made = msgspec.structs.replace(made, answers=(), variant="", version="", source=source)
        new = baseline.reference(name, made, self._ledger.now_ms(), actor=REGISTRY)
        self._take(msgspec.structs.replace(new, version=pin.version), made)
        return True

    def _take(self, found: Reference, made: Profile) -> None:
        """Makes it what counts, unless somebody declared another."""
        name = found.project
        with self._ledger.reading() as connection:
            stands = references.current(connection, name)
        sentence = (
            f"{name}: {made.source} is kept; what {stands.actor} declared is compared with"
            if stands is not None and stands.declared
            else f"{name}: inputs are compared with {made.source} from now on, n={made.n:,}"
        )

        def work(connection: Connection) -> None:
            new = msgspec.structs.replace(found, made_ms=self._ledger.now_ms())
            references.put(connection, new)
            references.take_gathered(connection, name, found.version)

        self._ledger.note(_entry(name, "reference", sentence, found.id), work)

    def _ignore(self, name: str, found: Profiled, why: str) -> None:
        """Tells it once, also of several controllers in turn."""
        digest = hashlib.sha256(found.body).hexdigest()[:16]
        with self._ledger.reading() as connection:
            told = audit.newest_of(connection, name, "reference.ignored")
        if told is None or told.payload.get("reference") != digest:
            sentence = f"{name}: {found.place} of its champion does not fit and is ignored: {why}"
            self._ledger.note(_entry(name, "reference.ignored", sentence, digest))


def _tail(pin: Pin) -> str:
    """How the source of a reference ends that came with this version."""
    return f" of {pin.source})"


def _entry(name: str, action: str, sentence: str, reference: str) -> Entry:
    return Entry(
        actor=REGISTRY,
        tenant=name.partition("/")[0],
        target=name,
        action=action,
        sentence=sentence,
        payload={"reference": reference},
    )
