"""Group commit: who was told that it is durable can rely on it, and waiting is shared."""

import asyncio
import errno

import pytest

from pointsman.journal.commit import GroupCommit
from pointsman.journal.writer import JournalBrokenError


def test_durable_returns_after_the_sync(stream):
    """The answer leaves when nothing appended before is pending any more."""
    writer = stream.writer()
    commit = GroupCommit(writer, idle_s=60)

    async def story():
        stream.append(writer, "a")
        assert writer.pending
        await commit.durable()
        return writer.pending

    assert asyncio.run(story()) is False
    commit.close()


def test_a_hundred_coroutines_share_a_few_syncs(stream):
    """The load itself decides how many wait for one system call."""
    writer = stream.writer()
    commit = GroupCommit(writer, idle_s=60)
    stream.disk.calls.clear()

    async def one(name):
        stream.append(writer, name)
        await commit.durable()

    async def story():
        await asyncio.gather(*(one(str(n)) for n in range(100)))

    asyncio.run(story())

    assert 1 <= stream.disk.calls["sync"] <= 10
    commit.close()


def test_a_failed_sync_reaches_everybody_who_waits(stream):
    """Nobody is told that it worked, then or later."""
    writer = stream.writer()
    commit = GroupCommit(writer, idle_s=60)
    stream.disk.failures["sync"] = errno.EIO

    async def story():
        stream.append(writer, "a")
        results = await asyncio.gather(
            *(commit.durable() for _ in range(5)), return_exceptions=True
        )
        with pytest.raises(JournalBrokenError):
            await commit.durable()
        return results

    assert {type(r) for r in asyncio.run(story())} == {JournalBrokenError}
    commit.close()


def test_decisions_nobody_waits_for_are_synced_soon(stream):
    """In mode `os` a loss of power costs at most the idle time."""
    writer = stream.writer()
    commit = GroupCommit(writer, idle_s=0.001)
    stream.append(writer, "a")

    commit.close()

    assert not writer.pending


def test_a_caller_that_gave_up_waiting_disturbs_nobody(stream):
    """A cancelled request leaves its future behind; the others get their answer."""
    writer = stream.writer()
    commit = GroupCommit(writer, idle_s=60)

    async def story():
        stream.append(writer, "a")
        gone = asyncio.ensure_future(commit.durable())
        stays = asyncio.ensure_future(commit.durable())
        await asyncio.sleep(0)
        gone.cancel()
        await stays

    asyncio.run(story())
    commit.close()

    with pytest.raises(ValueError, match="closed"):
        asyncio.run(commit.durable())
