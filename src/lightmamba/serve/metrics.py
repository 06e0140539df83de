"""Counters of the server, for Prometheus."""

import time
from collections import deque
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
WINDOW = 10.0  # seconds over which the rate is taken


class Metrics:
    """All metrics of one server, in a registry of their own."""

    def __init__(self, model: str, device: str) -> None:
        self.registry = own = CollectorRegistry()
        info = Gauge("lightmamba_info", "Model and device.", ("model", "device"), registry=own)
        info.labels(model, device).set(1)
        self.requests = Counter(
            "lightmamba_requests", "Answers by path and status.", ("path", "status"), registry=own
        )
        self.prompt_tokens = Counter(
            "lightmamba_prompt_tokens", "Tokens of prompts, cached ones too.", registry=own
        )
        self.generated_tokens = Counter(
            "lightmamba_generated_tokens", "Tokens generated.", registry=own
        )
        self.computed_tokens = Counter(
            "lightmamba_computed_tokens", "Tokens that went through the model.", registry=own
        )
        self.passes = Counter("lightmamba_passes", "Passes over the weights.", registry=own)
        self.first_token = Histogram(
            "lightmamba_time_to_first_token_seconds", "Arrival to first token.",
            buckets=SECONDS, registry=own,
        )  # fmt: skip
        self.answer = Histogram(
            "lightmamba_request_seconds", "Arrival to last token.",
            buckets=SECONDS, registry=own,
        )  # fmt: skip
        self.prefix_hits = Counter(
            "lightmamba_prefix_hits", "Prompts whose beginning was found in the cache.",
            registry=own,
        )  # fmt: skip
        self.prefix_misses = Counter(
            "lightmamba_prefix_misses", "Prompts whose beginning was not.", registry=own
        )
        self.prefix_tokens = Counter(
            "lightmamba_prefix_tokens", "Prompt tokens taken from the cache.", registry=own
        )
        self.drafted_tokens = Counter(
            "lightmamba_drafted_tokens", "Tokens drafted by speculation.", registry=own
        )
        self.accepted_tokens = Counter(
            "lightmamba_accepted_tokens", "Drafted tokens that were accepted.", registry=own
        )
        self.refused = Counter(
            "lightmamba_refused_requests", "Requests refused because the queue was full.",
            registry=own,
        )  # fmt: skip
        self.cancelled = Counter(
            "lightmamba_cancelled_requests", "Requests given up by their client.", registry=own
        )
        self.timed_out = Counter(
            "lightmamba_timed_out_requests", "Requests that took too long.", registry=own
        )
        self._saturations = Counter(
            "lightmamba_saturations", "Values that left their integer format.", ("kind",),
            registry=own,
        )  # fmt: skip
        self._cycles = Counter(
            "lightmamba_device_cycles", "Cycles of a device by what its lanes did.", ("kind",),
            registry=own,
        )  # fmt: skip
        self._seen: dict[tuple[str, str], int] = {}
        self._recent: deque[tuple[float, int]] = deque()
        rate = Gauge(
            "lightmamba_tokens_per_second", "Tokens generated, mean of the last ten seconds.",
            registry=own,
        )  # fmt: skip
        rate.set_function(self.rate)

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a gauge that asks for its value."""
        Gauge(f"lightmamba_{name}", text, registry=self.registry).set_function(value)

    def generated(self, tokens: int) -> None:
        """Count tokens of one pass."""
        self.generated_tokens.inc(tokens)
        now = time.monotonic()
        self._recent.append((now, tokens))
        while self._recent and self._recent[0][0] < now - WINDOW:
            self._recent.popleft()

    def rate(self) -> float:
        """Tokens per second of late."""
        since = time.monotonic() - WINDOW
        return sum(tokens for at, tokens in list(self._recent) if at >= since) / WINDOW

    def totals(self, saturations: Mapping[str, int], cycles: Mapping[str, int]) -> None:
        """Take over counters that a backend keeps itself."""
        for metric, found in ((self._saturations, saturations), (self._cycles, cycles)):
            for kind, total in found.items():
                key = metric._name, kind
                metric.labels(kind).inc(max(0, total - self._seen.get(key, 0)))
                self._seen[key] = total

    def total(self, name: str) -> int:
        """A counter's value, over all its labels."""
        found = self.registry.collect()
        samples = [
            s for metric in found if metric.name == f"lightmamba_{name}" for s in metric.samples
        ]
        return int(sum(sample.value for sample in samples if sample.name.endswith("_total")))

    def page(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)
