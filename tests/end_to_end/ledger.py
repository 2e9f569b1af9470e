"""Traffic with a memory: what was acknowledged is on the client's disk before it goes on.

Each user asks for a prediction, then tells the label, and writes down every acknowledgement with an
fsync before the next request. Whatever the server loses after that, this file still has.
"""

import asyncio
import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
from examples.income import replay

RETRY_S: Final = 0.01
REQUEST_LIMIT_S: Final = 5.0


class Ledger:
    """Lines of JSON, each on disk when `note` returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")

    def note(self, **fact: Any) -> None:
        self._file.write(json.dumps(fact) + "\n")
        self._file.flush()
        os.fdatasync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Answered decisions by id, and the decision of each acknowledged feedback by its id."""
    facts = [json.loads(line) for line in path.read_text().splitlines()]
    decisions = {fact["decision"]: fact for fact in facts if "decision" in fact}
    feedback = {fact["feedback"]: fact["about"] for fact in facts if "feedback" in fact}
    return decisions, feedback


class Traffic:
    """Users who keep asking and telling until they are stopped, through every broken connection."""

    def __init__(self, gateway: str, project: Path, path: Path) -> None:
        wanted = replay.shape(project)
        self._people: Iterator[replay.Person] = replay.people(wanted)
        self._predict = f"{gateway}/v1/projects/{wanted.project}:predict"
        self._feedback = f"{gateway}/v1/feedback"
        self._ledger = Ledger(path)
        self._stopping = asyncio.Event()
        self._latest = 0.0
        self._progress = asyncio.Event()
        self.refusals: Counter[str] = Counter()
        self.broken = 0

    async def run(self, users: int) -> None:
        """Returns when everybody has stopped between two requests."""
        limits = aiohttp.ClientTimeout(total=REQUEST_LIMIT_S)
        try:
            async with aiohttp.ClientSession(timeout=limits) as session:
                await asyncio.gather(*(self._user(session, number) for number in range(users)))
        finally:
            self._ledger.close()

    def stop(self) -> None:
        self._stopping.set()

    async def served_since(self, moment: float, limit_s: float) -> float:
        """Seconds from the moment until a request sent after it was answered.

        Raises TimeoutError after the limit.
        """
        async with asyncio.timeout(limit_s):
            while self._latest <= moment:
                self._progress.clear()
                await self._progress.wait()
        return time.monotonic() - moment

    async def _user(self, session: aiohttp.ClientSession, number: int) -> None:
        for count, person in enumerate(self._people):
            if self._stopping.is_set():
                return
            told = {"user": number, "unit": person.unit}
            decision = await self._ask(session, person, told)
            if decision:
                # Every third label is sent twice, as clients that lost an answer do.
                for _ in range(1 + (count % 3 == 0)):
                    await self._tell(session, decision, person.label)

    async def _ask(
        self, session: aiohttp.ClientSession, person: replay.Person, told: dict[str, Any]
    ) -> str:
        """The decision's id, written down; empty where the traffic was stopped before one came."""
        body = {"unit": person.unit, "context": person.context, "features": person.features}
        while not self._stopping.is_set():
            sent = time.monotonic()
            answer = await self._post(session, self._predict, body, 200)
            if answer is not None:
                decision = str(answer["decision_id"])
                logged = answer.get("logged", True)
                self._ledger.note(
                    decision=decision, variant=answer["variant"], logged=logged, **told
                )
                self._latest = max(self._latest, sent)
                self._progress.set()
                return decision
        return ""

    async def _tell(self, session: aiohttp.ClientSession, decision: str, label: str) -> None:
        feedback = f"label-of-{decision}"
        body = [{"id": feedback, "decision_id": decision, "label": label}]
        while not self._stopping.is_set():
            if await self._post(session, self._feedback, body, 202) is not None:
                self._ledger.note(feedback=feedback, about=decision)
                return

    async def _post(
        self, session: aiohttp.ClientSession, url: str, body: Any, wanted: int
    ) -> dict[str, Any] | None:
        """The answer with the wanted status; None after anything else, and a little pause."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, ConnectionError):
            async with session.post(url, json=body) as answer:
                if answer.status == wanted:
                    found: dict[str, Any] = await answer.json()
                    return found
                self.refusals[f"{answer.status}: {(await answer.text())[:200]}"] += 1
                await asyncio.sleep(RETRY_S)
                return None
        self.broken += 1
        await asyncio.sleep(RETRY_S)
        return None
