"""Which memory binds on each target, and at how many tokens per second: ``python -m bench.boards``.

No schedule: every byte of a token at the attainable rate of its channel, every beat at the clock.
No machine of that target is faster; how near it comes, `lightmamba estimate` and `simulate` say.
The row of a model that does not fit the target's memory has no speed.
"""

from typing import Any

from bench.board_tables import single_token_targets
from bench.stored import keep
from lightmamba.arch.target import Target
from lightmamba.common.errors import InputError
from lightmamba.hardware.compiler.memory import Memory
from lightmamba.hardware.compiler.plan import plan
from lightmamba.hardware.machine.ports import clients
from lightmamba.model.config import SHAPES, ModelConfig
from lightmamba.numerics.model_formats import Formats

__all__ = ["bounds", "channel_bytes", "fits", "port_bytes"]


def port_bytes(memory: Memory) -> dict[str, int]:
    """Bytes of a token with its head through each port, both ways, in whole beats."""
    arch, wide = memory.arch, memory.aux_beat
    lane = (memory.layers_beats + memory.head_beats) * arch.port_bits // 8
    state = memory.state_beats * memory.state_beat
    once = [sum(memory.words[client.name]) for client in clients(arch, "static")]
    small = sum(-(-8 * n // wide) * wide for n in (*once, memory.embedding_words))
    small += memory.logits_stride
    found = {f"lane{n}": lane for n in range(arch.lanes)}
    found |= {"state_read": state, "state_write": state}
    kept = [memory.layers_of(c.name) * memory.stride(c.name) for c in clients(arch, "layer")]
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


def main() -> None:
    rows: list[dict[str, Any]] = []
    for name in single_token_targets():
        target = Target.load(name)
        for shape, config in SHAPES.items():
            if not fits(config, target):
                rows.append({"target": name, "shape": shape, "tokens_per_second": None})
                continue
            found = bounds(config, target)
            binds = max(found, key=lambda place: found[place])
            memory = Memory(config, Formats(), plan(config, Formats(), target), target)
            moved = sum(port_bytes(memory).values())
            rows.append({
                "target": name, "shape": shape, "tokens_per_second": 1 / found[binds],
                "binds": binds, "bytes_per_token": moved,
                "share_of_nominal": moved / found[binds] / 1e9
                / sum(c.gb_per_s for c in target.channels),
            })  # fmt: skip
            print(f"{name:14}{shape:14}{1 / found[binds]:10.1f}  {binds}")
    keep("boards", *rows, stay=lambda _: False)


if __name__ == "__main__":
    main()
