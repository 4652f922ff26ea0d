"""Commands that ask a server."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from app.cli import cli
from app.core.names import KEY_FILE
from tests.app.api.conftest import ITEMS, OPERATOR, Server, Shop, wait_for
from tests.app.cli.conftest import AsJson, Transrec
from tests.pictures import encoded, flag, tarred


def ok(done: Any) -> str:
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def test_from_nothing_to_recommendations(transrec: Transrec, server: Server, tmp_path: Path) -> None:
    """As a platform's operator does it for a new team, all by the command line."""
    tenant = f"team-{tmp_path.name[-20:].strip('_')}"
    at = {"TRANSREC_URL": server.url, "TRANSREC_KEY": OPERATOR}
    assert "is made" in ok(transrec("tenant", "create", tenant, **at))
    secret = ok(transrec("tenant", "key", "create", tenant, "--role", "operator", **at)).strip()
    mine = {"TRANSREC_URL": server.url, "TRANSREC_KEY": secret}
    ok(transrec("channel", "create", "books", **mine))
    (tmp_path / "items.csv").write_text(ITEMS)
    assert "30 rows: 30 new" in ok(transrec("import", "items", "books", str(tmp_path / "items.csv"), **mine))
    (tmp_path / "seen.jsonl").write_text('{"user_id": "u1", "item_id": "i1", "timestamp": 1}\n')
    ok(transrec("import", "interactions", "books", str(tmp_path / "seen.jsonl"), **mine))
    wait_for(lambda: len(_recommended(transrec, mine)) == 3)
    shown = ok(transrec("recommend", "books", "--user", "u1", "--count", "2", **mine))
    assert "thing" in shown and "model" in shown and "version 0" in shown
    ok(transrec("tenant", "delete", tenant, "--yes", **at))
    assert transrec("channel", "list", **mine).returncode == 1


def _recommended(transrec: Transrec, mine: dict[str, str]) -> list[Any]:
    done = transrec("recommend", "books", "--user", "u1", "--count", "3", "--json", **mine)
    return list(json.loads(done.stdout)["items"]) if done.returncode == 0 else []


def test_recommend_takes_filters_and_limits(as_json: AsJson, remote: Transrec) -> None:
    options = ["--filter", '{"colour": {"any": ["c1", "c2"]}}', "--at-most", "colour=1", "--exclude", "i4"]
    answer = as_json("recommend", "books", "--history", "i1,i2", "--count", "5", *options)
    assert {item["metadata"]["colour"] for item in answer["items"]} == {"c1", "c2"}
    assert as_json("recommend", "books", "--history", '["i1"]', "--count", "1")["items"]
    assert "No item is left" in ok(
        remote("recommend", "books", "--user", "u1", "--filter", '{"colour": "?"}')
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("recommend", "books"), "Give one of --user and --history"),
        (("recommend", "books", "--user", "u", "--filter", "{"), "--filter is not JSON"),
        (("recommend", "books", "--user", "u", "--count", "0"), "--count"),
        (("train", "books", "--knob", "rank"), "is not NAME=VALUE"),
        (("import", "items", "books", "/nope.csv"), "does not exist"),
        (("events", "send", "books"), "Give a file, or one event"),
        (("nonsense",), "No such command"),
        (("restore", "/nope.zip"), "does not exist"),
    ],
)
def test_wrong_usage_is_status_2(transrec: Transrec, arguments: tuple[str, ...], said: str) -> None:
    done = transrec(*arguments, TRANSREC_KEY="k")
    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_what_the_server_refuses_is_one_line_and_status_1(remote: Transrec, server: Server) -> None:
    for arguments, more, said in [
        (("channel", "show", "nope"), {}, "There is no channel 'nope'"),
        (("channel", "list"), {"TRANSREC_TENANT": ""}, "--tenant NAME"),
        (("channel", "list"), {"TRANSREC_KEY": "tr_wrong-key-of-nobody"}, "key"),
        (("channel", "list"), {"TRANSREC_KEY": ""}, "set TRANSREC_KEY"),
        (("channel", "list"), {"TRANSREC_URL": "http://127.0.0.1:9"}, "No answer from http://127.0.0.1:9"),
        (("channel", "list"), {"TRANSREC_URL": "nowhere"}, "is no address"),
        (("recommend", "books", "--user", "u", "--filter", '{"a": {}}'), {}, "name an operator"),
        (("train", "books", "--method", "nope"), {}, "houlsby"),
        (("train", "books", "--fit", "nope=1"), {}, "fit.nope: there is no such name"),
        (("status",), {"TRANSREC_KEY": "tr_wrong-key-of-nobody"}, "key"),
        (("status",), {"TRANSREC_URL": f"{server.url}/v1"}, "names a route"),
        (("evaluate", "books"), {}, "Nothing was measured"),
    ]:
        done = remote(*arguments, **more)
        assert done.returncode == 1, (arguments, done)
        assert done.stdout == ""
        assert done.stderr.startswith("Error: ") and said in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1, done.stderr


def test_the_key_file_of_the_first_start_is_used_on_the_same_machine(
    transrec: Transrec, server: Server, shop: Shop, tmp_path: Path
) -> None:
    file = tmp_path / KEY_FILE  # where `serve` puts it, in the home
    file.write_text(f"{OPERATOR}\n")
    file.chmod(stat.S_IRUSR)
    assert "books" in ok(transrec("channel", "list", "--url", server.url, "--tenant", shop.tenant))
    elsewhere = transrec("channel", "list", "--url", "http://example.com")
    assert "set TRANSREC_KEY" in elsewhere.stderr  # and nothing was sent there


def test_bad_lines_are_a_table(remote: Transrec, tmp_path: Path) -> None:
    file = tmp_path / "items.csv"
    file.write_text("item_id,text\n,nothing\nok,thing\n,[red]nothing[/red]\x1b[31m\n")
    done = remote("import", "items", "books", str(file))
    assert done.returncode == 1
    assert "2 bad of 3 rows" in done.stdout and "line" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stderr.startswith("Error: ")
    report = json.loads(remote("import", "items", "books", str(file), "--json").stdout)
    assert [bad["line"] for bad in report["errors"]] == [2, 4]


def test_images_come_in_an_archive(as_json: AsJson, tmp_path: Path) -> None:
    as_json("channel", "create", "films", "--modality", "image")
    (tmp_path / "films.csv").write_text("item_id,title\nf1,one\n")
    as_json("import", "items", "films", str(tmp_path / "films.csv"))
    (tmp_path / "posters.tar").write_bytes(tarred({"f1.jpg": encoded(flag())}))
    assert as_json("import", "images", "films", str(tmp_path / "posters.tar"))["inserted"] == 1


def test_tenants_and_their_keys(as_json: AsJson, remote: Transrec, shop: Shop) -> None:
    assert shop.tenant in [each["name"] for each in as_json("tenant", "list")]
    limited = as_json("tenant", "limits", shop.tenant, "--items", "100")
    assert (limited["limits"]["items"], limited["usage"]["items"]) == (100, 30)
    assert "100" in ok(remote("tenant", "show", shop.tenant))
    assert as_json("tenant", "limits", shop.tenant, "--items", "-1")["overrides"] == {}
    made = as_json("tenant", "key", "create", shop.tenant, "--label", "x")
    rotated = as_json("tenant", "key", "rotate", shop.tenant, made["id"])
    assert as_json("tenant", "key", "revoke", shop.tenant, rotated["id"])["revoked_at"]
    assert len(as_json("tenant", "key", "list", shop.tenant)) == 5
    assert "writer" in ok(remote("tenant", "key", "list", shop.tenant))


def test_channels(as_json: AsJson, remote: Transrec) -> None:
    as_json("channel", "create", "films", "--description", "to watch")
    assert [each["name"] for each in as_json("channel", "list")] == ["books", "films"]
    assert as_json("channel", "show", "books")["items"] == 30
    assert "to watch" in ok(remote("channel", "list"))
    assert remote("channel", "delete", "films", stdin="n\n").returncode == 1
    assert as_json("channel", "delete", "films", "--yes") == {"deleted": "films"}
    assert remote("channel", "delete", "films", "--yes").returncode == 1


def test_events_are_sent_one_by_one_and_from_a_file(
    as_json: AsJson, remote: Transrec, tmp_path: Path
) -> None:
    assert as_json("events", "send", "books", "--user", "u1", "--item", "i20")["accepted"] == 1
    lines = [json.dumps({"user_id": f"x{n}", "item_id": "i1"}) for n in range(1001)]
    done = remote("events", "send", "books", "-", "--json", stdin="\n".join([*lines, '{"user_id": "x"}']))
    stored = json.loads(done.stdout)
    assert (done.returncode, stored["accepted"], stored["rejected"][0]["index"]) == (1, 1001, 1001)
    assert "1 events were not stored" in done.stderr
    (tmp_path / "bad").write_text("no json\n")
    assert remote("events", "send", "books", str(tmp_path / "bad")).returncode == 2


def test_audit_and_status(as_json: AsJson, remote: Transrec, shop: Shop) -> None:
    assert as_json("audit", "--channel", "books", "--limit", "1")[0]["channel"] == "books"
    assert "create_import" in ok(remote("audit"))
    found = as_json("status")
    (channel,) = found["channels"]
    assert (channel["tenant"], channel["items"], found["summary"]["channels"]) == (shop.tenant, 30, 1)
    everything = json.loads(remote("status", "--json", TRANSREC_TENANT="").stdout)
    assert shop.tenant in {each["tenant"] for each in everything["channels"]}
    own = shop.reader.headers["authorization"].removeprefix("Bearer ")
    shown = remote("status", TRANSREC_KEY=own, TRANSREC_TENANT="").stdout
    assert "books" in shown and shop.tenant in shown
    everybody = remote("status", TRANSREC_TENANT="")
    assert shop.tenant in everybody.stdout and "recommendations" in everybody.stdout


def test_every_command_that_prints_data_speaks_json() -> None:
    silent = {"serve", "worker", "migrate", "key revoke", "adapter import-hub", "adapter export-hub"}
    speaks = {
        name: "--json" in [option for parameter in command.params for option in parameter.opts]
        for name, command in commands(get_command(cli))
    }
    assert {name for name, does in speaks.items() if not does} == silent


def commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All commands with their full names."""
    for name, inner in group.commands.items():
        if hasattr(inner, "commands"):
            yield from commands(inner, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", inner


def test_the_shell_completes_commands(tmp_path: Path) -> None:
    script = "import sys; sys.argv = ['transrec']; from app.cli import main; main()"
    asked = {"_TRANSREC_COMPLETE": "complete_bash", "COMP_WORDS": "transrec adapter ro", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["rollback"]
