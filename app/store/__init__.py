"""The database: rows are the truth, one file a noun; plain functions that take a session."""
