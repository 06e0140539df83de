"""Inputs and results of the energy model.

How often the bits of weight beats toggle, in the lane images of the bundled model
(``python -m bench.energy`` prints it), and the energy that our constants give a machine of the
paper's resources, at its speed and bandwidth.
"""

from typing import NamedTuple

import numpy as np

from lightmamba.arch.target import Target
from lightmamba.hardware.compiler import plan
from lightmamba.hardware.compiler.layout import lane_images
from lightmamba.hardware.estimate import Amount, Estimate, energy
from lightmamba.model.data import demo_file
from lightmamba.model.qmodel import QuantizedModel, load
from lightmamba.numerics.model_formats import PROJECTIONS

__all__ = ["PAPER", "Paper", "paper", "toggles"]

# arXiv 2502.15260: LUT, FF, DSP, BRAM, URAM; tokens per second; tokens per joule; 400 MHz, 12 GB/s
PAPER = {
    "W4A4": (Amount(107e3, 130e3, 228, 912, 61), 7.21, 2.25),
    "W8A8": (Amount(111e3, 134e3, 228, 914, 61), 3.61, 1.45),
}


class Paper(NamedTuple):
    """A machine of the paper by our constants: low, likely and high, and the paper's own claim."""

    watts: tuple[float, ...]
    watts_in_cells: tuple[float, ...]
    tokens_per_joule: tuple[float, ...]
    paper_watts: float
    paper_tokens_per_joule: float


def toggles(model: QuantizedModel, target: Target) -> float:
    """Share of the bits of a lane's beats that differ from the beat before."""
    arch = plan(model.config, model.formats, target)
    changed = bits = 0
    for i, layer in enumerate(model.layers):
        for name in PROJECTIONS:
            linear = getattr(layer, name)
            image = lane_images(arch, model.formats.of(i, name), linear.q, linear.code)
            beats = image.reshape(arch.lanes, -1, arch.port_bits // 8)
            pairs = beats[:, 1:] ^ beats[:, :-1]
            changed += int(np.bitwise_count(pairs).sum())
            bits += 8 * pairs.size
    return changed / bits


def paper(width: str) -> Paper:
    """Our constants on the paper's machine of some widths."""
    amount, rate, per_joule = PAPER[width]
    target = Target.load("vck190-paper")
    got = energy(_estimate(400, rate, {"dram": round(12e9 / rate)}, amount), target)
    assert got is not None
    cells = [sum(got.parts[p][n] for p in ("products", "state", "fabric")) for n in range(3)]
    return Paper(
        tuple(rate * joules for joules in got.joules),
        tuple(rate * joules for joules in cells),
        tuple(got.tokens_per_joule),
        rate / per_joule,
        per_joule,
    )


def _estimate(mhz: float, rate: float, moved: dict[str, int], amount: Amount) -> Estimate:
    """As many tokens per second; every cell of the machine at work in every cycle."""
    return Estimate(
        clock_mhz=mhz, cycles=round(mhz * 1e6 / rate), prompt_cycles=0, stalls={},
        channel_bytes=moved, channel_cycles={}, unit_cycles={}, nominal_bytes_per_cycle={},
        resources={"machine": amount},
    )  # fmt: skip


if __name__ == "__main__":
    for each in ("tiny", "u280"):
        print(f"{each}: {toggles(load(demo_file()), Target.load(each)):.3f}")
