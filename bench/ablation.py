"""The paper's ablation on our hardware, Mamba2-2.7B: ``python -m bench.ablation``.

Speed is estimated; what was simulated too is next to it, from :mod:`bench.full`. Accuracy is
that of the bundled model, from :mod:`bench.accuracy`.

What the SSM holds on chip, by :data:`HELD` (:func:`buffers`), in words of S elements of 8 bits and
an exponent of 5 bits for every 32 of them, w = 8 S + 5 S/32 bits:

- whole layer: 3 tensors (B·x, the new h, h·C) of d_inner · padded_d_state / S words;
- one head at a time: 3 tensors of headdim · padded_d_state / S words, and two queues of the state;
- fused, as built: the two queues of the state, state_fifo words each.

The 8 bits of B·x and h·C are the paper's; ours are wider and never held.
"""

from dataclasses import asdict, replace
from typing import Any, cast

from bench.stored import keep, rows
from lightmamba.arch.amount import Amount, memory_cells
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK
from lightmamba.arch.target import Target
from lightmamba.blocks.mamba2.quantized import Sizes
from lightmamba.hardware.compiler.memory import Memory
from lightmamba.hardware.compiler.plan import plan
from lightmamba.hardware.estimate import Estimate, estimate
from lightmamba.model.config import SHAPES, ModelConfig
from lightmamba.numerics.model_formats import Formats

__all__ = ["BOARDS", "HELD", "buffers", "float_weights", "full_rotation", "simulated"]

SHAPE = "mamba2-2.7b"
BOARDS = ("vck190-paper", "u280")
WIDTHS = {"w8a8": Formats(8, 8, head_weight_bits=8), "w4a8": Formats(4, 8), "w4a4": Formats()}
HELD = ("whole layer", "one head at a time", "fused, as built")
TENSORS = 3  # B·x, the new h, h·C
FLOAT_BYTES = 2


def float_weights(config: ModelConfig, target: Target) -> dict[str, Any]:
    """A token of 16-bit weights, all else as at W4A4: only bytes, at the attainable rates.

    No such machine can be built here; its units are taken to keep up.
    """
    arch = plan(config, Formats(), target)
    memory = Memory(config, Formats(), arch, target)
    rows = sum(layer.in_rows for layer in config.layers)
    weights = rows * arch.in_channels + config.n_layer * config.d_model * arch.out_channels
    weights += config.vocab_size * arch.in_channels
    more = FLOAT_BYTES * weights / arch.lanes
    more -= (memory.layers_beats + memory.head_beats) * arch.port_bits // 8
    moved = estimate(config, Formats(), target).channel_bytes
    seconds, total = 0.0, 0.0
    for channel in target.channels:
        lanes = sum(port.startswith("lane") for port in channel.ports)
        here = moved[channel.name] + more * (arch.lanes if arch.shared_port else lanes)
        seconds = max(seconds, here / (channel.attainable_gb_per_s * 1e9))
        total += here
    return {"estimated": 1 / seconds, "bytes": round(total), "cells": None}


def full_rotation(config: ModelConfig, found: Estimate) -> float:
    """Tokens per second with a transform over all of d_inner before out_proj, at the least.

    out_proj then waits for the whole vector: d_inner / 2 cycles a layer at two elements per cycle,
    none of which the lanes' queues hide.
    """
    cycles = found.cycles + sum(layer.out_dim for layer in config.layers) // 2
    return found.clock_mhz * 1e6 / cycles


def buffers(config: ModelConfig, arch: ArchConfig) -> dict[str, tuple[int, Amount]]:
    """{how much of a layer is held: (bits, cells)}; formulas above."""
    word = arch.state_elements * 8 + arch.state_elements // BLOCK * 5

    def held(*memories: int) -> tuple[int, Amount]:
        cells = (memory_cells(depth, word) for depth in memories)
        return sum(memories) * word, sum(cells, Amount())

    layer, queues = cast(Sizes, config.layers[0]), (arch.state_fifo, arch.state_fifo)
    return {
        HELD[0]: held(*[layer.d_inner * arch.row_words] * TENSORS),
        HELD[1]: held(*[layer.headdim * arch.row_words] * TENSORS, *queues),
        HELD[2]: held(*queues),
    }


def simulated(target: str) -> float | None:
    """Tokens per second of the shipped formats in RTL simulation; None where that was not run."""
    name = f"{SHAPE} on {target}"
    return next((r["tokens_per_second"] for r in rows("full") if r["name"] == name), None)


def speed(found: Estimate, seen: float | None = None) -> dict[str, Any]:
    """Values of a row: speed, bottleneck, bytes and cells of a configuration."""
    return {
        "estimated": found.tokens_per_second,
        "simulated": seen,
        "cycles": found.cycles,
        "bound": found.bound,
        "bytes": sum(found.channel_bytes.values()),
        "cells": asdict(found.total) if found.resources else None,
    }


def measure(name: str) -> dict[str, Any]:
    """All rows of one board."""
    config, target = SHAPES[SHAPE], Target.load(name)
    wait = config.layers[0].out_dim
    wide = replace(target, machine=replace(target.machine, multiplier_bits=8))
    deep = replace(target, machine=replace(target.machine, x_queue=wait, z_queue=wait))
    widths = {
        width: estimate(config, formats, wide if formats.act_bits == 8 else target)
        for width, formats in WIDTHS.items()
    }
    shipped = widths["w4a4"]
    rows = {width: speed(found) for width, found in widths.items()}
    return {
        "widths": {"fp16": float_weights(config, target)}
        | rows
        | {"w4a4": speed(shipped, simulated(name))},
        "choices": {
            "as shipped": speed(shipped, simulated(name)),
            "naive order": speed(estimate(config, WIDTHS["w4a4"], deep, "naive")),
            "full Hadamard": {"estimated": full_rotation(config, shipped)},
            "no on-line Hadamard": speed(estimate(config, Formats(hadamard=1), target)),
        },
        "buffers": {
            held: {"bits": bits, "cells": asdict(cells)}
            for held, (bits, cells) in buffers(config, plan(config, Formats(), target)).items()
        },
    }


def main() -> None:
    for name in BOARDS:
        for part, found in measure(name).items():
            for row, values in found.items():
                keep("ablation", {"target": name, "part": part, "row": row, **values})
                if part != "buffers":
                    print(f"{name:14}{row:22}{values['estimated']:10.2f} tokens/s", flush=True)


if __name__ == "__main__":
    main()
