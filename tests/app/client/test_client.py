"""The client against the real server: what teams and operators do."""

import inspect
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import assert_type

import anyio
import pandas
import polars
import pytest
from pydantic import ValidationError

from app.api.schemas.items import ItemOut
from app.api.schemas.recommendations import AnsweredOut, PreviewOut, RecommendationOut, RefusedOut
from app.client import ApiError, AsyncClient, Client, ClientError, Unreachable, rows
from app.client.call import Call
from app.client.operations import Operations
from tests.app.api.conftest import OPERATOR, Server, Shop, wait_for


def test_recommend_is_typed_and_answers(client: Client) -> None:
    answer = client.recommend(
        "books", user_id="u1", count=3, filter={"colour": "c1"}, exclude_item_ids=["i4"]
    )
    assert_type(answer, RecommendationOut)
    assert len(answer.items) == 3
    assert {item.metadata["colour"] for item in answer.items} == {"c1"}
    assert "i4" not in [item.item_id for item in answer.items]
    assert answer.release.version == 0


def test_at_most_and_a_history_with_what_was_seen(client: Client) -> None:
    answer = client.recommend("books", history=["i1"], count=3, at_most={"colour": 1}, exclude_seen=False)
    assert len({item.metadata["colour"] for item in answer.items}) == 3


def test_pages_show_every_item_once(client: Client) -> None:
    first = client.recommend("books", user_id="u1", count=8, paged=True, exclude_seen=False)
    pages = list(client.pages("books", first))
    shown = [item.item_id for page in pages for item in page.items]
    assert len(shown) == len(set(shown)) == 30
    assert [len(page.items) for page in pages] == [8, 8, 8, 6]


def test_an_answer_that_was_not_paged_is_the_only_page(client: Client) -> None:
    first = client.recommend("books", user_id="u1")
    assert list(client.pages("books", first)) == [first]


def test_a_batch_has_an_outcome_an_entry(client: Client) -> None:
    answered, refused = client.recommend_batch("books", [{"user_id": "u1", "count": 2}, {"count": 2}]).results
    assert isinstance(answered, AnsweredOut) and len(answered.recommendation.items) == 2
    assert isinstance(refused, RefusedOut) and refused.status == 422


def test_answers_become_frames(client: Client) -> None:
    answer = client.similar("books", "i1", count=4)
    table = rows(answer)
    assert list(table[0])[:4] == ["rank", "item_id", "score", "reason"]
    assert pandas.DataFrame(table)["rank"].tolist() == [1, 2, 3, 4]
    assert polars.DataFrame(table)["item_id"].to_list() == [item.item_id for item in answer.items]


@pytest.mark.parametrize("item_id", ["plain", "with/slash", "a b?c#d%2F", "..", "ünï"])
def test_items_are_put_patched_shown_and_deleted_whatever_their_id(client: Client, item_id: str) -> None:
    assert_type(client.put_item("books", item_id, "a thing", {"price": 1, "old": True}), ItemOut)
    client.patch_item("books", item_id, attributes={"price": 2, "old": None})
    found = client.item("books", item_id)
    assert (found.item_id, found.text, found.attributes) == (item_id, "a thing", {"price": 2})
    assert client.patch_item("books", item_id, "another").text == "another"
    client.delete_item("books", item_id)
    with pytest.raises(ApiError) as caught:
        client.item("books", item_id)
    assert caught.value.status == 404


def test_items_in_bulk(client: Client) -> None:
    stored = client.put_items("books", [{"item_id": "n1", "text": "one"}, {"item_id": "n2", "text": "two"}])
    assert stored.inserted == 2
    assert client.delete_items("books", ["n1", "n2", "n3"]).deleted == 2


def test_an_event_is_stored_and_reflected_and_its_user_forgotten(client: Client) -> None:
    answer = client.recommend("books", user_id="u1", count=1)
    item_id = answer.items[0].item_id
    event = {"user_id": "u1", "item_id": item_id, "recommendation_id": answer.recommendation_id}
    assert client.send_events("books", [event, {"user_id": "u1", "item_id": "nope"}]).accepted == 1
    assert item_id not in [i.item_id for i in client.recommend("books", user_id="u1", count=20).items]
    assert client.user("u1").interactions[-1].item_id == item_id
    assert client.delete_user("u1").channels[0].interactions == 9
    assert client.user("u1").interactions == []


def test_an_operator_runs_tenants_keys_and_channels(server: Server, shop: Shop, client: Client) -> None:
    assert shop.tenant in [each.name for each in client.tenants()]
    assert client.set_limits(shop.tenant, {"channels": 2}).limits.channels == 2
    made = client.create_key(shop.tenant, "reader", "mine")
    with Client(server.url, made.secret) as reader:
        assert [each.name for each in reader.channels()] == ["books"]
        with pytest.raises(ApiError) as caught:
            reader.create_channel("more")
        assert caught.value.status == 403
    second = client.rotate_key(shop.tenant, made.id)
    client.revoke_key(shop.tenant, second.id)
    assert all(k.revoked_at or k.expires_at for k in client.keys(shop.tenant) if k.label == "mine")
    client.create_channel("films", "to watch")
    with pytest.raises(ApiError) as caught:
        client.create_channel("discs")
    assert (caught.value.title, caught.value.extra["quota"]) == ("Over quota", "channels")
    client.delete_channel("films")
    assert client.audit(action="delete_channel", limit=1)[0].channel == "films"
    client.for_tenant(None).delete_tenant(shop.tenant)
    assert shop.tenant not in [each.name for each in client.tenants()]


def test_the_platform_s_own_keys(client: Client) -> None:
    made = client.create_key(None, label="second")
    found = client.keys()
    assert made.id in [each.id for each in found]
    assert client.revoke_key(None, made.id).revoked_at


def test_policies_serving_and_health(client: Client) -> None:
    assert client.set_training_policy("books", every_hours=24).every_hours == 24
    assert client.training_policy("books").job["promote"] is True
    client.delete_training_policy("books")
    assert client.serving().host
    assert client.workers() == [] or client.workers()[0].name
    wait_for(lambda: client.ready()["status"] == "ready")


def test_who_am_i(server: Server, shop: Shop, client: Client) -> None:
    assert (client.me().tenant, client.me().role) == (None, "operator")
    with Client(server.url, client.create_key(shop.tenant, "reader").secret) as reader:
        assert (reader.me().tenant, reader.me().role) == (shop.tenant, "reader")


def test_channels_at_a_glance(server: Server, shop: Shop, client: Client) -> None:
    client.create_channel("films")
    page = client.overview(limit=1, sort="-items")
    assert ([each.name for each in page.channels], page.found) == (["books"], 2)
    behind = client.overview(limit=1, sort="-items", after=page.next)
    assert ([each.name for each in behind.channels], behind.next) == (["films"], None)
    assert client.overview("films empty").channels[0].health == "empty"
    everyone = client.for_tenant(None).overview(limit=200)
    assert shop.tenant in {each.tenant for each in everyone.channels}
    assert client.channel_overview("books").items == 30
    wait_for(lambda: client.ready()["status"] == "ready")
    client.recommend("books", user_id="u1")
    wait_for(lambda: sum(hour.champion.recommendations for hour in client.traffic("books", hours=2)) == 1)


def test_what_a_channel_holds(client: Client) -> None:
    assert client.statistics("books").items == 30
    first = client.items("books", limit=20)
    second = client.items("books", limit=20, after=first.next or "")
    assert (len(first.items), len(second.items), second.next) == (20, 10, None)
    assert client.items("books", "I29").items[0].item_id == "i29"
    assert [each.item_id for each in client.items("books", item_ids=["i3", "i1"]).items] == ["i3", "i1"]
    users = client.users("books", "u")
    assert "u1" in users.users
    assert client.users("books", random=True).users[0] in users.users
    history = client.user_history("books", "u1", limit=3)
    assert len(history.items) == 3 and history.items[0].text


def test_methods_a_map_and_a_preview(client: Client) -> None:
    lora = next(each for each in client.methods("books") if each.name == "lora")
    assert "rank" in [knob.name for knob in lora.knobs]
    wait_for(lambda: client.ready()["status"] == "ready")
    found = client.release_map("books", 0, limit=10, by="colour")
    assert (len(found.points), found.by) == (10, "colour")
    answer = client.preview("books", version=0, user_id="u1", count=3)
    assert_type(answer, PreviewOut)
    assert (len(answer.items), answer.variant, answer.release.version) == (3, "champion", 0)
    with pytest.raises(ValidationError, match="at most one of variant and version"):
        client.preview("books", version=0, variant="challenger", user_id="u1")


def test_lists_come_in_pages(shop: Shop, client: Client) -> None:
    assert [each.name for each in client.tenants(shop.tenant, limit=1)] == [shop.tenant]
    assert len(client.imports("books", limit=1)) == 1
    older, newer = client.train("books"), client.train("books")
    assert [each.id for each in client.jobs("books", limit=1)] == [newer.id]
    assert [each.id for each in client.jobs("books", before=newer.id)] == [older.id]


def test_what_is_no_such_server_is_told(client: Client, tmp_path: Path) -> None:
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as other:
        thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        with Client(f"http://127.0.0.1:{other.server_port}", "k", retries=0) as lost:
            with pytest.raises(ApiError, match="answered 404, but not as TransRec Serve does"):
                lost.channels()
            (tmp_path / "health").mkdir()
            (tmp_path / "health" / "ready").write_text("<html>")
            with pytest.raises(ClientError, match="what this client cannot read"):
                lost.ready()
        other.shutdown()
        thread.join()


def test_an_error_carries_what_the_problem_says(client: Client) -> None:
    with pytest.raises(ApiError, match="404 Not found: There is no channel 'nope'") as caught:
        client.channel("nope")
    error = caught.value
    assert error.status == 404 and error.title == "Not found" and "create it" in error.detail
    assert error.request_id
    with pytest.raises(ApiError) as caught:
        client.recommend("books", user_id="u1", count=501)
    assert caught.value.extra["field"] == "count"


def test_what_cannot_be_asked_is_not_sent(client: Client) -> None:
    with pytest.raises(ValidationError, match="exactly one of user_id and history"):
        client.recommend("books", user_id="u1", history=["i1"])
    with pytest.raises(ValueError, match="format"):
        client.import_items("books", b"item_id,text\n")


def test_everything_comes_from_the_environment(
    server: Server, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSREC_URL", server.url)
    monkeypatch.setenv("TRANSREC_KEY", OPERATOR)
    monkeypatch.setenv("TRANSREC_TENANT", shop.tenant)
    with Client() as client:
        assert client.channel("books").items == 30


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "http://x:port", "http://x/v1", ""])
def test_an_address_that_is_none_is_told_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSREC_URL", "what")
    with pytest.raises(ClientError, match=r"is no address|names a route"):
        Client(url or None)


@pytest.mark.parametrize("key", ["tr_\u00fcber", "two\nlines"])
def test_a_key_that_is_none_is_told_at_once(key: str) -> None:
    with pytest.raises(ClientError, match="Copy it again"):
        Client(key=key)


def test_nobody_at_the_address_is_unreachable() -> None:
    with (
        Client("http://127.0.0.1:9", "k", retries=0) as client,
        pytest.raises(Unreachable, match="No answer"),
    ):
        client.channels()


def test_the_asynchronous_client_does_the_same(server: Server, shop: Shop) -> None:
    async def run() -> None:
        async with AsyncClient(server.url, OPERATOR, shop.tenant) as client:
            first = await client.recommend("books", user_id="u1", count=12, paged=True, exclude_seen=False)
            assert_type(first, RecommendationOut)
            pages = [page async for page in client.pages("books", first)]
            assert [len(page.items) for page in pages] == [12, 12, 6]
            sent: list[tuple[int, int]] = []
            table = polars.DataFrame({"item_id": ["p1"], "title": ["from polars"]})
            report = await client.import_items("books", table, on_progress=lambda *at: sent.append(at))
            assert report.inserted == 1 and sent[-1][0] == sent[-1][1] > 0
            with pytest.raises(ApiError):
                await client.channel("nope")

    anyio.run(run)


def test_both_clients_have_every_operation_with_its_signature_and_words() -> None:
    for name in vars(Operations):
        if name.startswith("_"):
            continue
        sync, aio = getattr(Client, name), getattr(AsyncClient, name)
        assert sync is aio and sync.__doc__, name
        assert inspect.signature(sync).parameters.keys() == inspect.signature(aio).parameters.keys()


def test_a_method_of_the_class_describes_the_call() -> None:
    call = Client.item("books", "a/b")
    assert_type(call, Call[ItemOut])
    assert (call.method, call.path) == ("GET", "/v1/channels/books/items/a%2Fb")
