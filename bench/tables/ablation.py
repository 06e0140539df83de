"""Tables of the paper's ablation on our hardware, Mamba2-2.7B, computed where they are shown.

Speed is estimated; what was simulated too is next to it, from :mod:`bench.full`. Accuracy is
that of the bundled model, from :mod:`bench.accuracy`.

What the SSM holds on chip, by :data:`HELD` (:func:`buffers`), in words of S elements of 8 bits and
an exponent of 5 bits for every 32 of them, w = 8 S + 5 S/32 bits:

- entire layer: 3 tensors (B·x, the new h, h·C) of d_inner · padded_d_state / S words;
- one head at a time: 3 tensors of headdim · padded_d_state / S words, and two queues of the state;
- fused, as built: the two queues of the state, state_fifo words each.

The 8 bits of B·x and h·C are the paper's; ours are wider and never held.
"""

from dataclasses import replace
from functools import cache
from typing import Any, cast

from bench.tables.models import RATIO
from bench.tables.printer import Table, Tables, load
from bench.tables.speed import full_rows
from lightmamba.arch.amount import Amount, memory_cells
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK
from lightmamba.arch.target import Target
from lightmamba.blocks.mamba2.quantized import Sizes
from lightmamba.hardware.compiler.memory import Memory
from lightmamba.hardware.compiler.plan import plan
from lightmamba.hardware.estimate import Estimate
from lightmamba.hardware.estimate.model import estimate_pass
from lightmamba.hardware.estimate.workload import Workload
from lightmamba.model.config import SHAPES, ModelConfig
from lightmamba.numerics.model_formats import Formats

__all__ = ["ABLATION", "HELD", "buffers", "full_rotation"]

SHAPE = "mamba2-2.7b"
CONFIG = SHAPES[SHAPE]
BOARDS = ("vck190-paper", "u280")
W4A4 = Formats()
WIDE = {"w8a8": Formats(8, 8, head_weight_bits=8), "w4a8": Formats(4, 8), "w4a4": W4A4}
RUN = {name: (formats, "reordered") for name, formats in WIDE.items()}
RUN |= {"naive": (W4A4, "naive"), "none": (Formats(hadamard=1), "reordered")}
WIDTHS = {"fp16": "2.23", "w8a8": "3.61", "w4a4": "7.21"}  # arXiv 2502.15260, VCK190
SHOTS = {"fp16": "60.2", "w8a8": "60.2", "w4a4": "55.9"}  # zero-shot average, SSM included
CHOICES = {
    "as shipped": "W4A4 as shipped: reordered, fused, H128 in blocks, scales (4 + m)/4·2^e",
    "naive": "naive order of the rows",
    "full": "full Hadamard before out_proj (as in the paper)",
    "none": "no on-line Hadamard",
    "no rotation": "no rotation of the residual",
    "nearest": "activation scales 2^e, nearest",
    "hold all": "activation scales 2^e, smallest without clipping",
}
PAPERS = {"as shipped": "7.21", "naive": "5.32", "full": "7.21", "no rotation": "5.32, naive order"}
MEASURED = {  # rows of bench.accuracy, by its study
    "as shipped": ("choices", "the recipe as shipped"),
    "full": ("choices", "full Hadamard before out_proj (the paper's)"),
    "none": ("choices", "no on-line Hadamard"),
    "no rotation": ("choices", "no rotation of the residual"),
    "nearest": ("scales", "nearest"),
    "hold all": ("scales", "smallest that holds the largest value"),
}
HELD = ("entire layer", "one head at a time", "fused, as built")
SPEEDS = ["Mamba2-2.7B, tokens per second"]
SPEEDS += [f"`{BOARDS[0]}`", "the paper's VCK190", f"`{BOARDS[1]}`"]
URAM = {HELD[0]: "246", HELD[2]: "61"}  # the paper's
TENSORS = 3  # B·x, the new h, h·C
FLOAT_BYTES = 2


@cache
def estimated(board: str, formats: Formats, order: str = "reordered") -> Estimate:
    """A token in other formats or another order, on a machine that is as it must be for them."""
    target, wait = Target.load(board), CONFIG.layers[0].out_dim
    changed: dict[str, Any] = {"multiplier_bits": 8} if formats.act_bits == 8 else {}
    changed |= {"x_queue": wait, "z_queue": wait} if order == "naive" else {}
    target = replace(target, machine=replace(target.machine, **changed))
    return estimate_pass(Workload.of(CONFIG, formats, target, order))


def float_weights(board: str) -> tuple[float, float]:
    """Tokens per second of 16-bit weights, all else as at W4A4, and bytes of a token.

    Only bytes, at the attainable rates: no such machine can be built here, and its units are taken
    to keep up.
    """
    target = Target.load(board)
    arch = plan(CONFIG, W4A4, target)
    memory = Memory(CONFIG, W4A4, arch, target)
    in_rows = sum(layer.in_rows for layer in CONFIG.layers)
    weights = in_rows * arch.in_channels + CONFIG.n_layer * CONFIG.d_model * arch.out_channels
    weights += CONFIG.vocab_size * arch.in_channels
    more = FLOAT_BYTES * weights / arch.lanes
    more -= (memory.stored_beats + memory.head_beats) * arch.port_bits // 8
    moved = estimated(board, W4A4).channel_bytes
    seconds, total = 0.0, 0.0
    for channel in target.channels:
        lanes = sum(port.startswith("lane") for port in channel.ports)
        here = moved[channel.name] + more * (arch.lanes if arch.shared_port else lanes)
        seconds = max(seconds, here / (channel.attainable_gb_per_s * 1e9))
        total += here
    return 1 / seconds, total


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


def _rate(board: str, name: str) -> str:
    """Tokens per second of a width or a choice, with the origin of each number."""
    if name == "fp16":
        rate = float_weights(board)[0]
    elif name == "full":
        rate = full_rotation(CONFIG, estimated(board, W4A4))
    else:
        rate = estimated(board, *RUN.get(name, RUN["w4a4"])).tokens_per_second
    said = f"{rate:.4g} (estimated)"
    if name in ("w4a4", "as shipped") and (run := full_rows().get(f"{SHAPE} on {board}")):
        said = f"{run['tokens_per_second']:.4g} (simulated); {said}"
    return said


def _papers(value: str | None) -> str:
    return f"{value} (the paper's)" if value else "–"


def _ratio(benchmark: str, **wanted: str) -> str:
    """Accuracy of a stored row."""
    text = RATIO + ", KL {kl:.4f} (measured)"
    return text.format_map(load(benchmark, **wanted)[0])


def widths() -> Table:
    """Widths of weights and activations, on both boards."""
    body = []
    for name in ("fp16", *WIDE):
        moved, cells, ratio = float_weights(BOARDS[0])[1], "–", "1 (by definition)"
        if name != "fp16":
            moved = sum(estimated(BOARDS[0], WIDE[name]).channel_bytes.values())
            both = (estimated(board, WIDE[name]).total for board in BOARDS)
            cells = "; ".join(f"{cell.lut:,.0f}, {cell.dsp:,.0f} (estimated)" for cell in both)
            ratio = _ratio("accuracy", method="ours", model="bundled", width=name)
        rates = [_rate(board, name) for board in BOARDS]
        line = [name.upper(), rates[0], _papers(WIDTHS.get(name)), rates[1]]
        line += [f"{moved / 1e6:,.0f} (estimated)", cells, ratio, _papers(SHOTS.get(name))]
        body.append(line)
    cells = f"LUT, DSP of `{BOARDS[0]}`; of `{BOARDS[1]}`"
    more = ["MB per token", cells, "× float, KL in nats, bundled model", "zero-shot, 2.7B"]
    return Table([*SPEEDS, *more], body)


def choices() -> Table:
    """The effect of each single choice, on both boards."""
    body = []
    for name, words in CHOICES.items():
        ratio, rates = "same integers", ["same hardware"] * len(BOARDS)
        if name in MEASURED:
            study, row = MEASURED[name]
            ratio = _ratio(study, **{"scale" if study == "scales" else "choice": row})
        if name in ("as shipped", "naive", "full", "none"):
            rates = [_rate(board, name) for board in BOARDS]
        body.append([words, rates[0], _papers(PAPERS.get(name)), rates[1], ratio])
    return Table([*SPEEDS, "× float, KL in nats, bundled model"], body)


def held() -> Table:
    """On-chip memory of the state-space unit."""
    header, body = ["what the SSM stores on chip (estimated)"], [[name] for name in HELD]
    for board in BOARDS:
        header += [f"`{board}`, Mbit", "URAM, BRAM (18 kbit), LUT"]
        found = buffers(CONFIG, plan(CONFIG, W4A4, Target.load(board)))
        for line, (bits, cells) in zip(body, found.values(), strict=True):
            took = (cells.uram, cells.bram18, cells.lut)
            line += [f"{bits / 1e6:.2f}", ", ".join(f"{n:,.0f}" for n in took)]
    for line in body:
        line.append(_papers(URAM.get(line[0])))
    return Table([*header, "the paper's URAM, complete design"], body)


ABLATION: Tables = {
    "ablation-widths": widths,
    "ablation-choices": choices,
    "ablation-buffers": held,
}
