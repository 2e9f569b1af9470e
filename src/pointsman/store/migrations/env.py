"""Run by Alembic; the connection comes from `upgrade`, and so does its transaction."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    # SQLite can undo schema changes; `_begin` in database.py sees to it that they are in one
    # transaction.
    transactional_ddl=True,
)
context.run_migrations()
