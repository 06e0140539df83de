"""Inputs and results of the energy model.

How often the bits of weight beats toggle, in the lane images of the bundled model
(``python -m bench.energy`` prints it), and the energy that our constants give a machine of the
paper's resources, at its speed and bandwidth.
"""

import numpy as np

from bench.boards import claimed
from lightmamba.arch.target import Target
from lightmamba.hardware.compiler import plan
from lightmamba.hardware.compiler.layout import lane_images
from lightmamba.hardware.estimate import Estimate, energy
from lightmamba.hardware.estimate.result import Energy
from lightmamba.model.data import demo_file
from lightmamba.model.qmodel import QuantizedModel, load
from lightmamba.numerics.model_formats import PROJECTIONS

__all__ = ["PAPER", "paper", "toggles"]

PAPER = {scheme: claimed("vck190-paper", scheme) for scheme in ("W4A4", "W8A8")}


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


def paper(width: str) -> tuple[Energy, tuple[float, ...]]:
    """Energy of the paper's machine of some widths, by our constants, and the part of its cells.

    It makes as many tokens per second; every cell of the machine is at work in every cycle.
    """
    claim, amount = PAPER[width]
    rate = claim.tokens_per_second
    machine = Estimate(
        clock_mhz=400, cycles=round(400e6 / rate), prompt_cycles=0, stalls={},
        channel_bytes={"dram": round(12e9 / rate)}, channel_cycles={}, unit_cycles={},
        nominal_bytes_per_cycle={}, resources={"machine": amount},
    )  # fmt: skip
    got = energy(machine, Target.load("vck190-paper"))
    assert got is not None
    cells = [sum(got.parts[p][n] for p in ("products", "state", "fabric")) for n in range(3)]
    return got, tuple(cells)


if __name__ == "__main__":
    for each in ("tiny", "u280"):
        print(f"{each}: {toggles(load(demo_file()), Target.load(each)):.3f}")
