"""An image channel over HTTP: import, first answer, a training job, accuracy beside the baselines.

python -m tests.benchmarks.images movietweetings_posters --data DIR --backbone var/vit

DIR is as for `training.sources.read_images`; the backbone is what `transrec backbone fetch-vit` makes.
"""

import argparse
import csv
import io
import os
import secrets
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.pictures import tarred
from training.demo import Api, free_port, service
from training.sources import ImageSource, read_images

QUERY = {"tenant": "cinema"}
CHANNEL, ADMIN = "/v1/channels/posters", "/v1/admin/channels/posters"


def table(header: list[str], rows: Iterable[Iterable[object]]) -> bytes:
    """CSV."""
    out = io.StringIO()
    csv.writer(out).writerows([header, *rows])
    return out.getvalue().encode()


def send(api: Api, kind: str, form: str, content: bytes) -> float:
    """Import a file; returns the seconds it took."""
    start = time.monotonic()
    api("POST", f"{CHANNEL}/imports", params=QUERY | {"kind": kind, "format": form}, content=content)
    return time.monotonic() - start


def load(api: Api, source: ImageSource, users: int) -> None:
    """Create the channel, fill it, wait for its first answer."""
    api("POST", "/v1/admin/tenants", json={"name": QUERY["tenant"]})
    api("POST", "/v1/admin/channels", params=QUERY, json={"name": "posters", "modality": "image"})
    send(api, "items", "csv", table(["item_id", "text"], source.titles.items()))
    seconds = send(api, "images", "tar", tarred({f"{item}.jpg": data for item, data in source.items.items()}))
    print(f"| import of {len(source.items):,} images | {seconds:.1f} s |")
    known = [(user, sequence) for user, sequence in source.sequences.items() if len(sequence) >= 5][:users]
    log = ((user, item, 10**6 + n) for user, sequence in known for n, item in enumerate(sequence))
    send(api, "interactions", "csv", table(["user_id", "item_id", "timestamp"], log))
    start = time.monotonic()
    while (found := api("GET", CHANNEL, params=QUERY))["serving"]["generation"] != found["generation"]:
        time.sleep(0.5)
    print(f"| from the last import to answers | {time.monotonic() - start:.1f} s |", flush=True)


def train(api: Api, seconds: float) -> dict[str, Any]:
    """Houlsby in the top two layers; returns the finished job."""
    asked = {
        "adapter": {"method": "houlsby", "top_layers": 2},
        "fit": {"batch_users": 64, "max_epochs": 6, "max_seconds": seconds},
    }
    start, job = time.monotonic(), api("POST", f"{ADMIN}/training-jobs", params=QUERY, json=asked)
    while job["state"] in ("PENDING", "RUNNING"):
        time.sleep(2)
        job = api("GET", f"{ADMIN}/training-jobs/{job['id']}", params=QUERY)
    took = time.monotonic() - start
    print(
        f"| training job, at most {seconds:g} s of steps a stage | {took:.0f} s, {job['state']} |", flush=True
    )
    return dict(job)


def main() -> None:
    """Parse, serve, load, train, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--backbone", type=Path, required=True)
    parser.add_argument("--users", type=int, default=2500)
    parser.add_argument("--seconds", type=float, default=90)
    args = parser.parse_args()
    os.environ["TRANSREC_IMAGE_BACKBONE"] = str(args.backbone)
    operator = "tr_" + secrets.token_urlsafe(32)
    with (
        tempfile.TemporaryDirectory() as home,
        service(Path(home), free_port(), operator) as url,
        Api(url, operator) as api,
    ):
        load(api, read_images(args.data, args.name), args.users)
        job = train(api, args.seconds)
        for method, found in job["result"]["test"].items():
            print(f"| {method} | {found['hr10']:.4f} ± {found['hr10_se']:.4f} | {found['ndcg10']:.4f} |")


if __name__ == "__main__":
    main()
