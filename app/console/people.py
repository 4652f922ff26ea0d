"""Who did something, by name: moves and jobs are written down with the id of a key."""

from collections.abc import Callable
from urllib.parse import quote

from app.console.visit import ChannelVisit

Names = Callable[[str | None], str]


async def people(here: ChannelVisit) -> Names:
    """Return what turns a key's id into its label, or shortens it; what is no key stays as it is."""
    keys = await here.visit.api.get(f"/v1/admin/tenants/{quote(here.tenant, safe='')}/keys")
    labels = {key["id"]: key["label"] for key in keys if key["label"]}
    me = here.visit.me
    labels |= {me["key_id"]: me["label"]} if me["label"] else {}
    return lambda who: labels.get(who or "") or _short(who or "")


def _short(who: str) -> str:
    return f"key …{who[-6:]}" if who.startswith("key_") else who
