"""The console before somebody who means it harm, over a real socket."""

import secrets
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from pytest import Subtests

from app.console.rendering import static, templates
from app.console.security import COOKIE, csrf_token
from app.store import sessions
from tests.app.api.conftest import Server, Shop, client, send
from tests.app.console.conftest import SIGN_IN, browser, csrf_of, key_of, sign_in

HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
EVIL = "\"'><img src=x onerror=alert(1)><script>alert(1)</script>{{ 7 * 7 }}</div>"


def pages(shop: Shop) -> list[str]:
    here = f"/admin/channels/{shop.tenant}/books/settings"
    tenant = f"/admin/tenants/{shop.tenant}"
    return ["/admin/", here, tenant, f"{tenant}/users?user_id=u1", "/admin/audit"]


def test_nobody_sees_a_page_without_a_session(server: Server, shop: Shop, subtests: Subtests) -> None:
    key = key_of(shop.operator)
    cookies = [
        "",
        "trs_",
        f"trs_{secrets.token_urlsafe(32)}",
        key,
        "trs_é",
        'trs_"\\012"',
        "trs_" + "a" * 4000,
    ]
    with browser(server) as stranger:
        for page in [*pages(shop), "/admin/tenants", "/admin/keys", "/admin/system", "/admin/system/state"]:
            for cookie in cookies:
                with subtests.test(f"{page} {cookie[:12]}"):
                    sent = {b"Cookie": f"{COOKIE}={cookie}".encode()}
                    answer = stranger.get(page, headers=sent)
                    assert answer.status_code == 303
                    assert answer.headers["location"].startswith(f"{SIGN_IN}?next=%2Fadmin%2F")
                    part = stranger.get(page, headers={**sent, b"HX-Request": b"true"})
                    assert (part.status_code, part.headers["hx-redirect"]) == (204, SIGN_IN)


def test_an_ended_session_is_of_no_use(server: Server, visitor: httpx.Client, shop: Shop) -> None:
    token = visitor.cookies[COOKIE]
    with browser(server) as thief:
        thief.cookies.set(COOKIE, token, path="/admin")
        assert thief.get("/admin/").status_code == 200
        signed_out = visitor.post("/admin/sign-out", headers=csrf_of(visitor))
        assert "max-age=0" in signed_out.headers["set-cookie"].lower()
        assert thief.get("/admin/").status_code == 303
    with client(server.url, token) as api:
        assert api.get("/v1/me").status_code == 401


def test_an_expired_session_is_of_no_use(server: Server, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "LASTS", -sessions.LASTS)
    with server.app.state.db.session() as s:
        token = sessions.open_session(s, key_of(shop.operator))
    with browser(server) as late:
        late.cookies.set(COOKIE, token, path="/admin")
        assert late.get("/admin/").status_code == 303


def test_a_session_is_new_at_every_sign_in_and_ends_the_one_before(server: Server, shop: Shop) -> None:
    key = key_of(shop.operator)
    with browser(server) as visitor, browser(server) as attacker:
        planted = f"trs_{secrets.token_urlsafe(32)}"
        visitor.cookies.set(COOKIE, planted, path="/admin", domain="127.0.0.1")
        assert sign_in(visitor, key).status_code == 303
        first = visitor.cookies[COOKIE]
        assert first != planted
        attacker.cookies.set(COOKIE, planted, path="/admin")
        assert attacker.get("/admin/").status_code == 303
        assert sign_in(visitor, key).status_code == 303
        assert visitor.cookies[COOKIE] != first
        attacker.cookies.clear()
        attacker.cookies.set(COOKIE, first, path="/admin")
        assert attacker.get("/admin/").status_code == 303


def test_the_cookie_is_for_the_console_and_no_script(server: Server, shop: Shop) -> None:
    with browser(server) as visitor, browser(server, "127.0.0.9") as elsewhere:
        plain = sign_in(visitor, key_of(shop.operator)).headers["set-cookie"].lower()
        assert {"httponly", "path=/admin", "samesite=strict", "max-age=43200"} <= set(plain.split("; "))
        assert "secure" not in plain
        # From the proxy, which is trusted (127.0.0.1 always is), and from somebody else.
        tls = {"X-Forwarded-Proto": "https"}
        assert "; secure" in sign_in(visitor, key_of(shop.operator), **tls).headers["set-cookie"].lower()
        assert "secure" not in sign_in(elsewhere, key_of(shop.operator), **tls).headers["set-cookie"].lower()


def test_an_act_needs_the_token_of_a_page_of_its_session(
    server: Server, visitor: httpx.Client, owner: httpx.Client, shop: Shop, subtests: Subtests
) -> None:
    path = f"/admin/tenants/{shop.tenant}/keys"
    mine, salt = csrf_of(visitor)["X-CSRF-Token"], secrets.token_hex(16)
    wrong = {
        "none": None,
        "empty": "",
        "no salt": "a" * 64,
        "another": f"{salt}.{'0' * 64}",
        "cut": mine[:-1],
        "of another session": csrf_token(owner.cookies[COOKIE]),
        "of no session": csrf_token(""),
        "not ASCII": "é.é",
    }
    for name, token in wrong.items():
        with subtests.test(name):
            headers = {} if token is None else {b"X-CSRF-Token": token.encode()}
            answer = visitor.post(path, data={"role": "reader"}, headers=headers)
            assert answer.status_code == 403
            assert "older session" in answer.text
    assert len(shop.operator.get(f"/v1{path}").json()) == 3
    assert visitor.post(path, data={"role": "reader"}, headers={"X-CSRF-Token": mine}).status_code == 200
    assert len(shop.operator.get(f"/v1{path}").json()) == 4


def test_another_site_cannot_act_nor_sign_anybody_in(
    server: Server, visitor: httpx.Client, shop: Shop, subtests: Subtests
) -> None:
    host = server.url.removeprefix("http://")
    foreign = [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://{host}.evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": server.url},
    ]
    path, token = f"/admin/tenants/{shop.tenant}/keys", csrf_of(visitor)
    for headers in foreign:
        with subtests.test(str(headers)):
            assert visitor.post(path, headers=headers | token).status_code == 403
            with browser(server) as victim:
                answer = sign_in(victim, key_of(shop.operator), **headers)
                assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
    for headers in ({"Origin": server.url}, {"Sec-Fetch-Site": "same-origin"}):
        assert visitor.post(path, data={"role": "reader"}, headers=headers | token).status_code == 200


def test_every_page_has_another_token(visitor: httpx.Client) -> None:
    assert csrf_of(visitor) != csrf_of(visitor)


@pytest.mark.parametrize(
    "onward",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/admin/../..",
        "/admin/..//evil.example",
        "/admin/%2e%2e/%2e%2e/docs",
        "/admin/%2f%2fevil.example",
        "%2f%2fevil.example",
        "/admin/\r\nSet-Cookie: a=b",
        "/admin/%0d%0aSet-Cookie:%20a=b",
        "/admin/\t/evil.example",
        "/adminevil",
        "/admin@evil.example",
        "",
    ],
)
def test_signing_in_leads_nowhere_else(server: Server, shop: Shop, onward: str) -> None:
    with browser(server) as visitor:
        answer = sign_in(visitor, key_of(shop.operator), onward)
        assert (answer.status_code, answer.headers["location"]) == (303, "/admin/")
        assert list(answer.cookies.keys()) == [COOKIE]


def test_signing_in_leads_where_one_wanted_to_go(server: Server, shop: Shop) -> None:
    with browser(server) as visitor:
        asked = visitor.get("/admin/audit?action=promote&channel=a%20b")
        onward = str(httpx.URL(asked.headers["location"]).params["next"])
        answer = sign_in(visitor, key_of(shop.operator), onward)
        assert answer.headers["location"] == "/admin/audit?action=promote&channel=a%20b"


class Tags(HTMLParser):
    """What a browser would run of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def is_harmless(text: str) -> bool:
    """Nothing of EVIL became a tag, an attribute or a template's expression."""
    tags = Tags()
    tags.feed(text)
    assert "<script>alert" not in text
    assert "&lt;/script&gt;49" not in text
    for tag, attributes in tags.found:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (
            tag,
            attributes,
        )
        assert attributes.get("src") != "x"
        assert tag != "script" or (attributes.get("src") or "").startswith("/admin/static/")
    return True


def test_what_others_wrote_is_text_on_every_page(
    server: Server, owner: httpx.Client, visitor: httpx.Client, shop: Shop, platform: httpx.Client
) -> None:
    key = shop.operator.post(
        f"/v1/admin/tenants/{shop.tenant}/keys", json={"role": "operator", "label": EVIL}
    )
    with client(server.url, key.json()["secret"]) as labelled:
        labelled.post("/v1/admin/channels", json={"name": "evil", "description": EVIL})
        labelled.post("/v1/admin/channels/books/releases/promote", json={"version": 77, "reason": EVIL})
        labelled.delete("/v1/admin/channels/books", params={"confirm": EVIL})
    quoted = EVIL.replace('"', '""')
    send(shop.writer, "items", f'item_id,text\n"{quoted}","{quoted}"\n')
    send(shop.writer, "interactions", f'user_id,item_id,timestamp\n"{quoted}","{quoted}",1\n')
    for who in (owner, visitor):
        paths = [
            f"/admin/tenants/{shop.tenant}",
            f"/admin/tenants/{shop.tenant}/users?user_id={httpx.QueryParams({'a': EVIL})['a']}",
            f"/admin/channels/{shop.tenant}/evil/settings",
            f"/admin/audit?tenant={shop.tenant}",
        ]
        for path in paths:
            answer = who.get(path)
            assert answer.status_code == 200, path
            assert "&lt;img src=x" in answer.text, path
            assert is_harmless(answer.text)
    with browser(server) as bearer:  # the label is on every page of the key's own session
        sign_in(bearer, key.json()["secret"])
        assert is_harmless(bearer.get("/admin/").text)


def test_what_a_visitor_sends_comes_back_as_text(
    visitor: httpx.Client, owner: httpx.Client, shop: Shop
) -> None:
    token = csrf_of(visitor)
    sent = {"a": EVIL}
    reflected = [
        visitor.get(SIGN_IN, params={"next": EVIL}),
        visitor.post(SIGN_IN, data={"key": EVIL, "next": EVIL}),
        visitor.get("/admin/audit", params={"channel": EVIL, "action": EVIL}),
        owner.get("/admin/audit", params={"tenant": EVIL, "before": EVIL}),
        owner.get("/admin/tenants", params={"search": EVIL[:60], "after": EVIL[:60]}),
        owner.post("/admin/tenants", data={"name": EVIL}, headers=csrf_of(owner)),
        visitor.get(f"/admin/tenants/{shop.tenant}/users", params={"user_id": EVIL, "after": 0}),
        visitor.get(f"/admin/tenants/{httpx.QueryParams(sent)}"),
        visitor.get(f"/admin/channels/{shop.tenant}/{httpx.QueryParams(sent)}/settings"),
        visitor.post(
            f"/admin/tenants/{shop.tenant}/keys",
            data={"role": EVIL, "label": EVIL, "last_day": EVIL},
            headers=token | {"HX-Request": "true"},
        ),
        visitor.post(f"/admin/tenants/{shop.tenant}/users/delete", data={"user_id": EVIL}, headers=token),
    ]
    for answer in reflected:
        assert answer.status_code < 500, answer.request.url
        assert is_harmless(answer.text)


def test_a_charts_data_are_an_attribute() -> None:
    macro = templates.env.from_string(
        '{% from "macros.html" import chart %}{% set series = [{"label": evil, "values": [1]}] %}'
        '{{ chart("c", evil, "bars", [evil], series) }}'
    )
    text = macro.render(evil=EVIL)
    assert is_harmless(text)
    tags = Tags()
    tags.feed(text)
    (data,) = [attributes["data-chart"] for _, attributes in tags.found if "data-chart" in attributes]
    assert data is not None
    assert "\\u003cimg src=x" in data


def test_every_answer_says_that_nobody_may_frame_it(
    server: Server, owner: httpx.Client, visitor: httpx.Client, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with browser(server) as stranger:
        answers = [
            stranger.get(SIGN_IN),
            stranger.get("/admin/"),  # a redirect
            sign_in(stranger, "tr_wrong"),
            stranger.put(SIGN_IN),  # 405
            stranger.get(static("console.css")),
            stranger.get("/admin/static/nothing.css"),
            stranger.get("/admin/nothing"),
            stranger.post(SIGN_IN, data={"key": "a" * 70_000}),  # 413
            visitor.get("/admin/"),
            visitor.get("/admin/tenants"),  # 403
            visitor.get(f"/admin/tenants/{shop.tenant}/users?user_id=u1&after=x"),  # 422
            visitor.post("/admin/sign-out"),  # 403 without a token
        ]
        monkeypatch.setattr("app.console.system._state", None)
        answers.append(owner.get("/admin/system"))
    statuses = [answer.status_code for answer in answers]
    assert statuses == [200, 303, 401, 405, 200, 404, 404, 413, 200, 403, 422, 403, 500]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        kept = "immutable" if answer.status_code == 200 and "/static/" in str(answer.url) else "no-store"
        assert kept in answer.headers["cache-control"]
        assert "Traceback" not in answer.text
    assert "This is a bug" in answers[-1].text
    assert "more than 65536 bytes" in answers[7].text


@pytest.mark.parametrize(
    "path",
    [
        "../../../pyproject.toml",
        "..%2f..%2fapp.py",
        "%2e%2e/%2e%2e/app.py",
        "....//app.py",
        "..\\app.py",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "vendor/../../app.py",
        "%00",
        "",
        "vendor",
    ],
)
def test_static_files_are_those_of_their_folder(server: Server, path: str) -> None:
    with browser(server) as stranger:
        # As raw bytes: a client would tidy the path first.
        raw = httpx.URL(server.url).copy_with(raw_path=f"/admin/static/{path}".encode())
        answer = stranger.get(raw)
        assert answer.status_code == 404
        assert "import" not in answer.text


def test_wrong_keys_are_counted_at_the_door_by_address(server: Server, shop: Shop) -> None:
    with browser(server, "127.0.0.77") as guesser, browser(server, "127.0.0.78") as other:
        answers = [sign_in(guesser, f"tr_guess-{n}") for n in range(22)]
        assert [answer.status_code for answer in answers] == [401] * 20 + [429] * 2
        assert "Too many wrong keys" in answers[-1].text
        fresh = shop.operator.post(f"/v1/admin/tenants/{shop.tenant}/keys", json={"role": "operator"}).json()
        assert sign_in(guesser, fresh["secret"]).status_code == 429
        assert sign_in(other, fresh["secret"]).status_code == 303


def test_ended_sessions_hold_up_nobody_at_the_door(server: Server, shop: Shop) -> None:
    with browser(server, "127.0.0.76") as tabs:
        for _ in range(30):
            tabs.cookies.set(COOKIE, f"trs_{secrets.token_urlsafe(32)}", path="/admin")
            assert tabs.get("/admin/").status_code == 303
        assert sign_in(tabs, key_of(shop.operator)).status_code == 303


def test_odd_forms_at_the_door_are_refused(server: Server, shop: Shop) -> None:
    odd = "multipart/form-data; charset={}; boundary=b"
    part = b'--b\r\nContent-Disposition: form-data; name="key"\r\n\r\n\\ud800\r\n--b--\r\n'
    file = part.replace(b'name="key"', b'name="key"; filename="a"')
    with browser(server, "127.0.0.79") as stranger:
        for kind, body, status in (
            (odd.format("raw_unicode_escape"), part, 401),
            (odd.format("nothing"), part, 401),
            (odd.format("utf-8"), file, 400),
            ("multipart/form-data", part, 400),
            ("application/x-www-form-urlencoded", b"key=%00%ff%ed%a0%80", 401),
            ("application/x-www-form-urlencoded", b"", 401),
            ("application/json", b'{"key": "a"}', 401),
        ):
            answer = stranger.post(SIGN_IN, content=body, headers={"Content-Type": kind})
            assert answer.status_code == status, (kind, answer.text)
        token = stranger.post(SIGN_IN, data={"key": "trs_" + "a" * 40})
        assert token.status_code == 401


def test_nobody_keeps_the_server_busy_with_huge_forms(server: Server, shop: Shop) -> None:
    """A form is read before anybody looks who sent it."""
    with browser(server) as stranger:
        for path in (SIGN_IN, "/admin/tenants", f"/admin/tenants/{shop.tenant}/keys"):
            for field in ("a" * 70_000, "%41" * 30_000, "&a=" * 30_000):
                kind = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
                answer = stranger.post(path, content=f"name={field}", headers=kind)
                assert answer.status_code == 413
                assert answer.headers["connection"] == "close"


def test_a_session_is_a_key_to_the_api_but_to_no_other_session(
    server: Server, visitor: httpx.Client, shop: Shop
) -> None:
    """By design: the console asks the API with it. It can do what its key can, and ends with it."""
    token = visitor.cookies[COOKIE]
    with client(server.url, token) as api:
        assert api.get("/v1/me").json()["tenant"] == shop.tenant
        assert api.get("/v1/admin/tenants").status_code == 403
    with browser(server) as longer:
        refused = sign_in(longer, token)
        assert (refused.status_code, COOKIE in longer.cookies) == (403, False)
        assert "Sign in with your key" in refused.text


def test_pages_of_others_are_refused_in_words(server: Server, visitor: httpx.Client, shop: Shop) -> None:
    with browser(server) as reader:
        assert sign_in(reader, key_of(shop.reader)).status_code == 303
        for path in ("/admin/tenants", "/admin/keys", "/admin/system", f"/admin/tenants/{shop.tenant}"):
            answer = reader.get(path)
            assert answer.status_code == 403
            assert "<h1>Forbidden</h1>" in answer.text
        token = csrf_of(reader)
        for path in ("settings/delete", "settings/policy", "settings/policy/delete"):
            act = reader.post(
                f"/admin/channels/{shop.tenant}/books/{path}", data={"confirm": "books"}, headers=token
            )
            assert act.status_code == 403
    other = "/admin/channels/nowhere/books/settings"
    assert visitor.get(other).status_code == 404
    assert visitor.get("/admin/tenants/nowhere").status_code == 404


def test_no_token_reaches_a_log(tmp_path: Path) -> None:
    from app.core.log import redact

    token = f"trs_{secrets.token_urlsafe(32)}"
    assert redact(f"session {token} ended") == "session [redacted] ended"
