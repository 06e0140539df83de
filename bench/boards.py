"""Which memory binds on each target, and at how many tokens per second; computed where it is shown.

No schedule: every byte of a token at the attainable rate of its channel, every beat at the clock.
No machine of that target is faster; how near it comes, `lightmamba estimate` and `simulate` say.
"""

from functools import cache
from typing import NamedTuple

from lightmamba.arch.amount import Amount
from lightmamba.arch.target import Target
from lightmamba.common.errors import InputError
from lightmamba.hardware.estimate.quantities import Quantities
from lightmamba.hardware.estimate.workload import Workload
from lightmamba.model.config import SHAPES, ModelConfig
from lightmamba.numerics.model_formats import Formats
from lightmamba.study.report.paper import Platform, paper

__all__ = ["Bound", "bound", "bounds", "claimed", "moved", "token"]


class Bound(NamedTuple):
    """Tokens per second that memory and lanes allow, and the channel that limits them."""

    tokens_per_second: float
    binds: str


def token(config: ModelConfig, target: Target) -> Workload:
    """A W4A4 token of a model on a target."""
    return Workload.of(config, Formats(), target, "reordered")


def moved(work: Workload) -> dict[str, int]:
    """Bytes through each channel, both ways."""
    return {name: sum(both) for name, both in Quantities.of(work).channel_bytes.items()}


def bounds(work: Workload) -> dict[str, float]:
    """Seconds that each channel and the lanes need at least."""
    target, memory, each = work.target, work.memory, moved(work)
    lanes = memory.stored_beats + (1 + work.arch.head_twice) * memory.head_beats
    found = {c.name: each[c.name] / (c.attainable_gb_per_s * 1e9) for c in target.channels}
    return found | {"lanes": lanes / (target.clock_mhz * 1e6)}


@cache
def bound(target: str, shape: str) -> Bound | None:
    """The bottleneck of a shape on a target; None where the memory does not hold the model."""
    work = token(SHAPES[shape], Target.load(target))
    try:
        work.memory.regions()
    except InputError:
        return None
    found = bounds(work)
    binds = max(found, key=lambda place: found[place])
    return Bound(1 / found[binds], binds)


def claimed(target: str, scheme: str = "W4A4") -> tuple[Platform, Amount]:
    """The paper's figures of Mamba2-2.7B on the board of a target, and its cells there."""
    found = paper().of(paper().config, target, scheme)
    assert found is not None
    assert found.amount is not None
    return found, found.amount
