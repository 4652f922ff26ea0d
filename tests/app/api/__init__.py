"""Tests of app.api, over a socket."""
