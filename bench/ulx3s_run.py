"""The system of a ULX3S in Verilator, from its serial line to the pins of its SDRAM.

    python -m bench.ulx3s_run [greedy sampled self-test load]   # an hour in all

The bundled model, against the engine: every logit that the host reads, and the last ones of each
chain. The model of the SDRAM checks the timing of the chip. Greedy tokens are those of chains, in
which the host says nothing; of a sampled one it reads all logits over the line, at 3 Mbaud and
without the waits of a USB bridge. The weights are put into the SDRAM's model, but for ``load``,
which brings them over the line with four cycles of the clock to a bit, the shortest there is.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import asked
from bench.identity import HARNESS, combined, source_hash
from bench.stored import Row, keep
from bench.ulx3s_place import system_hash, tools
from lightmamba.arch.target import Target
from lightmamba.device.boards.selftest import expected, self_test
from lightmamba.device.package import Board
from lightmamba.device.package.design import design
from lightmamba.device.package.ulx3s_device import (
    SimulatedUlx3s,
    open_simulated_ulx3s,
    simulated_ulx3s,
)
from lightmamba.device.sim import compare_logits
from lightmamba.device.sim.tools import find_verilator
from lightmamba.engine import Engine
from lightmamba.hardware.compiler import build, open_model
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.model.data import demo_file
from lightmamba.model.qmodel import load

TARGET = "ulx3s"
BOARD = (
    *HARNESS,
    *(f"device/sim/{each}" for each in ("board.py", "sdram_chips.py", "sdram_chips.toml")),
)
FIRST, CHAIN = 1, 20  # token that a sequence begins with; tokens of a chain
SLOW, FAST = 20, 4  # cycles of a bit: 3 Mbaud at 60 MHz, and the shortest


@contextmanager
def opened(divisor: int, verilog: str = "") -> Iterator[tuple[SimulatedUlx3s, Artifact]]:
    """A simulated board for the bundled model, with nothing loaded; of a ``verilog``, if given."""
    with tempfile.TemporaryDirectory() as folder:
        build(load(demo_file()), Target.load(TARGET), Path(folder) / "build")
        artifact = Artifact.read(Path(folder) / "build")
        if verilog:
            made = design(artifact, Board.load(TARGET))
            device = simulated_ulx3s(made, verilog, divisor=divisor)
        else:
            device = open_simulated_ulx3s(artifact, divisor=divisor)
        try:
            yield device, artifact
        finally:
            device.close()


def identity(row: Row) -> str:
    """Hash of what a row measured: of a netlist, the tools that made it too."""
    made_by = tools() if "netlist" in row["what"] else []
    return combined(system_hash(), source_hash(BOARD), find_verilator().version, row["what"],
                    made_by)  # fmt: skip


def greedy(tokens: int = 100) -> dict[str, Any]:
    """Chains of tokens; the speed is that of all chains but the first."""
    with opened(SLOW) as (device, artifact):
        device.load(artifact)
        engine = Engine(open_model(artifact))
        state, token, fresh, equal = engine.empty_state(1), FIRST, True, True
        rates, cycles = [], 0
        for at in range(0, tokens, CHAIN):
            count = min(CHAIN, tokens - at)
            begin = device.board.monotonic()
            device.start(token, chain=count - 1, fresh=fresh)
            cycles += device.wait()
            rates.append(count / (device.board.monotonic() - begin))
            for _ in range(count):
                logits, state = engine.step(np.array([token]), state)
                token = int(logits[0, : engine.valid_vocab].argmax())
            equal &= np.array_equal(device.logits(), logits[0]) and device.next_token() == token
            fresh = False
            print(f"  {at + count} tokens, equal {equal}, {rates[-1]:.2f} per second", flush=True)
        return {
            "tokens": tokens,
            "matches_engine": equal,
            "tokens_per_second": float(np.median(rates[1:])),
            "cycles_per_token": cycles / tokens,
            "refreshes": device.board.refreshes,
            "violations": device.board.violations,
        }


def sampled(tokens: int = 8) -> dict[str, Any]:
    """Tokens whose logits the host reads over the line."""
    with opened(SLOW) as (device, artifact):
        device.load(artifact)
        device.line = True
        steps, times = [], []
        begin = device.board.monotonic()
        for step in compare_logits(device, open_model(artifact), FIRST, tokens):
            steps.append(step)
            times.append(device.board.monotonic() - begin)
            begin = device.board.monotonic()
            print(f"  token {step.token}: equal {step.equal}, {times[-1] * 1e3:.1f} ms", flush=True)
        return {
            "tokens": len(steps),
            "matches_engine": all(step.equal for step in steps),
            "tokens_per_second": 1 / float(np.median(times[1:])),
            "violations": device.board.violations,
        }


def test() -> dict[str, Any]:
    """The self-test of a build."""
    with opened(FAST) as (device, artifact):
        steps = []
        for step in self_test(device, artifact, expected(artifact)):
            steps.append(step)
            print(f"  {step.name}: {'passed' if step.passed else step.problem}", flush=True)
        return {
            "steps": [step.name for step in steps],
            "passed": all(step.passed for step in steps),
            "violations": device.board.violations,
        }


def over_the_line() -> dict[str, Any]:
    """Weights over the serial line; what that takes at rates of a real one."""
    with opened(FAST) as (device, artifact):
        device.line = True
        begin = device.board.monotonic()
        device.load(artifact)
        seconds = device.board.monotonic() - begin
        characters = seconds * device.made.clock_hz / FAST / 10
        wrong = [
            region.name
            for region in artifact.regions
            if region.file is not None
            and not np.array_equal(
                device.board.memory[device.address(region) :][: region.bytes],
                np.asarray(artifact.image(region)),
            )
        ]
        return {
            "bytes": artifact.image_bytes,
            "wrong": wrong,
            "broken_frames": device.link.broken,
            "share_of_the_line": artifact.image_bytes / characters,
            "seconds_at_3_mbaud": 10 * characters / 3e6,
            "seconds_at_1_mbaud": 10 * characters / 1e6,
            "violations": device.board.violations,
        }


RUNS = {"greedy": greedy, "sampled": sampled, "self-test": test, "load": over_the_line}


def main() -> None:
    """Run what was asked for."""
    for what in asked(__doc__, RUNS).row:
        begin = time.perf_counter()
        row = {"target": TARGET, "what": what} | RUNS[what]()
        row["seconds"] = time.perf_counter() - begin
        print(row, flush=True)
        keep("ulx3s_run", row)


if __name__ == "__main__":
    main()
