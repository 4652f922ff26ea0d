"""The application: what is started and stopped with it, and its routers."""

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib import metadata

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from app.api import (
    adapters,
    audit,
    channels,
    errors,
    events,
    health,
    images,
    imports,
    items,
    jobs,
    keys,
    maps,
    me,
    methods,
    metrics,
    openapi,
    overview,
    policies,
    previews,
    recommendations,
    releases,
    rollouts,
    serving,
    statistics,
    tenants,
    user_search,
    users,
)
from app.api.bounds import Bounds
from app.api.gauges import StateCollector
from app.api.guesses import Guesses
from app.api.observed import Observed
from app.api.schemas.base import PROBLEMS
from app.api.uploads import remove_left_over
from app.console import app as console
from app.console import reference
from app.core import log as logs
from app.core.config import Settings, get_settings
from app.core.drain import Drain
from app.core.traces import tracer_provider
from app.core.valkey import redis_url
from app.model.backbone import load_backbones
from app.model.device import pick_device
from app.serving.engine import Engine
from app.serving.events import real_time
from app.serving.housekeeping import Housekeeper
from app.serving.overview import Overview
from app.serving.shadow import Shadow
from app.serving.swap import Swapper
from app.serving.traffic import Traffic
from app.store.access import RememberedAccess
from app.store.db import Database
from app.store.histories import Histories
from app.store.pages import Pages
from app.store.quotas import Limits, TenantLimits
from app.store.rates import Rates
from app.store.statistics import Statistics
from app.store.tenants import ensure_operator_key
from app.store.traced import trace_statements
from app.store.wake import Wake

log = logging.getLogger(__name__)

# Routes are tried in turn, so what is asked for most comes first.
ROUTERS = (
    health,
    recommendations,
    events,
    previews,
    tenants,
    keys,
    channels,
    overview,
    statistics,
    imports,
    images,
    items,
    jobs,
    methods,
    adapters,
    releases,
    maps,
    rollouts,
    policies,
    serving,
    audit,
    metrics,
    users,
    user_search,
    me,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application; nothing is opened or loaded before it starts.

    Raises `Misconfigured` when traces are asked for and cannot be made.
    """
    settings = settings or get_settings()
    traces = tracer_provider(settings.otlp_endpoint)
    app = FastAPI(
        title="TransRec Serve",
        version="1",
        lifespan=_lifespan(settings),
        responses=PROBLEMS,
        docs_url=None,  # app.console.reference has it, without a CDN
        redoc_url=None,
        # Its metrics and logs are not ours: Prometheus has the one, stderr the other.
        telemetry={
            "tracer_provider": traces,
            "tracing": traces is not None,
            "metrics": False,
            "logs": False,
            "auto_configure": False,
        },
    )
    app.state.drain, app.state.traces = Drain(settings.drain_seconds), traces
    app.add_middleware(Bounds)
    app.add_middleware(Observed, access_log=settings.access_log, drain=app.state.drain)  # the outermost one
    errors.install(app)
    for module in ROUTERS:
        app.include_router(module.router)
    console.mount(app)
    reference.mount(app)
    app.openapi = partial(openapi.describe, app)  # type: ignore[method-assign]
    return app


def app_factory() -> FastAPI:
    """For `uvicorn --factory app.main:app_factory`, with any number of workers."""
    settings = get_settings()
    logs.configure(settings.log_level)
    return create_app(settings)


def _lifespan(settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state = app.state
        swapper = await run_in_threadpool(_start, app, settings)
        state.drain.install(asyncio.get_running_loop(), state.engine.stopping.set)
        try:
            async with real_time(
                state.db, state.histories, state.wake, state.limits, settings
            ) as state.events:
                yield
        finally:
            await state.shadow.stop()
            await state.histories.close()
            await state.rates.close()
            await state.pages.close()
            await run_in_threadpool(_stop, app, swapper)

    return lifespan


def _start(app: FastAPI, settings: Settings) -> Swapper:
    remove_left_over()
    db = Database(settings.resolved_database_url)
    db.migrate()
    if settings.operator_key is not None:
        with db.session() as s:
            ensure_operator_key(s, settings.operator_key.get_secret_value())
    device = pick_device(settings.device)
    backbones = load_backbones(settings.backbone, settings.image_backbone, device)
    version, kind = metadata.version("transrec-serve"), "SQLite" if db.is_sqlite else "PostgreSQL"
    log.info("TransRec Serve %s on %s, %s, %s", version, kind, device, backbones.fingerprints())
    if app.state.traces is not None:
        trace_statements(db.engine, app.state.traces)
    wake = Wake(redis_url(settings))
    limits = TenantLimits(limits_of(settings))
    engine, access = Engine(backbones, db, settings), RememberedAccess(db, limits)
    app.state.settings, app.state.db, app.state.engine, app.state.wake = settings, db, engine, wake
    app.state.access, app.state.histories = access, Histories(db, redis_url(settings))
    app.state.limits, app.state.rates = limits, Rates(limits, redis_url(settings))
    app.state.guesses, app.state.statistics = Guesses(), Statistics(db)
    app.state.pages = Pages(redis_url(settings), settings.paging_seconds)
    app.state.overview = Overview(db, engine)
    app.state.traffic = Traffic(db)
    app.state.shadow = Shadow(engine, app.state.traffic)
    app.state.housekeeper = Housekeeper(db, wake, settings, limits)
    engine.start()
    app.state.traffic.start()
    app.state.housekeeper.start()
    app.state.scraper = metrics.Scraper(StateCollector(engine, db, wake))
    _calm()
    swapper = Swapper(engine, wake, access)
    swapper.start()
    return swapper


def limits_of(settings: Settings) -> Limits:
    """What a tenant may have by default."""
    return Limits(
        settings.quota_channels,
        settings.quota_items,
        settings.quota_interactions,
        settings.quota_jobs,
        settings.quota_bytes,
        settings.requests_per_second,
    )


def _calm() -> None:
    """Keep Python itself out of the requests' way."""
    # What stays for good is never looked at again: a collection of all that torch brings stops every request
    # for a tenth of a second.
    gc.collect()
    gc.freeze()
    # So long does a thread that has an answer wait for a busy event loop, not 5 ms: a tenth more requests/s.
    sys.setswitchinterval(0.0003)


def _stop(app: FastAPI, swapper: Swapper) -> None:
    app.state.housekeeper.stop()
    swapper.stop()
    app.state.traffic.stop()
    app.state.scraper.close()
    if app.state.traces is not None:
        app.state.traces.shutdown()
    app.state.wake.client.close()
    app.state.db.dispose()
