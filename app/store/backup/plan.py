"""Which tables are in a back-up, and which of their rows are a tenant's: read from the tables themselves."""

from collections.abc import Sequence

from sqlalchemy import Column, ColumnElement, Table, select

from app.store.tables import ApiKey, Base, Tenant

TENANTS: Table = Base.metadata.tables[Tenant.__tablename__]
KEYS: Table = Base.metadata.tables[ApiKey.__tablename__]


def tables() -> Sequence[Table]:
    """All tables but those that say of themselves that they pass; what is referred to comes first."""
    kept = [table for table in Base.metadata.sorted_tables if table.info.get("backup", True)]
    return sorted(kept, key=lambda table: bool(references(table)) and not table.foreign_keys)


def rows_of(table: Table, tenant_id: str) -> ColumnElement[bool]:
    """The condition for a tenant's rows: by its id, or by what they must refer to.

    Raises `LookupError` for a table of which nothing leads to a tenant: decide what a back-up makes of it.
    """
    if table is TENANTS:
        return TENANTS.c.id == tenant_id
    found = references(table)
    if found.get("tenant_id"):
        return table.c.tenant_id == tenant_id
    for name, referred in found.items():
        if not table.c[name].nullable:
            parent = Base.metadata.tables[referred]
            return table.c[name].in_(select(parent.c.id).where(rows_of(parent, tenant_id)))
    raise LookupError(f"nothing leads from a row of {table.name!r} to its tenant")


def serial(table: Table) -> Column[int] | None:
    """The column that counts up by itself, if there is one; a restored row gets a new number there."""
    return table.autoincrement_column


def renamed(table: Table) -> bool:
    """Whether its rows get new ids: caches everywhere are found by ids, and must not meet what is restored.

    Keys keep theirs, since the audit names them.
    """
    return table is not KEYS and [c.name for c in table.primary_key] == ["id"] and serial(table) is None


def references(table: Table) -> dict[str, str]:
    """Columns that hold another row's `id`, with that row's table; through others that refer on, too."""
    found = {}
    for column in table.c:
        root = column
        while root.foreign_keys:
            root = next(iter(root.foreign_keys)).column
        if root is not column and root.name == "id":
            found[column.name] = root.table.name
    if "tenant_id" in table.c:  # also where rows outlive their tenant
        found["tenant_id"] = TENANTS.name
    return found
