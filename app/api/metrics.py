"""Metrics for Prometheus. Where several processes share a port, one scrape sees them all: label `process`."""

import asyncio
import hmac
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import Metric, generate_latest
from prometheus_client.exposition import choose_encoder
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from app.api.gauges import StateCollector
from app.core.config import Settings
from app.core.errors import Unauthorized
from app.core.metrics import REGISTRY
from app.core.siblings import Siblings, siblings_folder

router = APIRouter(tags=["health"])
LABEL = "process"


class Scraper:
    """What a scrape of this process shows; in a thread of its own, for no request may wait for it."""

    def __init__(self, state: StateCollector) -> None:
        self.state = state
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="scrape")
        folder = siblings_folder()
        self._siblings = Siblings(folder, self._own_text) if folder else None

    def text(self, accepts: str) -> tuple[bytes, str]:
        """The metrics in the format that the scraper likes best, and its media type."""
        encode, media_type = choose_encoder(accepts)
        return encode(_Fixed(self._families())), media_type

    def close(self) -> None:
        """End its threads."""
        self.state.close()
        self.thread.shutdown(wait=False, cancel_futures=True)

    def _own(self) -> Iterable[Metric]:
        return [*REGISTRY.collect(), *self.state.collect()]

    def _own_text(self) -> bytes:
        return generate_latest(_Fixed(self._own()))

    def _families(self) -> Iterable[Metric]:
        if self._siblings is None:
            return self._own()
        found: dict[str, Metric] = {}
        texts = [(self._siblings.number, self._own_text()), *self._siblings.others()]
        for number, text in sorted(texts):
            for family in text_string_to_metric_families(text.decode()):
                merged = found.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    labels = {**sample.labels, LABEL: str(number)}
                    merged.samples.append(sample._replace(labels=labels))
        return found.values()


class _Fixed(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


@router.get("/metrics", response_class=PlainTextResponse)
async def get_metrics(request: Request) -> Response:
    """Show the metrics to Prometheus; with `TRANSREC_METRICS_TOKEN` set, only to who sends it."""
    _check_token(request.app.state.settings, request.headers.get("Authorization", ""))
    scraper: Scraper = request.app.state.scraper
    accepts = request.headers.get("Accept", "")
    loop = asyncio.get_running_loop()
    text, media_type = await loop.run_in_executor(scraper.thread, scraper.text, accepts)
    return Response(text, headers={"Content-Type": media_type})


def _check_token(settings: Settings, sent: str) -> None:
    if settings.metrics_token is None:
        return
    expected = f"Bearer {settings.metrics_token.get_secret_value()}"
    if not hmac.compare_digest(sent.encode("latin-1", "replace"), expected.encode()):
        raise Unauthorized(
            "The metrics want their own token. Send TRANSREC_METRICS_TOKEN as 'Authorization: Bearer ...'."
        )
