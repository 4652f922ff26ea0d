"""What is opened: every page for people, and what a page asks for by itself."""

from dataclasses import dataclass

from tests.benchmarks.pages.population import BIG, BIG_TENANT

CHANNEL = f"/admin/channels/{BIG_TENANT}/{BIG}"
TENANT = f"/admin/tenants/{BIG_TENANT}"


@dataclass(frozen=True)
class Place:
    """An address with its name; a part is no page, so no browser opens it."""

    name: str
    path: str
    is_part: bool = False


def places(job_id: str) -> list[Place]:
    """Every place, with a training job of the big channel."""
    return [
        Place("sign-in", "/admin/sign-in"),
        Place("overview", "/admin/"),
        Place("overview by interactions", "/admin/?sort=-interactions"),
        Place("overview, a search as one types", "/admin/overview?search=channel-4", is_part=True),
        Place("overview, its rows again", "/admin/overview?part=rows", is_part=True),
        Place("small channel", f"/admin/channels/{BIG_TENANT}/channel-000"),
        Place("big channel", CHANNEL),
        Place("big channel, its facts again", f"{CHANNEL}/front", is_part=True),
        Place("data", f"{CHANNEL}/data"),
        Place("data, a search as one types", f"{CHANNEL}/data/items?search=thing%20no%207", is_part=True),
        Place("data, how it is distributed", f"{CHANNEL}/data/statistics", is_part=True),
        Place("training", f"{CHANNEL}/training"),
        Place("training job", f"{CHANNEL}/training/{job_id}"),
        Place("releases", f"{CHANNEL}/releases"),
        Place("two releases compared", f"{CHANNEL}/releases/compare?a=1&b=2"),
        Place("playground, nobody", f"{CHANNEL}/playground"),
        Place("playground, a user", f"{CHANNEL}/playground?user=u1"),
        Place("playground, a search as one types", f"{CHANNEL}/playground/items?q=no%207", is_part=True),
        Place("item map", f"{CHANNEL}/map"),
        Place("settings", f"{CHANNEL}/settings"),
        Place("tenants", "/admin/tenants"),
        Place("tenant", TENANT),
        Place("a user's data", f"{TENANT}/users?user_id=u1"),
        Place("keys", "/admin/keys"),
        Place("audit", "/admin/audit"),
        Place("system", "/admin/system"),
        Place("system, its state again", "/admin/system/state", is_part=True),
        Place("the API's description", "/docs"),
    ]
