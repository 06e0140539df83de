"""An estimate that is exact for what it says: a token costs the weights, the state, or the SSM."""

from collections.abc import Mapping

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Resources, Target
from lightmamba.hardware.estimate import Amount, Energy, Estimate
from lightmamba.hardware.estimate.objectives import chosen
from lightmamba.hardware.estimate.workload import Workload
from lightmamba.model.config import mamba2_config
from lightmamba.study.explore.problem import Problem
from lightmamba.study.explore.scheme import Scheme
from lightmamba.study.explore.space import Space

SMALL = mamba2_config(d_model=256, n_layer=2, vocab_size=512)
ALL = ("speed", "size", "energy", "accuracy")
RATIOS = {"w4a4": 1.05, "w4a8": 1.01, "w8a8": 1.001}
DEVICE = {"lut": 40_000, "ff": 80_000, "dsp": 100, "bram18": 400, "uram": 16}


def area(arch: ArchConfig, device: Resources | None) -> dict[str, Amount]:
    """Multipliers, channels of the state, and queues."""
    fifos = arch.lanes * arch.weight_fifo * arch.port_bits + arch.state_fifo * arch.state_elements
    luts = 20 * arch.lanes * arch.products * arch.multiplier_bits // 4 + 100 * arch.state_elements
    return {"all": Amount(lut=luts, ff=luts, bram18=fifos / 18432)}


def estimate(work: Workload, area: Mapping[str, Amount]) -> Estimate:
    """Simple, and monotone where the real one is: wider is faster, larger, and takes more power."""
    arch, memory, target = work.arch, work.memory, work.target
    beats = memory.stored_beats + memory.head_beats
    shared = target.channel_of("memory" if arch.shared_port else "lane0")
    rate = shared.bytes_per_cycle(target.clock_mhz) / len(shared.ports)
    per_beat = max(1.0, arch.port_bits / 8 / rate) + 8 / arch.burst_beats + 16 / arch.weight_fifo
    state = int(memory.heads * memory.head_words * (1 + 16 / arch.state_fifo))
    cycles = int(max(beats * per_beat, state)) + 1
    products = arch.lanes * arch.products
    joules = 1e-9 * beats * products * arch.multiplier_bits + 1e-6 * cycles
    return Estimate(
        clock_mhz=target.clock_mhz, cycles=cycles, prompt_cycles=cycles, stalls={},
        channel_bytes={}, channel_cycles={"lane0": beats * per_beat}, unit_cycles={"ssm": state},
        nominal_bytes_per_cycle={}, resources=area,
        energy=Energy({"all": (joules / 2, joules, 2 * joules)}),
    )  # fmt: skip


def target(**device: int) -> Target:
    """The target ``tiny`` on a device with so much."""
    values = Target.load("tiny").to_dict()
    return Target.from_dict(values | {"resources": {**DEVICE, **device, "source": "invented"}})


def problem(
    base: Target | None = None, objectives: tuple[str, ...] = ALL, fill: float = 1.0
) -> Problem:
    """A search over machines for :data:`SMALL`."""
    base = base or target()
    return Problem(
        name="small", config=SMALL, space=Space.around(base, SMALL, tuple(RATIOS)),
        formats={name: Scheme.parse(name).formats for name in RATIOS},
        objectives=chosen(objectives), estimate=estimate, area=area, ratios=RATIOS, fill=fill,
    )  # fmt: skip
