"""Random shapes on random machines with random memory stalls, against the engine.

    python -m bench.shapes [CASE ...]

Every case compiles a random model, builds its machine, and compares every observable and counter of
16 tokens (a prompt whose logits are not wanted among them). The results file keeps the other cases.
"""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.common import asked
from bench.identity import Random, simulated
from bench.stored import Row, keep
from lightmamba.device.sim import open_golden
from lightmamba.device.sim.made_up import made_up
from lightmamba.hardware.compiler import build
from lightmamba.model.config import ModelConfig, mamba2_config
from lightmamba.model.qmodel.synthetic import random_model
from lightmamba.numerics.model_formats import FormatException, Formats

TOKENS, PROMPT, SEED = 16, (1, 2, 3), 3


@dataclass(frozen=True)
class Case:
    """One shape, one machine, one memory."""

    config: ModelConfig
    formats: Formats = field(default_factory=Formats)
    machine: dict[str, int] = field(default_factory=dict)
    stalls: float = 0.2
    beats: float = 0.9  # per cycle and port
    order: str = "reordered"


M = mamba2_config
W4A8, W8A8 = Formats(4, 8), Formats(8, 8, head_weight_bits=8)
WIDE = (
    FormatException(0, "in_proj", 8, 8), FormatException(1, "out_proj", 8, 4),
    FormatException(1, "in_proj", 4, 8), FormatException(2, "out_proj", 8, 8),
)  # fmt: skip
SHALLOW = {"burst_beats": 4, "weight_fifo": 8, "aux_fifo": 64, "x_queue": 2, "z_queue": 2}
NARROW = {
    "shared_port": True, "lanes": 1, "multiplier_bits": 8,
    "port_bits": 64, "state_port_bits": 64, "aux_port_bits": 64,
}  # fmt: skip
ONE_PORT = {"shared_port": True, "port_bits": 256, "state_port_bits": 256, "aux_port_bits": 256}
CASES = {
    "d_model 192, two groups, headdim 16, d_state 16": Case(
        M(192, 2, 101, d_state=16, headdim=16, ngroups=2),
        machine={"lanes": 3, "state_elements": 32, "state_port_bits": 128},
    ),
    "one layer, headdim 128, d_state 256, W8A8": Case(
        M(64, 1, 50, d_state=256, headdim=128, tie_embeddings=False),
        W8A8,
        machine={"lanes": 2, "multiplier_bits": 8, "state_elements": 128},
    ),
    "eight groups, W4A8, one port for everything": Case(
        M(128, 2, 77, d_state=64, headdim=32, ngroups=8),
        W4A8,
        machine={**ONE_PORT, "lanes": 1, "multiplier_bits": 8, "state_elements": 32},
    ),
    "d_state 48, kernel 3, six lanes of 128, shallow queues": Case(
        M(256, 2, 99, d_state=48, headdim=64, ngroups=2, d_conv=3, conv_bias=False),
        machine={
            **SHALLOW, "lanes": 6, "port_bits": 512, "state_elements": 32, "state_fifo": 2,
        },
        stalls=0.4,
    ),
    "naive order, five lanes of 64": Case(
        M(96, 2, 61, d_state=32, headdim=64),
        machine={"lanes": 5, "port_bits": 256, "state_elements": 32},
        order="naive",
    ),
    "one port for everything, four lanes, shallow queues": Case(
        M(128, 3, 67, d_state=128, headdim=32),
        machine={
            **SHALLOW, **ONE_PORT, "port_bits": 128, "state_port_bits": 128, "aux_port_bits": 128,
            "lanes": 4, "state_fifo": 2, "aux_fifo": 16,
        },
        stalls=0.3,
    ),
    "six lanes of 32 on slow memory": Case(
        M(160, 2, 83, d_state=64, headdim=16),
        machine={"lanes": 6, "state_port_bits": 512, "aux_port_bits": 64},
        stalls=0.0,
        beats=0.3,
    ),
    "three heads of 128, queues of x and z as short as can be": Case(
        M(192, 2, 71, d_state=64, headdim=128),
        machine={"lanes": 3, "x_queue": 64, "z_queue": 2},
    ),
    "W4A4 on 8-bit multipliers, two groups": Case(
        M(128, 2, 59, d_state=128, headdim=64, ngroups=2),
        machine={"lanes": 2, "multiplier_bits": 8, "state_elements": 128, "port_bits": 256},
    ),
    "W8A8, one lane, one port": Case(
        M(64, 2, 33, d_state=32, headdim=32),
        W8A8,
        machine={**ONE_PORT, "lanes": 1, "multiplier_bits": 8, "state_elements": 32},
        stalls=0.5,
    ),
    "compact: 8 elements, one port of 64": Case(
        M(128, 2, 77, d_state=64, headdim=32, ngroups=2),
        machine={**NARROW, "state_elements": 8},
    ),
    "compact: 4 elements, one port of 32, shallow queues": Case(
        M(128, 2, 53, d_state=40, headdim=16),
        machine={
            **SHALLOW, **NARROW, "port_bits": 32, "state_port_bits": 32, "aux_port_bits": 32,
            "state_elements": 4, "state_fifo": 2, "aux_fifo": 16,
        },
        stalls=0.3,
    ),
    "compact: 16 elements, two lanes of 8, other ports of 64 and 32": Case(
        M(96, 2, 61, d_state=32, headdim=64),
        machine={
            "lanes": 2, "port_bits": 32, "state_elements": 16, "state_port_bits": 64,
            "aux_port_bits": 32, "multiplier_bits": 8,
        },
    ),
    "layers of other widths, packed multipliers": Case(
        M(128, 3, 59, d_state=64, headdim=32),
        Formats(exceptions=WIDE),
        machine={
            "lanes": 2, "tokens": 2, "packed": True, "state_elements": 32, "port_bits": 256,
        },
        stalls=0.3,
    ),
    "layers of other widths, 8-bit multipliers": Case(
        M(96, 3, 61, d_state=32, headdim=64),
        Formats(exceptions=WIDE),
        machine={"lanes": 3, "multiplier_bits": 8, "state_elements": 32},
    ),
    "compact: two tokens, 8 elements, W8A8": Case(
        M(64, 2, 33, d_state=32, headdim=32),
        W8A8,
        machine={**NARROW, "tokens": 2, "state_elements": 8},
    ),
}  # fmt: skip


def identity(row: Row) -> str:
    """Hash of what a row measured."""
    case = CASES[row["case"]]
    return simulated(
        Random(case.config, case.formats, SEED),
        made_up(beats=case.beats, **case.machine),
        order=case.order,
        run=[case.stalls, TOKENS, PROMPT],
    )


def check(name: str, seed: int = SEED) -> dict[str, Any]:
    """Run one case; where and how the hardware differs, if they do."""
    case = CASES[name]
    model = random_model(case.config, case.formats, seed)
    with tempfile.TemporaryDirectory() as folder:
        target = made_up(beats=case.beats, **case.machine)
        build(model, target, Path(folder) / "build", order=case.order)
        opened = open_golden(Path(folder) / "build", stalls=case.stalls, seed=seed)
        steps = list(opened.golden.run(PROMPT, TOKENS))
        opened.device.simulator.close()
    difference = steps[-1].difference
    return {
        "case": name,
        "tokens": len(steps),
        "difference": None if difference is None else str(difference),
        "cycles": sum(step.cycles for step in steps),
    }


def main() -> None:
    """Run the cases named, or all."""
    for name in asked(__doc__, CASES).row:
        row = check(name)
        keep("shapes", row, stay=lambda old: old["case"] in CASES)
        if row["difference"] is not None:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
