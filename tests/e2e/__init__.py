"""The whole service as a user runs it."""
