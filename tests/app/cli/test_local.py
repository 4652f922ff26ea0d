"""Commands of this machine."""

import json
import os
import signal
import stat
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest

from app import bootstrap
from app.core.config import Settings
from app.core.errors import Misconfigured, Unauthorized
from app.core.names import NAME_PATTERN
from app.processes import kept_running, listen
from app.store import tenants
from app.store.db import Database
from app.store.tenants import Role
from tests.app.cli.conftest import Transrec


def test_params_counts_the_papers_houlsby_exactly(transrec: Transrec) -> None:
    options = [
        "--encoder",
        "bert-base",
        "--method",
        "houlsby",
        "--bottleneck",
        "64",
        "--user-bottleneck",
        "16",
    ]
    done = transrec("params", *options, "--tune-layer-norm", "--json")
    counted = json.loads(done.stdout)
    assert list(counted)[:2] == ["trainable", "full"]
    assert (counted["trainable"], counted["full"]) == (2_426_816, 109_041_728)


def test_params_without_layer_norms_counts_the_bottlenecks_alone(transrec: Transrec) -> None:
    done = transrec("params", "--encoder", "bert-base", "--no-tune-layer-norm", "--json")
    item = 24 * (2 * 768 * 64 + 64 + 768)
    user = 4 * (2 * 64 * 16 + 16 + 64)
    assert json.loads(done.stdout)["trainable"] == item + user


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("params", "--encoder", "nope"), "Unknown encoder 'nope'"),
        (("params", "--method", "nope"), "method: "),
        (("key", "create", "--tenant", "nope"), "There is no tenant 'nope'"),
        (("key", "create", "--role", "king"), "role is one of"),
    ],
)
def test_an_expected_error_is_one_line_and_status_1(
    transrec: Transrec, arguments: tuple[str, ...], said: str
) -> None:
    done = transrec(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_misspelt_setting_stops_the_command(transrec: Transrec) -> None:
    done = transrec("migrate", TRANSREC_PROT="8000")
    assert done.returncode == 1
    assert "TRANSREC_PROT" in done.stderr


def test_commands_of_training_join_by_the_entry_point(transrec: Transrec) -> None:
    done = transrec("--help")
    assert {"pretrain", "demo", "serve", "params"} <= set(done.stdout.split())


def test_key_create_makes_a_key_that_works(transrec: Transrec, tmp_path: Path) -> None:
    secret = transrec("key", "create", "--label", "shell").stdout.strip()
    database = Database(Settings(home=tmp_path).resolved_database_url)
    with database.read() as s:
        assert tenants.authenticate(s, secret).label == "shell"
    database.dispose()


def test_keys_are_listed_rotated_and_revoked(transrec: Transrec) -> None:
    def listed() -> list[list[str]]:
        return [line.split() for line in transrec("key", "list").stdout.splitlines()]

    first = transrec("key", "create", "--label", "first").stdout.strip()
    second = transrec("key", "rotate", listed()[0][0], "--grace-seconds", "60").stdout.strip()
    assert second.startswith("tr_") and second != first
    assert [row[2] for row in listed()] == ["until", "valid"]
    second_id = listed()[1][0]
    refused = transrec("key", "revoke", second_id)
    assert refused.returncode == 1
    assert "Create another one first" in refused.stderr
    transrec("key", "create")
    assert transrec("key", "revoke", second_id).returncode == 0
    assert [row[2] for row in listed()] == ["until", "revoked", "valid"]
    assert transrec("key", "list", "--tenant", "nope").returncode == 1


def test_key_commands_and_the_version_speak_json(transrec: Transrec) -> None:
    secret = json.loads(transrec("key", "create", "--json").stdout)["secret"]
    (key,) = json.loads(transrec("key", "list", "--json").stdout)
    assert secret.startswith(key["prefix"])
    rotated = json.loads(transrec("key", "rotate", key["id"], "--json").stdout)["secret"]
    assert rotated.startswith("tr_") and rotated != secret
    assert json.loads(transrec("version", "--json").stdout)["version"] == metadata.version("transrec-serve")


def test_the_client_s_variables_are_no_settings_of_the_service(transrec: Transrec) -> None:
    done = transrec("migrate", TRANSREC_URL="http://x", TRANSREC_KEY="k", TRANSREC_TENANT="t")
    assert done.returncode == 0, done.stderr


def test_the_first_start_makes_one_operator_key_and_keeps_it_private(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with bootstrap.migrated(settings) as database:
        secret = bootstrap.first_operator_key(database, settings)
        assert secret is not None
        assert bootstrap.first_operator_key(database, settings) is None
        with database.read() as s:
            assert tenants.authenticate(s, secret).role is Role.OPERATOR
    file = bootstrap.key_file(settings)
    assert file.read_text().strip() == secret
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_configured_operator_key_is_put_in_place_instead(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, operator_key="a-secret-of-my-own")
    with bootstrap.migrated(settings) as database:
        assert bootstrap.first_operator_key(database, settings) is None
        with database.read() as s:
            assert tenants.authenticate(s, "a-secret-of-my-own").tenant_id is None
            with pytest.raises(Unauthorized):
                tenants.authenticate(s, NAME_PATTERN)
    assert not bootstrap.key_file(settings).exists()


def test_no_key_exists_when_its_file_cannot_be_written(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    bootstrap.key_file(settings).mkdir()
    with bootstrap.migrated(settings) as database:
        with pytest.raises(OSError, match=r"operator\.key"):
            bootstrap.first_operator_key(database, settings)
        with database.read() as s:
            assert not tenants.list_keys(s, None)


def test_an_address_in_use_names_the_remedy() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(Misconfigured, match="--port"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_a_child_that_dies_is_started_again_and_stopped_at_the_end(tmp_path: Path) -> None:
    lines = tmp_path / "pids"
    script = f"import os, time; open({str(lines)!r}, 'a').write(f'{{os.getpid()}}\\n'); time.sleep(600)"
    with kept_running([sys.executable, "-c", script]):
        first = _pids(lines, 1)[0]
        os.kill(first, signal.SIGKILL)
        second = _pids(lines, 2)[1]
    for pid in (first, second):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def _pids(path: Path, count: int) -> list[int]:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = path.read_text().split() if path.exists() else []
        if len(found) >= count:
            return [int(pid) for pid in found]
        time.sleep(0.05)
    raise AssertionError(f"{path} never held {count} lines")
