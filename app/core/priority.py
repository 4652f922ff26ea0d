"""Which of a tenant's training jobs come first."""

from enum import IntEnum


class Priority(IntEnum):
    """Which of a tenant's own jobs come first; other tenants' jobs do not wait for it."""

    LOW = -1
    NORMAL = 0
    HIGH = 1
