"""The audit log: every change has its entry, and a log that was tampered with says so."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.store import audit, published, revisions
from pointsman.store.audit import Entry
from pointsman.store.database import open_database
from pointsman.store.revisions import Revision

COPY_OF_THE_LAST = (
    "INSERT INTO audit SELECT 6, at_ms, actor, tenant, target, action, sentence, payload, "
    "prev_hash, hash FROM audit WHERE seq = 5"
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    found = open_database(tmp_path / "store.db")
    yield found
    found.dispose()


def entry(number: int) -> Entry:
    return Entry("anna", "default", "default/p", "apply", f"change {number}", {"number": number})


def revision(number: int, parent: int) -> Revision:
    return Revision(
        "default/p",
        number,
        f"{number:064x}",
        parent,
        "apply",
        b"{}",
        b"{}",
        "0" * 64,
        (),
        1,
        "a",
        "",
    )


def fill(engine: Engine, count: int) -> None:
    with engine.begin() as connection:
        for number in range(count):
            audit.append(connection, 1_000 + number, entry(number))


def verdict(engine: Engine) -> audit.AuditReport:
    with engine.connect() as connection:
        return audit.verify(connection)


def test_an_empty_and_a_full_log_verify(engine: Engine) -> None:
    assert verdict(engine).ok
    fill(engine, 5)

    report = verdict(engine)

    assert (report.ok, report.entries) == (True, 5)
    assert report.head != audit.GENESIS


@pytest.mark.parametrize(
    ("tampering", "first_bad"),
    [
        ("UPDATE audit SET actor = 'eve' WHERE seq = 3", 3),
        ("UPDATE audit SET sentence = '' WHERE seq = 1", 1),
        ("UPDATE audit SET payload = '{}' WHERE seq = 5", 5),
        ("UPDATE audit SET at_ms = at_ms + 1 WHERE seq = 2", 2),
        ("UPDATE audit SET hash = prev_hash WHERE seq = 4", 4),
        ("DELETE FROM audit WHERE seq = 3", 3),
        ("DELETE FROM audit WHERE seq = 1", 1),
        ("UPDATE audit SET seq = seq + 100", 1),
        (COPY_OF_THE_LAST, 6),
    ],
)
def test_tampering_shows_where_it_was_done(engine: Engine, tampering: str, first_bad: int) -> None:
    fill(engine, 5)
    with engine.begin() as connection:
        connection.execute(text(tampering))

    report = verdict(engine)

    assert not report.ok
    assert report.first_bad == first_bad
    assert str(first_bad) in report.problem


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    words=st.lists(st.text(max_size=40), min_size=1, max_size=5),
    number=st.integers(-(2**53) + 1, 2**53 - 1),
)
def test_any_words_can_be_logged(engine: Engine, words: list[str], number: int) -> None:
    """Whatever people write into a reason, the chain holds and gives it back."""
    words = [word.encode("utf-8", "replace").decode() for word in words]
    with engine.begin() as connection:
        audit.append(
            connection, 1, Entry(words[0], "t", words[-1], "x", words[0], {"w": words, "n": number})
        )

    with engine.connect() as connection:
        (newest,) = audit.entries(connection, limit=1)
    assert newest.payload == {"w": words, "n": number}
    assert verdict(engine).ok


def test_a_refused_change_leaves_no_entry_and_no_table(engine: Engine) -> None:
    """Entry, change and table are one transaction."""
    with engine.begin() as connection:
        audit.append(connection, 1, entry(1))
        revisions.commit(connection, revision(1, 0))
        published.publish(connection, 1, "apply")

    def change() -> None:
        with engine.begin() as connection:
            audit.append(connection, 2, entry(2))
            published.publish(connection, 2, "apply")
            revisions.commit(connection, revision(3, 2))

    with pytest.raises(PointsmanError) as caught:
        change()

    assert caught.value.kind is Kind.CONFLICT
    report = verdict(engine)
    assert (report.ok, report.entries) == (True, 1)
    with engine.connect() as connection:
        newest = published.latest(connection)
        assert newest is not None
        assert newest.version == 1
        assert [found.number for found in revisions.history(connection, "default/p")] == [1]
