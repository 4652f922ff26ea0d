"""What can be asked, a file a noun: functions that describe calls, and send nothing."""

from app.client.calls import (
    channels,
    events,
    imports,
    items,
    jobs,
    recommendations,
    releases,
    service,
    tenants,
)

__all__ = [
    "channels",
    "events",
    "imports",
    "items",
    "jobs",
    "recommendations",
    "releases",
    "service",
    "tenants",
]
