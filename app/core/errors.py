"""Every error that a caller can cause or has to handle.

TransRecError               500
├── Misconfigured           500  a setting is wrong: the process does not start
├── Invalid                 422  the input breaks a rule
│   └── ImportRejected      422  a file has bad lines; carries the report
├── Unauthorized            401  no key, or a wrong one
├── Forbidden               403  the key's role is too low
├── NotFound                404  not there, or another tenant's
├── Conflict                409  the state has moved on
│   └── LeaseLost           409  another worker has taken the job over
├── TooLarge                413  more bytes than allowed
├── TooBusy                 429  more requests at once than can be answered; try again after `retry_after`
│   ├── OverRate            429  more requests in a time than are allowed
│   └── OverQuota           429  the tenant has as much as it may have
└── Unavailable             503  try again after `retry_after` seconds
    └── OutOfSpace          507  a disk is full

Every message says what to do about it.
"""

# An error is named for what happened, as its title is: no "Error" at the end of every name.
# ruff: noqa: N818

from typing import Any, ClassVar


class TransRecError(Exception):
    """Base of all errors; `extra` goes into the problem details of the answer (RFC 9457)."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(self, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.message = message
        self.extra: dict[str, Any] = extra


class Misconfigured(TransRecError):
    """A setting is missing or wrong."""

    title = "Misconfigured"


class Invalid(TransRecError):
    """The input breaks a rule that the message names."""

    status = 422
    title = "Invalid input"


class ImportRejected(Invalid):
    """A file has bad lines, so nothing of it was stored; `report` counts and lists them."""

    title = "Import rejected"

    def __init__(self, message: str, report: dict[str, Any]) -> None:
        super().__init__(message, report=report)
        self.report = report


class Unauthorized(TransRecError):
    """The key is missing, wrong or revoked."""

    status = 401
    title = "Unauthorized"


class Forbidden(TransRecError):
    """The key is right but its role is too low."""

    status = 403
    title = "Forbidden"


class NotFound(TransRecError):
    """The thing is not there, or belongs to another tenant (which looks the same)."""

    status = 404
    title = "Not found"


class Conflict(TransRecError):
    """The state is not what the request assumes."""

    status = 409
    title = "Conflict"


class LeaseLost(Conflict):
    """The job's lease belongs to another worker now, or the job has ended."""

    title = "Lease lost"


class TooLarge(TransRecError):
    """More bytes than a limit allows."""

    status = 413
    title = "Too large"


class TooBusy(TransRecError):
    """More requests at once than can be answered; try again after `retry_after` seconds."""

    status = 429
    title = "Too many requests"
    retry_after = 1


class OverRate(TooBusy):
    """More requests in a time than are allowed."""

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OverQuota(TooBusy):
    """The tenant has as much as it may have, so nothing was written; trying again at once is in vain."""

    title = "Over quota"
    retry_after = 60


class Unavailable(TransRecError):
    """Something needed does not answer now; try again after `retry_after` seconds."""

    status = 503
    title = "Unavailable"

    def __init__(self, message: str, retry_after: int = 5, **extra: Any) -> None:
        super().__init__(message, **extra)
        self.retry_after = retry_after


class OutOfSpace(Unavailable):
    """A disk is full, so nothing was written; it works again by itself once there is space."""

    status = 507
    title = "Out of space"
