"""`GET /metrics`: the domain's metrics, and the controller's own, as Prometheus reads them.

In a worker thread of a REST server; the domain is asked once for each scrape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version

from fastapi import FastAPI, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from controller.rest.event_stream import EventStream
from controller.rest.metrics import Reading, families, handler_families
from controller.rest.problems import Responses
from controller.rest.resources import HandlerView

ReadHandlers = Callable[[], Iterable[HandlerView]]


def add_metrics(app: FastAPI, read: Callable[[], Reading], stream: EventStream, read_handlers: ReadHandlers) -> None:
    """Have `app` serve what `read` finds in the domain, and how `stream` and the handlers of misses do."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Metrics(read, stream, read_handlers))

    @app.get("/metrics", response_class=Response, responses=_DESCRIPTION)
    def metrics() -> Response:
        """All metrics of the domain in Prometheus' text format. Of channels the first 200 by name."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


_DESCRIPTION: Responses = {
    200: {"description": "Prometheus' text format 0.0.4.", "content": {"text/plain": {"schema": {"type": "string"}}}}
}


class _Metrics(Collector):
    def __init__(self, read: Callable[[], Reading], stream: EventStream, read_handlers: ReadHandlers) -> None:
        self._read = read
        self._stream = stream
        self._read_handlers = read_handlers
        self._version = {"version": version("rtvnic")}

    def collect(self) -> Iterator[Metric]:
        yield from families(self._read())
        yield from handler_families(self._read_handlers())
        yield InfoMetricFamily("rtvnic_build", "This program.", value=self._version)
        yield CounterMetricFamily("rtvnic_events", "Events published.", value=self._stream.published)
        yield GaugeMetricFamily("rtvnic_event_readers", "Who reads events now.", value=self._stream.readers)
        yield CounterMetricFamily("rtvnic_event_readers_cut_off", "Readers that were too slow.",
            value=self._stream.cut_off)  # fmt: skip
