"""Tests of app.serving."""
