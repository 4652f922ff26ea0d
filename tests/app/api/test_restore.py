"""A back-up of a running service: what is destroyed after it comes back, and answers as before."""

from pathlib import Path
from typing import Any

from app.store import backup
from tests.app.api.conftest import Server, Shop, serves, wait_for
from tests.fakes import adapter_bytes

ADMIN = "/v1/admin/channels/books"


def answers(shop: Shop) -> list[Any]:
    """What three users are recommended, scores too, by the release of that digest."""
    found = []
    for user in ("u0", "u1", "nobody"):
        body = {"user_id": user, "count": 30}
        answer = shop.reader.post("/v1/channels/books/recommendations", json=body)
        assert answer.status_code == 200, answer.text
        found.append({k: v for k, v in answer.json().items() if k != "recommendation_id"})
    return found


def test_what_was_destroyed_comes_back(
    server: Server, shop: Shop, backbone: tuple[str, Any], tmp_path: Path
) -> None:
    db = server.app.state.db
    shop.operator.post(f"{ADMIN}/adapters", content=adapter_bytes(backbone[1], 1)).raise_for_status()
    shop.operator.post(f"{ADMIN}/releases/promote", json={"version": 1}).raise_for_status()
    wait_for(lambda: serves(shop.reader, 1))
    before = answers(shop)
    backup.write(db, tmp_path / "b", shop.tenant)
    ids = {"item_ids": [f"i{n}" for n in range(20)]}
    shop.writer.post("/v1/channels/books/items/delete", json=ids).raise_for_status()
    shop.operator.delete("/v1/users/u0").raise_for_status()
    shop.operator.post(f"{ADMIN}/releases/rollback").raise_for_status()
    wait_for(lambda: serves(shop.reader, 0))
    assert answers(shop) != before
    backup.restore(db, tmp_path / "b", replace=True)
    server.app.state.wake.look()
    wait_for(lambda: shop.reader.get("/v1/channels/books").status_code == 200 and serves(shop.reader, 1))
    wait_for(lambda: answers_or_none(shop) == before)  # the same keys, items, scores and digest


def answers_or_none(shop: Shop) -> list[Any] | None:
    """As `answers`; None while the restored channel is not loaded."""
    body = {"user_id": "u0", "count": 1}
    ready = shop.reader.post("/v1/channels/books/recommendations", json=body).status_code == 200
    return answers(shop) if ready else None
