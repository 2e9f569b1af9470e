"""The schema's history, packaged with the code and run by it at start."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from pointsman.domain.errors import Kind, PointsmanError

_HERE: Final = Path(__file__).parent


def upgrade(connection: Connection) -> None:
    """Brings the schema to this version's, in the connection's own transaction: all of it or none.

    Raises PointsmanError(CONFLICT) if a newer version has been here.
    """
    config = _config()
    script = ScriptDirectory.from_config(config)
    head = script.get_current_head()
    current = MigrationContext.configure(connection).get_current_revision()
    if current == head:
        return
    known = {step.revision for step in script.walk_revisions()}
    if current is not None and current not in known:
        raise PointsmanError(
            Kind.CONFLICT,
            f"the database has schema {current}, newer than this version of Pointsman knows "
            f"({head})",
            hint="run the version that wrote it, or restore a backup made before the upgrade",
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    # Alembic's options are interpolated: a `%` in the path stands for itself.
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
