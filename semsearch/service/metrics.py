"""Metrics for Prometheus: how many requests, how long, and how the encoding thread fares. No text of anybody's."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

import semsearch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from indexer.embedding.spec import Role

CONTENT = CONTENT_TYPE_LATEST
METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"})
ELSEWHERE = "other"
"""Label of whatever callers make up: paths that are no route's, and methods that are none."""
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """What one server counts. Safe to use from many threads."""

    def __init__(self, waiting: Callable[[], Mapping[Role, int]], ready: Callable[[], bool]):
        """Begin at nothing.

        Args:
            waiting: Returns the tokens that wait to be encoded, by role.
            ready: Returns whether a model has answered.
        """
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        about = Gauge("semsearch_build_info", "Version of semsearch.", ["version"], registry=registry)
        about.labels(semsearch.__version__).set(1)
        Gauge("semsearch_ready", "Whether a model has answered.", registry=registry).set_function(lambda: ready())
        tokens = Gauge("semsearch_waiting_tokens", "Tokens that wait to be encoded.", ["role"], registry=registry)
        for role in waiting():
            tokens.labels(role).set_function(partial(_of_role, waiting, role))
        self._requests = Counter(
            "semsearch_http_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "semsearch_http_request_duration_seconds", "Time from a request's head to its answer's end.", ["route"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._texts = Counter("semsearch_encoded_texts", "Texts encoded.", ["role"], registry=registry)
        self._tokens = Counter("semsearch_encoded_tokens", "Tokens of texts encoded.", ["role"], registry=registry)
        self._batches = Histogram(
            "semsearch_encode_duration_seconds", "Time of one batch in the encoding thread.", ["role"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip

    def request(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count one request; ``route`` is its path in the table, None where it is in none."""
        where = route or ELSEWHERE
        self._requests.labels(method if method in METHODS else ELSEWHERE, where, status).inc()
        self._seconds.labels(where).observe(seconds)

    def batch(self, role: Role, texts: int, tokens: int, seconds: float) -> None:
        """Count one batch of the encoding thread."""
        self._texts.labels(role).inc(texts)
        self._tokens.labels(role).inc(tokens)
        self._batches.labels(role).observe(seconds)

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self._registry)


def _of_role(waiting: Callable[[], Mapping[Role, int]], role: Role) -> float:
    return waiting()[role]
