"""How a project's database comes from one version to the next (Alembic). Released versions are never changed."""
