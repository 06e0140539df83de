"""Which memory binds on each target, and at how many tokens per second; computed where it is shown.

No schedule: every byte of a token at the attainable rate of its channel, every beat at the clock.
No machine of that target is faster; how near it comes, `lightmamba estimate` and `simulate` say.
"""

from functools import cache
from typing import NamedTuple

from lightmamba.arch.clients import LAYER, STATIC
from lightmamba.arch.target import Target
from lightmamba.common.errors import InputError
from lightmamba.hardware.compiler.memory import Memory
from lightmamba.hardware.compiler.plan import plan
from lightmamba.hardware.machine.ports import clients
from lightmamba.model.config import SHAPES, ModelConfig
from lightmamba.numerics.model_formats import Formats

__all__ = ["Bound", "bound", "bounds", "channel_bytes", "fits", "port_bytes"]


class Bound(NamedTuple):
    """Tokens per second that memory and lanes allow, and the channel that limits them."""

    tokens_per_second: float
    binds: str


def port_bytes(memory: Memory) -> dict[str, int]:
    """Bytes of a token with its head through each port, both ways, in whole beats."""
    arch, wide = memory.arch, memory.aux_beat
    lane = (memory.layers_beats + memory.head_beats) * arch.port_bits // 8
    state = memory.state_beats * memory.state_beat
    once = [sum(memory.words[client.name]) for client in clients(arch, STATIC)]
    small = sum(-(-8 * n // wide) * wide for n in (*once, memory.each("embedding")))
    small += memory.logits_stride
    found = {f"lane{n}": lane for n in range(arch.lanes)}
    found |= {"state_read": state, "state_write": state}
    kept = [memory.layers_of(c.name) * memory.stride(c.name) for c in clients(arch, LAYER)]
    found["aux"] = small + 2 * sum(kept)
    return {"memory": sum(found.values())} if arch.shared_port else found


def channel_bytes(memory: Memory) -> dict[str, float]:
    """Mean bytes per token through each channel."""
    moved = {port: (count, 0) for port, count in port_bytes(memory).items()}
    return {name: sum(both) for name, both in memory.target.per_channel(moved).items()}


def fits(config: ModelConfig, target: Target) -> bool:
    """Whether the memory of a target holds a model."""
    try:
        Memory(config, Formats(), plan(config, Formats(), target), target).regions()
    except InputError:
        return False
    return True


def bounds(config: ModelConfig, target: Target, formats: Formats | None = None) -> dict[str, float]:
    """Seconds of a token that each channel and the lanes need at least."""
    arch = plan(config, formats or Formats(), target)
    memory = Memory(config, formats or Formats(), arch, target)
    moved = channel_bytes(memory)
    found = {c.name: moved[c.name] / (c.attainable_gb_per_s * 1e9) for c in target.channels}
    passes = 2 if arch.head_twice else 1
    beats = memory.layers_beats + passes * memory.head_beats
    return found | {"lanes": beats / (target.clock_mhz * 1e6)}


@cache
def bound(target: str, shape: str) -> Bound | None:
    """The bottleneck of a shape on a target; None where the memory does not hold the model."""
    there, config = Target.load(target), SHAPES[shape]
    if not fits(config, there):
        return None
    found = bounds(config, there)
    binds = max(found, key=lambda place: found[place])
    return Bound(1 / found[binds], binds)
