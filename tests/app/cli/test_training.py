"""Training by the command line, with a real worker: train, evaluate, promote, roll back, try a challenger."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.app.api.conftest import OPERATOR, Server, new_shop
from tests.app.cli.conftest import Transrec
from tests.servers import Worker
from tests.training.conftest import chains

FIT = ["--fit", "learning_rate=0.005", "--fit", "batch_users=16", "--warmup-epochs", "0"]
KNOBS = ["--knob", "bottleneck=8", "--knob", "user_bottleneck=8"]


@pytest.fixture
def variables(server: Server, platform: httpx.Client) -> Iterator[dict[str, str]]:
    """A shop in which who takes one thing takes the next one after it; how the command line gets there."""
    texts, users = chains()
    items = "item_id,text\n" + "".join(f"{item_id},{text}\n" for item_id, text in texts.items())
    met = [(user, item, 1000 + at) for user, items_ in users.items() for at, item in enumerate(items_)]
    seen = "user_id,item_id,timestamp\n" + "".join(f"{u},{i},{at}\n" for u, i, at in met)
    with new_shop(server.url, platform, items, seen) as shop:
        yield {"TRANSREC_URL": server.url, "TRANSREC_KEY": OPERATOR, "TRANSREC_TENANT": shop.tenant}


@pytest.fixture
def worker(server: Server, tmp_path: Path) -> Iterator[Worker]:
    """A training worker of the server."""
    settings = server.settings
    started = Worker(
        {
            "TRANSREC_HOME": str(settings.home),
            "TRANSREC_REDIS_URL": settings.redis_url,
            "TRANSREC_BACKBONE": settings.backbone,
            "TRANSREC_DEVICE": "cpu",
        },
        tmp_path / "worker.log",
    ).start()
    yield started
    started.stop()


def test_train_evaluate_promote_roll_back_and_try(
    transrec: Transrec, variables: dict[str, str], worker: Worker, tmp_path: Path
) -> None:
    def ask(*arguments: str) -> object:
        done = transrec(*arguments, "--json", **variables)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    job, seen = trained(variables, "--fit", "max_epochs=40", "--fit", "patience=40")
    assert job["state"] == "SUCCEEDED", job
    assert "epoch" in seen and "loss" in seen and "HR@10" in seen and "left" in seen  # live
    rows = ask("evaluate", "books")
    assert isinstance(rows, list) and {"adapter", "popularity"} <= {row["of"] for row in rows}
    shown = transrec("evaluate", "books", **variables).stdout
    assert "1 (champion)" in shown and "popularity" in shown and "HR@10" in shown
    file = str(tmp_path / "mine.safetensors")
    assert ask("adapter", "export", "books", "1", "--out", file) == {
        "file": file, "bytes": Path(file).stat().st_size,
    }  # fmt: skip
    assert (
        "cannot be written"
        in transrec("adapter", "export", "books", "1", "--out", "/nope/x", **variables).stderr
    )
    assert ask("adapter", "register", "books", file)["version"] == 2  # type: ignore[index]
    assert champion(ask("adapter", "promote", "books", "2", "--expected", "1", "--reason", "why")) == 2
    assert transrec("adapter", "promote", "books", "1", "--expected", "0", **variables).returncode == 1
    uploaded = transrec("evaluate", "books", "--version", "2", **variables)
    assert uploaded.returncode == 1 and "Nothing of version 2 was measured" in uploaded.stderr
    assert champion(ask("adapter", "rollback", "books")) == 1
    assert ask("adapter", "challenger", "set", "books", "2", "--share", "0.5", "--rule")["share"] == 0.5  # type: ignore[index]
    assert "0 of 0 recommendations" in transrec("adapter", "challenger", "show", "books", **variables).stdout
    ask("adapter", "challenger", "remove", "books")
    listed = transrec("adapter", "list", "books", **variables).stdout
    assert "champion" in listed and "side" in listed and "upload" in listed


def test_ctrl_c_leaves_the_job_running(transrec: Transrec, variables: dict[str, str], worker: Worker) -> None:
    command = [sys.executable, "-m", "app.cli", "train", "books", *KNOBS, *FIT, "--fit", "max_epochs=1000"]
    command += ["--fit", "patience=1000"]
    with subprocess.Popen(
        command, env={**os.environ, **variables}, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        lines = iter(process.stderr)
        assert next(line for line in lines if "epoch" in line)
        process.send_signal(signal.SIGINT)
        said = "".join(lines)
    assert process.returncode == 130
    assert "goes on" in said and "Traceback" not in said
    (job,) = json.loads(transrec("job", "list", "books", "--json", **variables).stdout)
    assert f"transrec job cancel books {job['id']}" in said
    assert job["state"] == "RUNNING"
    assert "it will be cancelled" in transrec("job", "cancel", "books", job["id"], **variables).stdout
    done = transrec("job", "show", "books", job["id"], "--follow", **variables)
    assert done.returncode == 1 and "ended as CANCELLED" in done.stderr
    assert "CANCELLED" in transrec("job", "list", "books", **variables).stdout


def test_a_job_that_nobody_waits_for(transrec: Transrec, variables: dict[str, str]) -> None:
    shown = transrec("train", "books", "--no-wait", "--method", "lora", "--share", "0.1", **variables).stdout
    assert "waits for a worker" in shown and "transrec job show --follow books" in shown
    (job,) = json.loads(transrec("job", "list", "books", "--json", **variables).stdout)
    assert job["config"]["adapter"]["method"] == "lora" and job["config"]["as_challenger"]["share"] == 0.1
    assert "PENDING" in transrec("job", "show", "books", job["id"], **variables).stdout
    nothing = transrec("evaluate", "books", **variables)
    assert nothing.returncode == 1 and "Nothing was measured" in nothing.stderr


def trained(variables: dict[str, str], *options: str) -> tuple[dict[str, object], str]:
    """The job that was trained, and what a terminal has shown meanwhile."""
    command = [sys.executable, "-m", "app.cli", "train", "books", *KNOBS, *FIT, *options, "--json"]
    ours, theirs = pty.openpty()
    environment = {**os.environ, **variables, "COLUMNS": "160"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        with suppress(OSError), os.fdopen(ours, "rb", buffering=0) as terminal:  # an error is its end
            while chunk := terminal.read(65536):
                seen += chunk
        assert process.stdout is not None
        out = process.stdout.read()
    assert process.returncode == 0, seen
    return json.loads(out), seen.decode()


def champion(releases: object) -> int:
    assert isinstance(releases, list)
    (version,) = [each["version"] for each in releases if each["champion"]]
    return int(version)
