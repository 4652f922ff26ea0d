"""The database's schema, step by step (Alembic, run in code by app.store.db)."""
