"""The newest report of each project, kept for the dashboard.

A report is a page that somebody made elsewhere of full records (`pointsman report`). It may hold
raw values, so it is for those who may export, and it is shown where it can do nothing: see
`report_routes`.
"""

import hashlib
import os
import secrets
import tempfile
import threading
from pathlib import Path
from typing import Any, Final

import msgspec

from pointsman.controller.edge import PAGE_BYTES
from pointsman.controller.ledger import Ledger
from pointsman.controller.projects import Projects
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.store.audit import Entry

_TICKET_MS: Final = 60_000
_TICKETS: Final = 1_000


class _Ticket(msgspec.Struct, frozen=True):
    project: str
    until_ms: int


class Reports:
    """One file a project, below a directory of their own. Blocking; safe from several threads."""

    def __init__(self, directory: Path, ledger: Ledger, projects: Projects) -> None:
        self._directory = directory
        self._ledger = ledger
        self._projects = projects
        self._tickets: dict[str, _Ticket] = {}
        self._lock = threading.Lock()

    def put(self, name: str, page: bytes, actor: str) -> dict[str, Any]:
        """Keeps the page in place of the one before.

        Errors: NOT_FOUND for a project that is not there, TOO_LARGE, INVALID for what is no page.
        """
        path = self._path(name)
        if len(page) > PAGE_BYTES:
            raise PointsmanError(
                Kind.TOO_LARGE,
                f"a report has at most {PAGE_BYTES >> 20} MiB",
                hint="ask for fewer rows with --sample",
            )
        if b"<html" not in page[:4096].lower():
            raise PointsmanError(
                Kind.INVALID,
                "the body is no HTML page",
                hint="`pointsman report NAME --evidently` makes one and sends it",
            )
        now = self._ledger.now_ms()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(page)
            os.utime(part, ns=(now * 1_000_000, now * 1_000_000))
            Path(part).replace(path)
        finally:
            Path(part).unlink(missing_ok=True)
        sentence = f"{name}: a report of {len(page):,} bytes is kept; its drift page has the link"
        self._note(name, actor, sentence, hashlib.sha256(page).hexdigest())
        return self.about(name) | {"sentence": sentence}

    def get(self, name: str) -> bytes:
        """The page. Raises PointsmanError(NOT_FOUND)."""
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            raise PointsmanError(
                Kind.NOT_FOUND,
                f"{name} has no report",
                hint=f"pointsman report {name} --evidently",
            ) from None

    def about(self, name: str) -> dict[str, Any]:
        """When it came, Unix milliseconds, and its size; null and 0 where there is none."""
        try:
            found = self._path(name).stat()
        except FileNotFoundError:
            return {"project": name, "made_ms": None, "bytes": 0}
        return {"project": name, "made_ms": found.st_mtime_ns // 1_000_000, "bytes": found.st_size}

    def forget(self, name: str, actor: str) -> dict[str, Any]:
        """Deletes it. Raises PointsmanError(NOT_FOUND) where there is none."""
        self.get(name)
        self._path(name).unlink(missing_ok=True)
        sentence = f"{name}: the report is deleted"
        self._note(name, actor, sentence, "")
        return {"project": name, "sentence": sentence}

    def ticket(self, name: str) -> str:
        """A word that opens the page once, within a minute: a browser that follows a link sends no
        token. Raises PointsmanError(NOT_FOUND) where there is no page."""
        self.get(name)
        word, now = secrets.token_urlsafe(32), self._ledger.now_ms()
        with self._lock:
            left = {key: one for key, one in self._tickets.items() if one.until_ms > now}
            self._tickets = dict(list(left.items())[1 - _TICKETS :])
            self._tickets[_hidden(word)] = _Ticket(name, now + _TICKET_MS)
        return word

    def opened(self, word: str) -> bytes:
        """The page a ticket is for; the ticket is used up. Raises PointsmanError(NOT_FOUND)."""
        with self._lock:
            found = self._tickets.pop(_hidden(word), None)
        if found is None or found.until_ms <= self._ledger.now_ms():
            raise PointsmanError(
                Kind.NOT_FOUND,
                "this address was used, or is more than a minute old",
                hint="open the report from the dashboard's drift page again",
            )
        return self.get(found.project)

    def _path(self, name: str) -> Path:
        self._projects.current(name)  # only names of projects make paths
        return self._directory / f"{name}.html"

    def _note(self, name: str, actor: str, sentence: str, digest: str) -> None:
        self._ledger.note(
            Entry(
                actor=actor,
                tenant=name.partition("/")[0],
                target=name,
                action="decisions.report",
                sentence=sentence,
                payload={"sha256": digest},
            )
        )


def _hidden(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()
