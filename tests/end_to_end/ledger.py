"""Traffic with a memory: what was acknowledged is on the client's disk before it goes on.

Each user asks for a prediction, then tells the label, and writes down every acknowledgement with an
fsync before the next request. Whatever the server loses after that, this file still has.
"""

import asyncio
import contextlib
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any, Final, Self

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
    """Users who keep asking and telling while the block runs, through every broken connection.

    They live in a thread of their own, so that the test can wait and kill meanwhile.
    pause_at: a variant; when it answers for the first time nobody asks on until `go_on`
    """

    def __init__(
        self, gateway: str, project: Path, path: Path, users: int, *, pause_at: str = ""
    ) -> None:
        wanted = replay.shape(project)
        # They come again when all have been there: traffic ends when it is told to, not before.
        self._people: Iterator[replay.Person] = cycle(replay.people(wanted))
        self._predict = f"{gateway}/v1/projects/{wanted.project}:predict"
        self._feedback = f"{gateway}/v1/feedback"
        self._ledger = Ledger(path)
        self._users = users
        self._stopping = False
        self._pause_at = pause_at
        self._pausing = False
        self._latest = 0.0
        self._progress = threading.Condition()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.answered: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.broken = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Everybody stops between two requests. Idempotent."""
        self._stopping = True
        self._thread.join(2 * REQUEST_LIMIT_S)
        assert not self._thread.is_alive(), "the traffic does not end"
        self._ledger.close()

    def served_since(self, moment: float, limit_s: float) -> float:
        """Seconds from the moment until a request sent after it was answered."""
        with self._progress:
            served = self._progress.wait_for(lambda: self._latest > moment, limit_s)
        assert served, f"no request was answered for {limit_s:.0f} s; refusals: {self.refusals}"
        return time.monotonic() - moment

    def wait(self, holds: Callable[[Counter[str]], bool], limit_s: float) -> None:
        """Returns once it holds of the answers so far, by variant."""
        with self._progress:
            held = self._progress.wait_for(lambda: holds(self.answered), limit_s)
        assert held, f"after {limit_s:.0f} s: {self.answered}; refusals: {self.refusals}"

    def go_on(self) -> None:
        """Ends the pause, and there is no other."""
        self._pausing = False

    async def _run(self) -> None:
        limits = aiohttp.ClientTimeout(total=REQUEST_LIMIT_S)
        async with aiohttp.ClientSession(timeout=limits) as session:
            await asyncio.gather(*(self._user(session, number) for number in range(self._users)))

    async def _user(self, session: aiohttp.ClientSession, number: int) -> None:
        for count, person in enumerate(self._people):
            while self._pausing and not self._stopping:  # noqa: ASYNC110 - another thread ends it
                await asyncio.sleep(RETRY_S)
            if self._stopping:
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
        while not self._stopping:
            sent = time.monotonic()
            answer = await self._post(session, self._predict, body, 200)
            if answer is not None:
                decision = str(answer["decision_id"])
                logged, variant = answer.get("logged", True), str(answer["variant"])
                self._ledger.note(
                    decision=decision, variant=variant, logged=logged, at=time.monotonic(), **told
                )
                with self._progress:
                    self.answered[variant] += 1
                    if variant == self._pause_at and self.answered[variant] == 1:
                        self._pausing = True
                    self._latest = max(self._latest, sent)
                    self._progress.notify_all()
                return decision
        return ""

    async def _tell(self, session: aiohttp.ClientSession, decision: str, label: str) -> None:
        feedback = f"label-of-{decision}"
        body = [{"id": feedback, "decision_id": decision, "label": label}]
        while not self._stopping:
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
