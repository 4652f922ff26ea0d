"""Figures, by command: a ratio beside a reference of the same run. Never asserted by a timed test."""

import app  # noqa: F401 - before torch is loaded: it sets how torch's threads wait
