"""Tests of app.store, on SQLite and PostgreSQL."""
