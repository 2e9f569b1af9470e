"""Opening the store: only on a sound SQLite, only once for a directory, always up to date."""

import os
import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import OperationalError

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.store import control_schema, evidence_schema
from pointsman.store.database import DataLock, check_sqlite, open_database, reader


@pytest.fixture
def engine(tmp_path):
    engine = open_database(tmp_path / "store.db")
    yield engine
    engine.dispose()


@pytest.mark.parametrize(
    "version",
    [(3, 7, 0), (3, 40, 1), (3, 44, 5), (3, 45, 9), (3, 50, 6), (3, 51, 0), (3, 51, 2)],
)
def test_a_version_of_sqlite_that_can_corrupt_a_database_is_refused(version):
    """The hint says which versions are sound."""
    with pytest.raises(PointsmanError, match="can corrupt") as caught:
        check_sqlite(version)

    assert caught.value.kind is Kind.UNAVAILABLE
    assert "3.51.3" in caught.value.hint


@pytest.mark.parametrize("version", [(3, 6, 23), (3, 44, 6), (3, 50, 7), (3, 51, 3), (3, 53, 4)])
def test_a_sound_version_of_sqlite_is_taken(version):
    """Fixed versions, and the two older lines that got the fix."""
    check_sqlite(version)


def test_a_transaction_that_has_committed_survives_a_loss_of_power(engine):
    """WAL with full synchronisation, foreign keys held, pages given back when asked."""
    with reader(engine).connect() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "auto_vacuum")
        }

    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "auto_vacuum": 2,
    }


def test_the_schema_is_the_one_the_code_declares(engine):
    """Migrations and tables in code are written twice; this holds them together."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        declared = [evidence_schema.metadata, control_schema.metadata]

        assert compare_metadata(context, declared) == []


def test_opening_again_changes_nothing(tmp_path):
    """The schema is up to date; the database is only its owner's to read."""
    path = tmp_path / "a % b" / "store.db"
    path.parent.mkdir()
    open_database(path).dispose()
    before = path.read_bytes()
    open_database(path).dispose()

    assert path.read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path):
    """What a newer version wrote is not guessed at."""
    path = tmp_path / "store.db"
    engine = open_database(path)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()

    with pytest.raises(PointsmanError, match="schema 9999, newer than") as caught:
        open_database(path)

    assert caught.value.kind is Kind.CONFLICT


def test_a_reader_waits_for_nobody_and_sees_one_state(engine):
    """It neither waits for a transaction that writes nor sees it before it commits."""
    with engine.begin() as writer:
        writer.exec_driver_sql("INSERT INTO stratum VALUES (1, 'p', 'r', 1)")
        with reader(engine).connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM stratum").scalar() == 0


def test_what_a_transaction_has_read_stays_true_until_it_commits(engine):
    """It holds the write lock from its beginning: two that read and then write cannot cross."""
    with engine.begin() as first, reader(engine).connect() as second:
        first.exec_driver_sql("SELECT * FROM stratum").all()
        second.exec_driver_sql("PRAGMA busy_timeout = 1")

        with pytest.raises(OperationalError, match="locked"):
            second.exec_driver_sql("INSERT INTO stratum VALUES (1, 'p', 'r', 1)")


def test_a_data_directory_has_one_owner(tmp_path):
    """A second process is refused, and hears who the first one is."""
    lock = DataLock(tmp_path / "data")

    with pytest.raises(PointsmanError, match=f"in use by process {os.getpid()}") as caught:
        DataLock(tmp_path / "data")
    assert caught.value.kind is Kind.CONFLICT

    lock.close()
    lock.close()
    DataLock(tmp_path / "data").close()


def test_a_data_directory_is_free_again_when_its_owner_is_killed(tmp_path):
    """Nothing is left behind that somebody would have to remove by hand."""
    code = (
        "import sys, time; from pathlib import Path; "
        "from pointsman.store.database import DataLock; "
        "lock = DataLock(Path(sys.argv[1])); print('owned', flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout.readline() == "owned\n"
    with pytest.raises(PointsmanError, match=f"in use by process {owner.pid}"):
        DataLock(tmp_path)

    owner.kill()
    owner.wait(timeout=10)

    DataLock(tmp_path).close()
