"""Just some items, by their ids."""

from tests.app.api.conftest import Shop, is_problem
from tests.app.api.test_browse import ITEMS, ids


def test_some_items_come_at_once_and_in_order(shop: Shop) -> None:
    assert ids(shop.reader, item_id=["i7", "i2", "nothing", "i7"]) == ["i7", "i2"]
    assert is_problem(shop.reader.get(ITEMS, params={"item_id": ["x"] * 501}), 422)
    assert is_problem(shop.reader.get(ITEMS, params={"item_id": "x" * 129}), 422)
