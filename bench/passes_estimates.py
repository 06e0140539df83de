"""Cycles of passes of several tokens, estimated and simulated.

    python -m bench.passes_estimates [MACHINE ...]

Every machine runs random weights in each kind of pass that `estimate` knows: a steady run of
passes, of which the mean of the last two counts; of decoding a chain of ten tokens, and the mean of
the last four. The results file keeps the machines that are not named.
"""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tests.support.builders import made_up, two_ports

from bench.estimates import memory
from bench.identity import Random, combined, simulated
from bench.stored import Row, keep
from lightmamba.arch.passes import Share
from lightmamba.arch.target import Target
from lightmamba.common.passes import Pass, Slot
from lightmamba.device.sim import SimDevice, chained, open_device
from lightmamba.hardware.compiler import build
from lightmamba.hardware.estimate.model import estimate_pass
from lightmamba.hardware.estimate.workload import Workload, modes
from lightmamba.model.config import SHAPES, ModelConfig, mamba2_config
from lightmamba.model.qmodel.synthetic import random_model
from lightmamba.numerics.model_formats import Formats

WARM, CHAIN = 6, 4  # tokens of a chain that are run, and then those that are measured
RUNS = 4  # passes of another kind, the last two of which are measured
SEED = 1
DEMO = SHAPES["demo"]


def machines() -> Mapping[str, tuple[ModelConfig, Target]]:
    """Shape and target of each."""
    tiny = Target.load("tiny-t4")
    eight = mamba2_config(192, 4, 2048, d_state=64, headdim=48, ngroups=2)
    two = made_up(tokens=2, lanes=4, state_elements=64, state_fifo=512, x_queue=256)
    copies = made_up(
        tokens=4, lanes=5, state_elements=512, state_fifo=128, state_port_bits=512, copies=2,
        turn=8,
    )  # fmt: skip
    one = made_up(tokens=4, lanes=6, state_elements=256, state_fifo=256, state_port_bits=256)
    return {
        "tiny-t4": (DEMO, tiny),
        "tiny-t4, slow state": (DEMO, memory(tiny, "state", beats=0.25)),
        "tiny-t4, slow aux": (DEMO, memory(tiny, "aux", beats=0.15)),
        "tiny-t4, slow lanes": (DEMO, memory(tiny, "lane", beats=0.5)),
        "tiny-t4, far memory": (DEMO, memory(tiny, latency_ns=1000.0)),
        "two tokens": (DEMO, two),
        "heads of 16 words, two copies": (DEMO, copies),
        "eight tokens": (
            eight,
            made_up(tokens=8, lanes=3, state_elements=64, state_port_bits=128, x_queue=64),
        ),
        "two ports of the state": (DEMO, two_ports(one)),
        "vck190-paper-t4": (DEMO, Target.load("vck190-paper-t4")),
    }


def identity(row: Row) -> str:
    """Hash of what a row measured, and of the estimates that it is compared with."""
    config, target = machines()[row["machine"]]
    work = Workload.of(config, Formats(), target, "reordered")
    guesses = [estimate_pass(work.of_mode(mode), area={}).cycles for mode in row["modes"]]
    of = simulated(
        Random(config, seed=SEED), target, run=[WARM, CHAIN, RUNS]
    )  # fmt: skip
    return combined(of, guesses)


def measure(config: ModelConfig, target: Target) -> dict[str, dict[str, float]]:
    """Cycles of every kind of pass, simulated and estimated."""
    work = Workload.of(config, Formats(), target, "reordered")
    model, found = random_model(config, Formats(), SEED), {}
    with tempfile.TemporaryDirectory() as folder:
        artifact = build(model, target, Path(folder) / "build")
        with open_device(artifact, observed=False, seed=SEED, sequences=target.machine.tokens) as d:
            for mode in modes(work.arch):
                shape = work.of_mode(mode)
                cycles = _decoding(d) if shape.chained else _passes(d, shape.slots, shape.head)
                estimated = estimate_pass(shape, area={}).cycles
                found[mode] = {
                    "cycles": cycles, "estimated": estimated, "error": estimated / cycles - 1
                }  # fmt: skip
    return found


def _decoding(device: SimDevice) -> float:
    device.start(1, fresh=True)
    device.wait()
    return chained(device, WARM, CHAIN)[0]


def _passes(device: SimDevice, shares: tuple[Share, ...], head: bool) -> float:
    """Mean of the last passes of a run, each of which accepts all that the one before left."""
    found = []
    for n in range(RUNS + 1):
        slots = [
            Slot(
                sequence, np.arange(1, 1 + share.tokens), wanted=share.tokens * head,
                replay=share.replay if n > 1 else 0, commit=share.commit,
            ) if n else Slot(sequence, np.array([1]), fresh=True)
            for sequence, share in enumerate(shares)
        ]  # fmt: skip
        device.submit(Pass(tuple(slots)))
        found.append(device.wait())
    return sum(found[-2:]) / 2


def main() -> None:
    """Run the machines named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("machine", nargs="*", help="beginning of a machine's name (all)")
    wanted = parser.parse_args().machine
    known = machines()
    for name, (config, target) in known.items():
        if wanted and not any(name.startswith(w) for w in wanted):
            continue
        found = measure(config, target)
        said = ", ".join(f"{m} {r['cycles']:,.0f} {r['error']:+.2%}" for m, r in found.items())
        print(f"{name}: {said}", flush=True)
        row = {"machine": name, "modes": found}
        keep("passes_estimates", row, stay=lambda old: old["machine"] in known)


if __name__ == "__main__":
    main()
