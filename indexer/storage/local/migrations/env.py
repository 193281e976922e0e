"""Run by Alembic: migrates over the connection that the caller has open."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
