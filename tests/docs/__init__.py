"""The documentation is true: its site builds, its commands run."""
