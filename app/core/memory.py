"""How much memory a process has."""

import os
from pathlib import Path


def resident_bytes(pid: int | None = None) -> int | None:
    """Bytes that a process (this one by default) has in memory; None where the system does not say."""
    try:
        pages = Path(f"/proc/{pid or 'self'}/statm").read_text().split()[1]
    except (OSError, IndexError):  # it has ended, or this is no Linux
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
