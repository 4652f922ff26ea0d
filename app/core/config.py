"""The settings: environment variables `TRANSREC_*`, read once, checked at boot."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.core.errors import Misconfigured
from app.core.names import CLIENT_VARIABLES, HOME

PREFIX = "TRANSREC_"


class Settings(BaseSettings):
    """All settings of the service, the worker and the command line."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    home: Path = Field(Path(HOME), description="Folder of the bundled SQLite and Valkey.")
    database_url: str = Field(
        "", description="PostgreSQL as postgresql://user:password@host/name; empty: SQLite in the home."
    )
    redis_url: str = Field("", description="Redis or Valkey as redis://host:port/0; empty: the bundled one.")
    backbone: str = Field("minilm-transrec", description="Name of a shipped backbone, or a folder of one.")
    image_backbone: str = Field(
        "", description="Folder of the backbone for image channels; empty: there are none."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the model runs.")
    host: str = Field("127.0.0.1", description="Address that the API listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port that the API listens on; 0: any free one.")
    operator_key: SecretStr | None = Field(
        None, min_length=16, description="First key of the platform's operator, put in place at boot."
    )
    max_upload_bytes: int = Field(2 * 1024**3, gt=0, description="Largest file of an import, in bytes.")
    max_line_bytes: int = Field(1024**2, gt=0, description="Longest line of an import, in bytes.")
    max_image_bytes: int = Field(
        5 * 1024**2, gt=0, le=64 * 1024**2, description="Largest encoded image of an item, in bytes."
    )
    max_image_pixels: int = Field(25_000_000, gt=0, description="Most pixels of an item's image.")
    max_adapter_bytes: int = Field(256 * 1024**2, gt=0, description="Largest uploaded adapter, in bytes.")
    max_count: int = Field(500, gt=0, description="Most items that one recommendation may ask for.")
    max_history: int = Field(1000, gt=0, description="Most items of a history sent with a request.")
    device_adapter_bytes: int = Field(
        256 * 1024**2, gt=0, description="Most bytes of adapters kept ready on the device, a modality."
    )
    host_bytes: int = Field(
        0,
        ge=0,
        description="Most bytes of releases kept open, mapped into memory, a process; 0: as much as it has.",
    )
    index: Literal["auto", "flat", "ivf", "hnsw"] = Field(
        "auto", description="How items are searched; auto: exactly up to 200,000, above that by an index."
    )
    max_queue: int = Field(
        2048, gt=0, description="Most requests that wait for the model, a quarter of them of one channel."
    )
    queue_seconds: float = Field(
        2.0, gt=0, description="Longest wait for the model before a 429, in seconds."
    )
    requests_per_second: int = Field(
        0, ge=0, description="Most requests a second of a tenant, over all processes; 0: any number."
    )
    quota_channels: int = Field(0, ge=0, description="Most channels of a tenant; 0: any number.")
    quota_items: int = Field(0, ge=0, description="Most items of a tenant; 0: any number.")
    quota_interactions: int = Field(0, ge=0, description="Most interactions of a tenant; 0: any number.")
    quota_jobs: int = Field(
        0, ge=0, description="Most training jobs of a tenant that wait or run; 0: any number."
    )
    quota_bytes: int = Field(
        0, ge=0, description="Most bytes of a tenant's images and adapters; 0: any number."
    )
    audit_days: int = Field(365, gt=0, description="Days that the audit log is kept.")
    paging_seconds: int = Field(
        600, gt=0, description="Seconds for which a page of recommendations can be gone on from."
    )
    worker_jobs: int = Field(
        1, ge=1, le=64, description="Jobs that one worker trains at a time, on one copy of the backbone."
    )
    lease_seconds: int = Field(60, gt=0, description="Seconds without a heartbeat until a job is taken over.")
    retry_seconds: float = Field(
        30.0,
        gt=0,
        description="Seconds until a job that failed unexpectedly is tried again, twice that next.",
    )
    poll_seconds: float = Field(
        1.0, gt=0, description="Seconds between looks at the database for new jobs and releases."
    )
    drain_seconds: float = Field(
        0.0,
        ge=0,
        description="Seconds that a stopping server goes on answering while it says that it is not ready.",
    )
    metrics_token: SecretStr | None = Field(
        None, min_length=16, description="What /metrics wants as a bearer token; empty: nothing."
    )
    otlp_endpoint: str = Field(
        "", description="Where traces go, as http://host:4318 (OTLP over HTTP); empty: there are none."
    )
    access_log: Literal["slow", "all", "off"] = Field(
        "slow", description="Which requests are logged; slow: those that failed or took over a second."
    )
    keep_versions: int = Field(
        50, ge=0, description="Newest adapters that a channel keeps, beside those in use; 0: all."
    )
    events_settle_seconds: float = Field(
        60, gt=0, description="Least seconds between counting a channel's new events into its popularity."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level logged.")

    @property
    def resolved_host_bytes(self) -> int:
        """The host tier's budget: mapped pages are the system's to take back, so all is not too much."""
        return self.host_bytes or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    @property
    def resolved_database_url(self) -> str:
        """The SQLAlchemy URL: SQLite in `home` unless `database_url` is set."""
        if not self.database_url:
            return f"sqlite:///{self.home / 'transrec.db'}"
        scheme, _, rest = self.database_url.partition("://")
        if scheme in ("postgresql", "postgres"):
            return f"postgresql+psycopg://{rest}"
        return self.database_url


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Read and check the settings, once a process.

    Raises `Misconfigured`, which names every wrong or unknown variable and never shows its value.
    """
    problems = _unknown_variables()
    try:
        settings = Settings()
    except ValidationError as error:
        problems += [f"{_variable(e['loc'])}: {e['msg']}" for e in error.errors()]
    if problems:
        raise Misconfigured("Wrong settings; correct these variables and start again. " + "; ".join(problems))
    return settings


def _variable(location: tuple[int | str, ...]) -> str:
    return PREFIX + str(location[0]).upper() if location else PREFIX + "*"


def _unknown_variables() -> list[str]:
    # pydantic-settings ignores unknown variables, but a misspelt one must not pass in silence.
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {*CLIENT_VARIABLES}
    return [
        f"{name}: there is no such setting"
        for name in sorted(os.environ)
        if name.upper().startswith(PREFIX) and name.upper() not in known
    ]
