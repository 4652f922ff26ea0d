"""Image channels: archives, single images, and what is refused."""

import io
import tempfile
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.app.api.conftest import Server, Shop, client, is_problem, spare_file
from tests.pictures import encoded, flag, noise, png

BASE = "/v1/channels/posters"
IMPORTS = f"{BASE}/imports?kind=images"


@pytest.fixture
def cinema(shop: Shop) -> Shop:
    """The shop's tenant with a channel `posters` that reads images, of the items a, b and c/d."""
    body = {"name": "posters", "modality": "image"}
    answer = shop.operator.post("/v1/admin/channels", json=body)
    assert (answer.status_code, answer.json()["modality"]) == (201, "image"), answer.text
    items = b"item_id,text\na,film a\nb,film b\nc/d,film c\n"
    assert shop.writer.post(f"{BASE}/imports?kind=items&format=csv", content=items).status_code == 201
    return shop


def zipped(**files: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in files.items():
            archive.writestr(f"{name}.png", data)
    return target.getvalue()


def generation(shop: Shop) -> int:
    return int(shop.reader.get(BASE).json()["generation"])


def test_channels_have_a_modality(cinema: Shop) -> None:
    found = {channel["name"]: channel["modality"] for channel in cinema.reader.get("/v1/channels").json()}
    assert found == {"books": "text", "posters": "image"}
    assert cinema.reader.get("/v1/channels/books").json()["modality"] == "text"
    assert is_problem(
        cinema.operator.post("/v1/admin/channels", json={"name": "x", "modality": "sound"}), 422
    )


def test_an_archive(cinema: Shop) -> None:
    before = generation(cinema)
    content = zipped(a=encoded(flag(), "PNG"), **{"c%2Fd": encoded(noise(1))})
    answer = cinema.writer.post(IMPORTS, content=content, headers={"content-type": "application/zip"})
    assert answer.status_code == 201, answer.text
    report = answer.json()
    assert (report["kind"], report["format"], report["rows"], report["inserted"]) == ("images", "zip", 2, 2)
    assert cinema.reader.get(BASE).json()["images"] == 2
    again = cinema.writer.post(f"{IMPORTS}&format=zip", content=content).json()
    assert (again["inserted"], again["updated"], again["unchanged"]) == (0, 0, 2)
    assert generation(cinema) == before + 1
    assert cinema.reader.get(f"{BASE}/items/c%2Fd/image").headers["content-type"] == "image/jpeg"


def test_bad_members_are_listed(cinema: Shop) -> None:
    content = zipped(a=encoded(flag(), "PNG"), zzz=encoded(flag(), "PNG"), b=b"nothing")
    answer = cinema.writer.post(f"{IMPORTS}&format=zip", content=content)
    assert is_problem(answer, 422)
    errors = answer.json()["report"]["errors"]
    assert [(error["line"], error["reason"].partition(":")[0]) for error in errors] == [(2, "zzz"), (3, "b")]
    assert cinema.reader.get(BASE).json()["images"] == 0
    assert is_problem(cinema.reader.get(f"{BASE}/items/a/image"), 404)
    assert not spare_file(Path(tempfile.gettempdir()))


def test_archives_that_are_refused_whole(cinema: Shop) -> None:
    content = zipped(a=encoded(flag(), "PNG"))
    for path, data, status in (
        (f"{IMPORTS}&format=csv", content, 422),
        (f"{IMPORTS}&format=tar", content, 422),
        (f"{BASE}/imports?kind=items&format=zip", content, 422),
        (f"{IMPORTS}&format=zip", content[:-40], 422),
        (f"{IMPORTS}&format=zip", bytes(100_001), 413),
        ("/v1/channels/books/imports?kind=images&format=zip", zipped(i1=encoded(flag())), 422),
    ):
        assert is_problem(cinema.writer.post(path, content=data), status)
    assert is_problem(cinema.reader.post(f"{IMPORTS}&format=zip", content=content), 403)


@pytest.mark.parametrize("path", ["a", "c/d", "c%2Fd"])
def test_one_image(cinema: Shop, path: str) -> None:
    url = f"{BASE}/items/{path}/image"
    before = generation(cinema)
    data = encoded(noise(1, (1000, 600)), "PNG")  # more than a JSON body may have
    assert len(data) > 1024**2
    put = cinema.writer.put(url, content=data, headers={"content-type": "text/html"})
    assert put.status_code == 201, put.text
    sha256 = put.json()["sha256"]
    item_id = path.replace("%2F", "/")
    expected = {"item_id": item_id, "format": "png", "width": 1000, "height": 600, "sha256": sha256}
    assert put.json() == expected
    again = cinema.writer.put(url, content=data)
    assert (again.status_code, again.json()) == (200, expected)
    assert generation(cinema) == before + 1
    got = cinema.reader.get(url)
    assert got.content == data
    assert got.headers["content-type"] == "image/png"
    assert got.headers["etag"] == f'"{sha256}"'
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["content-security-policy"] == "default-src 'none'; sandbox"
    unchanged = cinema.reader.get(url, headers={"if-none-match": got.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert cinema.writer.put(url, content=encoded(flag())).json()["format"] == "jpeg"
    assert generation(cinema) == before + 2
    assert cinema.reader.get(url, headers={"if-none-match": got.headers["etag"]}).status_code == 200
    assert cinema.writer.delete(url).status_code == 204
    assert generation(cinema) == before + 3
    assert is_problem(cinema.reader.get(url), 404)
    assert is_problem(cinema.writer.delete(url), 404)
    assert cinema.reader.get(f"{BASE}/items/{path}").json()["item_id"] == item_id


def test_images_that_are_refused(cinema: Shop) -> None:
    url = f"{BASE}/items/a/image"
    for content in (
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        encoded(flag(), "GIF"),
        encoded(flag())[:-20],
        encoded(flag((4, 4)), "PNG"),
        png(50_000, 50_000, pixels=bytes(1000)),
        encoded(flag(), "WEBP", save_all=True, append_images=[noise(1)]),
    ):
        assert is_problem(cinema.writer.put(url, content=content), 422)
    assert is_problem(cinema.writer.put(url, content=bytes(5 * 1024**2 + 1)), 413)
    assert is_problem(cinema.writer.put(f"{BASE}/items/zzz/image", content=encoded(flag())), 404)
    text = cinema.writer.put("/v1/channels/books/items/i1/image", content=encoded(flag()))
    assert is_problem(text, 422)
    assert "modality 'image'" in text.json()["detail"]
    assert cinema.reader.get(BASE).json()["images"] == 0


def test_roles_and_tenants(server: Server, cinema: Shop, platform: httpx.Client) -> None:
    url = f"{BASE}/items/a/image"
    assert cinema.writer.put(url, content=encoded(flag())).status_code == 201
    assert is_problem(cinema.reader.put(url, content=encoded(flag())), 403)
    assert is_problem(cinema.reader.delete(url), 403)
    other = platform.post("/v1/admin/tenants", json={"name": f"o{cinema.tenant}"}).json()["name"]
    secret = platform.post(f"/v1/admin/tenants/{other}/keys", json={"role": "operator"}).json()["secret"]
    with client(server.url, secret) as foreign, client(server.url, None) as anyone:
        for answer in (foreign.get(url), foreign.put(url, content=encoded(flag())), foreign.delete(url)):
            assert is_problem(answer, 404)
        assert is_problem(anyone.get(url), 401)
    assert cinema.reader.get(url).status_code == 200
