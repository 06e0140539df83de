"""Hybrids of published sizes on the targets of the docs, by the performance model.

    python -m bench.hybrids

A token at W4A4, the LM head included, at contexts of 1,024 and 8,192 tokens, and passes of four
tokens. It takes a minute, so it is stored. Simulated ones are rows of `bench.full`.
"""

from collections.abc import Iterator
from typing import Any

from bench.stored import keep
from lightmamba.arch.target import Target
from lightmamba.hardware.estimate.model import estimate_pass
from lightmamba.hardware.estimate.workload import Workload
from lightmamba.model.config import HYBRIDS, PUBLISHED, ModelConfig
from lightmamba.numerics.model_formats import Formats

__all__ = ["CHART", "CONTEXTS", "EXPERTS", "PASSES", "TARGETS"]

TARGETS, CONTEXTS = ("u280", "kv260"), (1024, 8192)  # of the table, for every shape
CHART = [("granite-4.0-h-1b", target, CONTEXTS[0]) for target in ("u55c", "vck190")]
EXPERTS = (
    *(("granite-4.0-h-tiny", target) for target in ("u280", "u55c", "vck190")),
    *((shape, "u55c-31") for shape in ("granite-4.0-h-small", "nemotron-3-nano-30b")),
    ("nemotron-3-nano-30b, 7 layers", "u55c-31"),  # its first ones, as `bench.full` simulates them
)
PASSES = (("prefill", "u280-t4", 4096), ("batch", "u280-batch4", 1024))  # of every hybrid


def measure() -> Iterator[dict[str, Any]]:
    """A row for each shape, target, pass and context."""
    alone = [(shape, t, context) for shape in HYBRIDS for t in TARGETS for context in CONTEXTS]
    alone += [(*each, context) for each in EXPERTS for context in CONTEXTS]
    cases = [(shape, t, "decode", context) for shape, t, context in [*alone, *CHART]]
    cases += [(shape, t, mode, context) for shape in HYBRIDS for mode, t, context in PASSES]
    for shape, target, mode, context in cases:
        work = Workload.of(_sizes(shape), Formats(), Target.load(target), "reordered", context)
        found = estimate_pass(work.of_mode(mode))
        row = {"shape": shape, "target": target, "mode": mode, "context": context}
        row |= {"tokens_per_second": found.tokens_per_second, "cycles": found.cycles}
        row |= {"bound_cycles": found.bound_cycles, "stalls": dict(found.stalls)}
        yield row | {"dsp": found.total.dsp}


def _sizes(shape: str) -> ModelConfig:
    """Sizes of a published model, or of its first layers."""
    name, _, layers = shape.partition(", ")
    return PUBLISHED[name].first(int(layers.split()[0])) if layers else PUBLISHED[name]


if __name__ == "__main__":
    keep("hybrids", *measure(), stay=lambda _: False)
