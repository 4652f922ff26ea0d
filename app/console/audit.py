"""Who did what, newest first, in sentences."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from app.console.visit import VisitDep

router = APIRouter()
PAGE = 50
MOST = 80  # characters of a value in a sentence; the whole of it is folded out
SAID = {
    "create_tenant": "made the tenant {name}",
    "patch_tenant": "changed the tenant's limits: {limits}",
    "delete_tenant": "deleted the tenant {confirm}",
    "create_key": "made a key of the role {role}, labelled {label}",
    "revoke_key": "revoked the key {key_id}",
    "rotate_key": "rotated the key {key_id}",
    "create_platform_key": "made a platform key, labelled {label}",
    "revoke_platform_key": "revoked the platform key {key_id}",
    "rotate_platform_key": "rotated the platform key {key_id}",
    "create_channel": "made the channel {name}",
    "patch_channel": "described the channel {channel} as {description}",
    "delete_channel": "deleted the channel {channel}",
    "create_import": "imported {kind} as {format}",
    "delete_item": "deleted the item {item_id}",
    "delete_items": "deleted items",
    "delete_image": "deleted the image of item {item_id}",
    "delete_user": "deleted a user's data",
    "create_job": "started a training job",
    "cancel_job": "cancelled the job {job_id}",
    "upload_adapter": "uploaded an adapter",
    "promote": "promoted version {version}",
    "rollback": "rolled back",
    "set_challenger": "set version {version} as the challenger",
    "withdraw_challenger": "withdrew the challenger",
    "set_policy": "set the training policy",
    "delete_policy": "removed the training policy",
}


@router.get("/audit")
async def show(
    visit: VisitDep, tenant: str = "", channel: str = "", action: str = "", before: str = ""
) -> Response:
    """A page of the audit."""
    asked = {"tenant": tenant.strip(), "channel": channel.strip(), "action": action}
    query: dict[str, Any] = {name: value or None for name, value in asked.items()}
    entries = await visit.api.get("/v1/admin/audit", **query, before=before or None, limit=PAGE + 1)
    more = entries[PAGE - 1]["id"] if len(entries) > PAGE else None
    shown = [{**entry, "said": said(entry)} for entry in entries[:PAGE]]
    return visit.page(
        "audit.html", entries=shown, more=more, asked=asked, before=before, actions=sorted(SAID)
    )


def said(entry: dict[str, Any]) -> str:
    """An entry's act in words: an unknown one by its name."""
    found = _Values({"role": "reader", "channel": entry["channel"]})
    for part in ("query", "body", "target"):
        values = entry["detail"].get(part)
        found |= values if isinstance(values, dict) else {}
    sentence = SAID.get(entry["action"], entry["action"].replace("_", " "))
    return str(sentence.format_map(_Values({name: _short(value) for name, value in found.items()})))


class _Values(dict[str, Any]):
    def __missing__(self, name: str) -> str:
        return "–"


def _short(value: object) -> str:
    if isinstance(value, dict):
        value = ", ".join(f"{name} {'default' if each is None else each}" for name, each in value.items())
    text = str(value) or "–"
    return text if len(text) <= MOST else f"{text[:MOST]}…"
