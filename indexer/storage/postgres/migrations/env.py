"""Run by Alembic: migrates over the connection that the caller has open, in the first schema of its search path."""

from alembic import context
from sqlalchemy import text

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, version_table_schema=connection.execute(text("SELECT current_schema()")).scalar_one()
)
context.run_migrations()
