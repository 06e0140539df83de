"""Cycles of tokens and passes, estimated and simulated: ``python -m bench.estimates [ROW ...]``.

Every row compiles a random model, builds its machine, runs it, and compares cycles with the
estimate's. A row of ``estimates`` is a token of a greedy chain; whole models that ``bench.full``
has simulated are among them. A row of ``passes_estimates`` is a machine of several tokens in each
kind of pass that `estimate` knows: the mean of the last two of a steady run of them, of decoding
that of the last tokens of a chain.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import asked
from bench.full import ROWS
from bench.full import identity as identity_of_full
from bench.identity import Random, combined, simulated
from bench.stored import Row, keep, rows
from lightmamba.arch.passes import Share
from lightmamba.arch.target import Channel, Target
from lightmamba.common.passes import Pass, Slot
from lightmamba.device.sim import SimDevice, chained, open_device
from lightmamba.device.sim.made_up import made_up, two_ports
from lightmamba.hardware.compiler import build
from lightmamba.hardware.estimate import Estimate, estimate
from lightmamba.hardware.estimate.model import estimate_pass
from lightmamba.hardware.estimate.workload import Workload, modes
from lightmamba.model.config import SHAPES, ModelConfig, mamba2_config
from lightmamba.model.qmodel.synthetic import random_model
from lightmamba.numerics.model_formats import Formats

WARM, CHAIN = 6, 4  # tokens of a chain that are run, and then those that are measured
RUNS = 4  # passes of another kind, the last two of which are measured
SEED = 1
DEMO = SHAPES["demo"]
FULL = " (bench.full)"  # of a case that that benchmark has simulated


@dataclass(frozen=True)
class Case:
    """One shape, one machine, one memory."""

    config: ModelConfig
    target: Target
    formats: Formats = field(default_factory=Formats)
    order: str = "reordered"
    stalls: float = 0.0

    def estimated(self) -> Estimate:
        """The estimate of a token."""
        return estimate(self.config, self.formats, self.target, self.order, stalls=self.stalls)


def memory(target: Target, name: str = "", **values: Any) -> Target:
    """Target with other values for the channels whose names begin so.

    ``beats`` is a share of the nominal rate.
    """

    def changed(channel: Channel) -> Channel:
        given = dict(values)
        if "beats" in given:
            given["attainable_gb_per_s"] = given.pop("beats") * channel.gb_per_s
        return replace(channel, **given) if channel.name.startswith(name) else channel

    return replace(target, channels=tuple(map(changed, target.channels)))


@cache
def cases() -> Mapping[str, Case]:
    """All of them; those with the same beginning share a machine."""
    tiny, paper, vck190 = map(Target.load, ("tiny", "vck190-paper", "vck190"))
    ulx3s, ecpix5 = map(Target.load, ("ulx3s", "ecpix5"))
    refresh: dict[str, Any] = {"refresh_interval_ns": 3900.0, "refresh_ns": 350.0}
    w8a8, small = Formats(8, 8, head_weight_bits=8), {"state_elements": 32, "port_bits": 128}
    narrow32 = {"port_bits": 32, "state_port_bits": 32, "aux_port_bits": 32, "state_elements": 4}
    compact: dict[str, Any] = {"lanes": 1, "multiplier_bits": 8, "shared_port": True,
                               "weight_fifo": 128, "aux_fifo": 128}  # fmt: skip
    four = made_up(**compact, **narrow32, state_fifo=128)
    sixteen = made_up(**compact, port_bits=64, state_port_bits=64, aux_port_bits=64,
                      state_elements=16)  # fmt: skip
    dense = mamba2_config(192, 4, 2048, d_state=64, headdim=48)
    groups8 = mamba2_config(256, 4, 4096, d_state=64, headdim=32, ngroups=8)
    groups2 = mamba2_config(192, 6, 2048, d_state=128, headdim=64, ngroups=2)
    narrow = mamba2_config(128, 12, 16384, d_state=32, headdim=32)
    m130, m370 = (mamba2_config(d_model, 2, 2048) for d_model in (768, 1024))
    one = made_up(lanes=1, multiplier_bits=8, x_queue=512, **small)
    two = made_up(lanes=2, state_port_bits=128, x_queue=128, **small)
    three = made_up(lanes=3, multiplier_bits=8, **small)
    eight = made_up(lanes=8, weight_fifo=64, **small)
    on130 = made_up(lanes=2, state_fifo=1024, beats=0.95, **small)
    on370 = made_up(lanes=2, state_fifo=1024, **(small | {"port_bits": 256}))
    once, twice, turns, both = (
        made_up(lanes=5, state_port_bits=128, copies=copies, turn=turn)
        for copies, turn in ((1, 0), (2, 0), (1, 12), (2, 12))
    )
    return {
        "ulx3s": Case(DEMO, ulx3s),
        "ecpix5": Case(DEMO, ecpix5),
        "port of 32 bits, 4 elements": Case(dense, four),
        "port of 32 bits, 4 elements, slow": Case(dense, memory(four, beats=0.4)),
        "port of 64 bits, 16 elements": Case(mamba2_config(256, 3, 2048), sixteen),
        "W8A8": Case(dense, one, w8a8),
        "W8A8, slow lanes": Case(dense, memory(one, "lane", beats=0.6), w8a8),
        "W8A8, naive order": Case(dense, one, w8a8, order="naive"),
        "eight groups": Case(groups8, two),
        "eight groups, slow state": Case(groups8, memory(two, "state", beats=0.3)),
        "eight groups, slow aux": Case(groups8, memory(two, "aux", beats=0.1)),
        "two groups, head once": Case(groups2, three),
        "two groups, head once, slow lanes": Case(groups2, memory(three, "lane", beats=0.4)),
        "two groups, head once, stalls": Case(groups2, three, stalls=0.3),
        "130m wide": Case(m130, on130),
        "130m wide, refresh": Case(m130, memory(on130, beats=0.7, **refresh)),
        "130m wide, slow state": Case(m130, memory(on130, "state", beats=0.1)),
        "130m wide, 4 layers": Case(mamba2_config(768, 4, 2048), on130),
        "370m wide": Case(m370, on370),
        "370m wide, slow lanes, stalls": Case(m370, memory(on370, "lane", beats=0.6), stalls=0.1),
        "eight lanes": Case(narrow, eight),
        "eight lanes, slow": Case(narrow, memory(eight, "lane", beats=0.4)),
        "vck190-paper": Case(DEMO, paper),
        "vck190-paper, half the rate": Case(DEMO, memory(paper, beats=0.5)),
        "vck190": Case(DEMO, vck190),
        "tiny": Case(DEMO, tiny),
        "tiny, naive order": Case(DEMO, tiny, order="naive"),
        "tiny, slow lanes": Case(DEMO, memory(tiny, "lane", beats=0.5)),
        "tiny, slow lanes, naive order": Case(DEMO, memory(tiny, "lane", beats=0.5), order="naive"),
        "tiny, slow state": Case(DEMO, memory(tiny, "state", beats=0.25)),
        "tiny, slow aux": Case(DEMO, memory(tiny, "aux", beats=0.15)),
        "tiny, refresh": Case(DEMO, memory(tiny, beats=0.8, **refresh)),
        "tiny, stalls": Case(DEMO, tiny, stalls=0.2),
        "state over a narrow port": Case(DEMO, once),
        "state over a narrow port, turns": Case(DEMO, turns),
        "state twice": Case(DEMO, twice),
        "state twice, turns": Case(DEMO, both),
        "state twice, one slow": Case(DEMO, memory(both, "state_read_other", beats=0.3)),
        "tiny, 12 layers, far memory": Case(
            mamba2_config(256, 12, 4096), memory(tiny, latency_ns=1000.0)
        ),
    }  # fmt: skip


@cache
def machines() -> Mapping[str, Case]:
    """Shape and target of each machine of several tokens."""
    tiny = Target.load("tiny-t4")
    eight = mamba2_config(192, 4, 2048, d_state=64, headdim=48, ngroups=2)
    two = made_up(tokens=2, lanes=4, state_elements=64, state_fifo=512, x_queue=256)
    wide: dict[str, Any] = {"tokens": 4, "lanes": 5, "state_elements": 512}
    copies = made_up(**wide, state_fifo=128, state_port_bits=512, copies=2, turn=8)
    one = made_up(tokens=4, lanes=6, state_elements=256, state_fifo=256, state_port_bits=256)
    three = made_up(tokens=8, lanes=3, state_elements=64, state_port_bits=128, x_queue=64)
    return {
        "tiny-t4": Case(DEMO, tiny),
        "tiny-t4, slow state": Case(DEMO, memory(tiny, "state", beats=0.25)),
        "tiny-t4, slow aux": Case(DEMO, memory(tiny, "aux", beats=0.15)),
        "tiny-t4, slow lanes": Case(DEMO, memory(tiny, "lane", beats=0.5)),
        "tiny-t4, far memory": Case(DEMO, memory(tiny, latency_ns=1000.0)),
        "two tokens": Case(DEMO, two),
        "heads of 16 words, two copies": Case(DEMO, copies),
        "eight tokens": Case(eight, three),
        "two ports of the state": Case(DEMO, two_ports(one)),
        "vck190-paper-t4": Case(DEMO, Target.load("vck190-paper-t4")),
    }


def identity(row: Row) -> str:
    """Hash of what a row measured, and of the estimates that it is compared with."""
    if name := row.get("machine"):
        case = machines()[name]
        of = simulated(Random(case.config, seed=SEED), case.target, run=[WARM, CHAIN, RUNS])
        work = Workload.of(case.config, Formats(), case.target, "reordered")
        return combined(of, [estimate_pass(work.of_mode(m), area={}).cycles for m in row["modes"]])
    if (name := row["case"].removesuffix(FULL)) != row["case"]:
        return combined(identity_of_full({"name": name}), row["estimated"])
    case = cases()[name]
    model = Random(case.config, case.formats, SEED)
    run = [case.stalls, WARM, CHAIN]
    of = simulated(model, case.target, order=case.order, run=run)
    return combined(of, case.estimated().cycles)


def measure(case: Case) -> dict[str, Any]:
    """A token of a case, simulated and estimated."""
    found = case.estimated()
    model = random_model(case.config, case.formats, SEED)
    with tempfile.TemporaryDirectory() as folder:
        artifact = build(model, case.target, Path(folder) / "build", order=case.order)
        with open_device(artifact, observed=False, stalls=case.stalls, seed=SEED) as device:
            cycles, prompt = tokens(device)
    return compared(cycles, found) | {"prompt_cycles": prompt}


def tokens(device: SimDevice) -> tuple[float, float]:
    """Cycles of a token in a chain of them, and of one without logits.

    Where the state lies twice, each is the mean of those that read the one copy and the other.
    """
    device.start(1, fresh=True)
    device.wait()
    cycles, _ = chained(device, WARM, CHAIN)
    prompts = []
    for _ in range(3):
        device.start(1, head=False)
        prompts.append(device.wait())
    return cycles, sum(prompts[1:]) / 2


def whole(row: Row) -> dict[str, Any]:
    """A token of a whole model, as ``bench.full`` measured it, and estimated."""
    target, context = Target.load(row["target"]), row.get("context") or None
    found = estimate(ROWS[row["name"]].config, Formats(), target, context=context)
    return compared(row["cycles_per_token"], found)


def compared(cycles: float, found: Estimate) -> dict[str, Any]:
    """Values of a row."""
    return {
        "cycles": cycles,
        "estimated": found.cycles,
        "error": found.cycles / cycles - 1,
        "bound": found.bound,
    }


def measure_passes(case: Case) -> dict[str, dict[str, float]]:
    """Cycles of every kind of pass, simulated and estimated."""
    target, found = case.target, dict[str, dict[str, float]]()
    work = Workload.of(case.config, Formats(), target, "reordered")
    with tempfile.TemporaryDirectory() as folder:
        artifact = build(random_model(case.config, Formats(), SEED), target, Path(folder) / "build")
        with open_device(artifact, observed=False, seed=SEED, sequences=work.arch.tokens) as d:
            for mode in modes(work.arch):
                shape = work.of_mode(mode)
                cycles = _decoding(d) if shape.chained else _passes(d, shape.slots, shape.head)
                guess = estimate_pass(shape, area={}).cycles
                found[mode] = {"cycles": cycles, "estimated": guess, "error": guess / cycles - 1}
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
    """Run the rows named, or all."""
    full = {row["name"] + FULL: row for row in rows("full")}
    every = {*full, *cases()}
    known = [name for name in full if name.removesuffix(FULL) in ROWS]
    for name in asked(__doc__, [*known, *cases(), *machines()]).row:
        if name in machines():
            found = measure_passes(machines()[name])
            keep("passes_estimates", {"machine": name, "modes": found})
            continue
        row = {"case": name, **(whole(full[name]) if name in full else measure(cases()[name]))}
        keep("estimates", row, stay=lambda row: row["case"] in every)


if __name__ == "__main__":
    main()
