"""Counters of the server, for Prometheus."""

import time
from collections import deque
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

COUNTERS: dict[str, tuple[str, ...]] = {  # what each counts, and its labels
    "requests": ("Answers by path and status.", "path", "status"),
    "prompt_tokens": ("Tokens of prompts, cached ones too.",),
    "generated_tokens": ("Tokens generated.",),
    "computed_tokens": ("Tokens that went through the model.",),
    "passes": ("Passes over the weights.",),
    "prefix_hits": ("Prompts whose beginning was found in the cache.",),
    "prefix_misses": ("Prompts whose beginning was not.",),
    "prefix_tokens": ("Prompt tokens taken from the cache.",),
    "drafted_tokens": ("Tokens drafted by speculation.",),
    "accepted_tokens": ("Drafted tokens that were accepted.",),
    "refused_requests": ("Requests refused because the queue was full.",),
    "cancelled_requests": ("Requests given up by their client.",),
    "timed_out_requests": ("Requests that took too long.",),
    "saturations": ("Values that left their integer format.", "kind"),
    "device_cycles": ("Cycles of a device by what its lanes did.", "kind"),
}
HISTOGRAMS = {
    "time_to_first_token_seconds": "Arrival to first token.",
    "request_seconds": "Arrival to last token.",
}
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
WINDOW = 10.0  # seconds over which the rate is taken


class Metrics:
    """All metrics of one server, in a registry of their own; names lack the ``lightmamba_``."""

    def __init__(self, model: str, device: str) -> None:
        self.registry = own = CollectorRegistry()
        info = Gauge("lightmamba_info", "Model and device.", ("model", "device"), registry=own)
        info.labels(model, device).set(1)
        self._counters = {
            name: Counter(f"lightmamba_{name}", text, labels, registry=own)
            for name, (text, *labels) in COUNTERS.items()
        }
        self._histograms = {
            name: Histogram(f"lightmamba_{name}", text, buckets=SECONDS, registry=own)
            for name, text in HISTOGRAMS.items()
        }
        self._seen: dict[tuple[str, str], int] = {}
        self._recent: deque[tuple[float, int]] = deque()
        self.gauge(
            "tokens_per_second", "Tokens generated, mean of the last ten seconds.", self.rate
        )

    def count(self, name: str, amount: int = 1, *labels: str | int) -> None:
        """Add to a counter of :data:`COUNTERS`."""
        counter = self._counters[name]
        (counter.labels(*labels) if labels else counter).inc(amount)

    def observe(self, name: str, seconds: float) -> None:
        """Add to a histogram of :data:`HISTOGRAMS`."""
        self._histograms[name].observe(seconds)

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a gauge that asks for its value."""
        Gauge(f"lightmamba_{name}", text, registry=self.registry).set_function(value)

    def generated(self, tokens: int) -> None:
        """Count tokens of one pass."""
        self.count("generated_tokens", tokens)
        now = time.monotonic()
        self._recent.append((now, tokens))
        while self._recent and self._recent[0][0] < now - WINDOW:
            self._recent.popleft()

    def rate(self) -> float:
        """Tokens per second of late."""
        since = time.monotonic() - WINDOW
        return sum(tokens for at, tokens in list(self._recent) if at >= since) / WINDOW

    def totals(self, name: str, found: Mapping[str, int]) -> None:
        """Take over counts by kind that a backend keeps itself."""
        for kind, total in found.items():
            self.count(name, max(0, total - self._seen.get((name, kind), 0)), kind)
            self._seen[name, kind] = total

    def total(self, name: str) -> int:
        """A counter's value, over all its labels."""
        samples = (s for metric in self._counters[name].collect() for s in metric.samples)
        return int(sum(sample.value for sample in samples if sample.name.endswith("_total")))

    def page(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)
