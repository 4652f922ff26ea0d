"""The one place where a request is bound to a tenant: all else takes a channel that came from here."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.errors import Forbidden, Invalid, NotFound
from app.store.tables import Channel, Tenant
from app.store.tenants import Principal, Role, get_tenant, no_tenant

_RANK = {Role.READER: 0, Role.WRITER: 1, Role.OPERATOR: 2}


@dataclass(frozen=True, slots=True)
class Scope:
    """A principal at work inside one tenant."""

    principal: Principal
    tenant_id: str

    def channel(self, s: Session, name: str) -> Channel:
        """Return the tenant's channel of that name; raises `NotFound`."""
        found = s.scalar(select(Channel).where(Channel.tenant_id == self.tenant_id, Channel.name == name))
        if found is None:
            raise NotFound(f"There is no channel {name[:80]!r}. Check the name, or create it first.")
        return found


def require_role(principal: Principal, needs: Role) -> None:
    """Raise `Forbidden` unless the principal's role is `needs` or above."""
    if _RANK[principal.role] < _RANK[needs]:
        raise Forbidden(f"This needs a key with the role {needs}; yours is {principal.role}.")


def require_platform(principal: Principal) -> None:
    """Raise `Forbidden` unless the key is the platform operator's."""
    if principal.tenant_id is not None:
        raise Forbidden("This needs the platform operator's key; yours belongs to one tenant.")


def scope_for(s: Session, principal: Principal, tenant_name: str | None, needs: Role) -> Scope:
    """Bind a principal to a tenant.

    A tenant's key implies its tenant; the platform operator's key must name one. Raises `Forbidden`
    (role too low), `Invalid` (no tenant named) and `NotFound` (no such tenant, or not the key's).
    """
    require_role(principal, needs)
    if principal.tenant_id is None:
        if tenant_name is None:
            raise Invalid("A platform operator's key must name a tenant: add ?tenant=NAME.", field="tenant")
        return Scope(principal, get_tenant(s, tenant_name).id)
    own_name = s.scalar(select(Tenant.name).where(Tenant.id == principal.tenant_id))
    if tenant_name is not None and tenant_name != own_name:
        # The very message of a tenant that is not there, so that names cannot be probed.
        raise no_tenant(tenant_name)
    return Scope(principal, principal.tenant_id)
