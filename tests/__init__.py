"""Tests, mirroring app/ and training/."""
