"""Alembic's entry: runs the migrations over the connection that `annotate.database` hands it."""

from alembic import context

from tapkit.annotate.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
