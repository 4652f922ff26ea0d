"""The client and the command line in an environment that has only the base dependencies."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.app.api.conftest import OPERATOR, Server, Shop

ROOT = Path(__file__).parents[3]
HEAVY = ("torch", "numpy", "fastapi", "sqlalchemy", "redis", "pydantic_settings", "pyarrow")
SCRIPT = f"""
from importlib.util import find_spec
import training.cli  # its commands join where the project is installed
from app.client import Client
with Client() as client:
    answer = client.recommend("books", user_id="u1", count=3)
found = [name for name in {HEAVY} if find_spec(name)]
print(len(answer.items), found)
"""
Light = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with the base dependencies; skips where pip reaches no index."""
    folder = tmp_path_factory.mktemp("light")
    base = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    found = folder / "bin" / "python"
    pip = [
        str(found),
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "-c",
        str(ROOT / "constraints.txt"),
    ]
    done = subprocess.run([*pip, *base], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"pip installs nothing here: {done.stderr.strip().splitlines()[-1]}")
    return found


@pytest.fixture
def light(python: Path, server: Server, shop: Shop, tmp_path: Path) -> Light:
    """Runs the light Python over the checkout's sources."""
    variables = {
        "PYTHONPATH": str(ROOT),
        "PATH": os.environ["PATH"],
        "TRANSREC_HOME": str(tmp_path),
        "TRANSREC_URL": server.url,
        "TRANSREC_KEY": OPERATOR,
        "TRANSREC_TENANT": shop.tenant,
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, *arguments], env=variables, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    return run


def test_the_client_recommends_without_torch(light: Light) -> None:
    done = light("-c", SCRIPT)
    assert done.stdout.split() == ["3", "[]"], done.stderr


def test_the_command_line_recommends_without_torch(light: Light) -> None:
    done = light("-m", "app.cli", "recommend", "books", "--user", "u1", "--count", "3", "--json")
    assert len(json.loads(done.stdout)["items"]) == 3, done.stderr


@pytest.mark.parametrize(
    "command",
    ["serve", "worker", "migrate", "params", "key list", "backup x", "adapter export-hub x --out y"],
)
def test_commands_of_the_server_name_the_extra(light: Light, command: str) -> None:
    done = light("-m", "app.cli", *command.split())
    assert done.returncode == 1
    assert (
        done.stderr
        == "Error: This command is the server's. Install it: pip install 'transrec-serve[serve]'.\n"
    )
