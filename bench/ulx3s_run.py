"""The system of a ULX3S in Verilator, from its serial line to the pins of its SDRAM.

    python -m bench.ulx3s_run [RUN ...] [--model MODEL ...] [--folder FOLDER]   # hours in all

The bundled models, against the engine: every logit that the host reads, and the last ones of each
chain. The model of the SDRAM checks the timing of the chip. Greedy tokens are those of chains, in
which the host says nothing; of a sampled one it reads all logits over the line, at 3 Mbaud and
without the waits of a USB bridge. The weights are put into the SDRAM's model, but for ``load``,
which brings them over the line with four cycles of the clock to a bit, the shortest there is.

A netlist is that of the whole system after yosys and all edits, as nextpnr reads it, or what
nextpnr wrote after place and route, whose cells are those of the bitstream. It comes without its
pads and its PLL; registers, LUTs, carries, block RAMs, multipliers and registers at the pins are
models of ECP5 cells. ``--folder`` is one of ``bench.ulx3s_place --keep``; without it the system is
synthesized, and placed and routed with seed 1.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import asked
from bench.identity import HARNESS, combined, source_hash
from bench.stored import Row, keep
from bench.ulx3s_place import MODELS, TARGET, compiled, system, system_hash, tools
from lightmamba.device.boards.selftest import expected, self_test
from lightmamba.device.package import Board
from lightmamba.device.package.design import design
from lightmamba.device.package.ulx3s_device import (
    SimulatedUlx3s,
    open_simulated_ulx3s,
    simulated_ulx3s,
)
from lightmamba.device.sim import LogitStep, compare_logits
from lightmamba.device.sim.tools import find_verilator
from lightmamba.engine import Engine
from lightmamba.hardware.compiler import open_model
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.soc.board import TOP
from lightmamba.hardware.soc.ulx3s import around_netlist
from lightmamba.hardware.synth.board import prepared, routed
from lightmamba.hardware.synth.netlist import models_verilog, netlist_verilog
from lightmamba.hardware.synth.unpadded import unpadded

BOARD = (
    *HARNESS,
    *(f"device/sim/{each}" for each in ("board.py", "sdram_chips.py", "sdram_chips.toml")),
)
FIRST, CHAIN = 1, 20  # token that a sequence begins with; tokens of a chain
SLOW, FAST = 20, 4  # cycles of a bit: 3 Mbaud at 60 MHz, and the shortest
NETLISTS = {  # files of a synthesis, and nextpnr's names of their modules
    "netlist": ("edited.json", TOP),
    "routed netlist": ("routed-1.json", "top"),
}


@contextmanager
def opened(
    model: str, divisor: int, verilog: str = ""
) -> Iterator[tuple[SimulatedUlx3s, Artifact]]:
    """A simulated board for a model, with nothing loaded; of a ``verilog``, if given."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = compiled(model, Path(folder))
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
    return combined(system_hash(row["model"]), source_hash(BOARD), find_verilator().version,
                    row["what"], made_by)  # fmt: skip


def greedy(model: str, tokens: int = 100) -> dict[str, Any]:
    """Chains of tokens, then some of a prompt; the speed is that of all chains but the first."""
    with opened(model, SLOW) as (device, artifact):
        device.load(artifact)
        engine = Engine(open_model(artifact))
        state, token, fresh, equal = engine.empty_state(1), FIRST, True, True
        rates, prompt = [], 5
        for at in range(0, tokens, CHAIN):
            count = min(CHAIN, tokens - at)
            begin = device.board.monotonic()
            device.start(token, chain=count - 1, fresh=fresh)
            device.wait()
            rates.append(count / (device.board.monotonic() - begin))
            for _ in range(count):
                logits, state = engine.step(np.array([token]), state)
                token = int(logits[0, : engine.valid_vocab].argmax())
            equal &= np.array_equal(device.logits(), logits[0]) and device.next_token() == token
            fresh = False
            print(f"  {at + count} tokens, equal {equal}, {rates[-1]:.2f} per second", flush=True)
        begin = device.board.monotonic()
        for _ in range(prompt):
            device.start(token, head=False)
            device.wait()
        return {
            "tokens": tokens,
            "matches_engine": equal,
            "tokens_per_second": float(np.median(rates[1:])),
            "prompt_tokens_per_second": prompt / (device.board.monotonic() - begin),
            "violations": device.board.violations,
        }


def compared(device: SimulatedUlx3s, artifact: Artifact, tokens: int) -> Iterator[LogitStep]:
    """Tokens whose logits the host reads, against the engine."""
    for step in compare_logits(device, open_model(artifact), FIRST, tokens):
        print(f"  token {step.token}: {step.cycles} cycles, equal {step.equal}", flush=True)
        yield step


def sampled(model: str, tokens: int = 8) -> dict[str, Any]:
    """Tokens whose logits the host reads over the line."""
    with opened(model, SLOW) as (device, artifact):
        device.load(artifact)
        device.line = True
        steps, times = [], [device.board.monotonic()]
        for step in compared(device, artifact, tokens):
            steps.append(step)
            times.append(device.board.monotonic())
        return {
            "tokens": len(steps),
            "matches_engine": all(step.equal for step in steps),
            "tokens_per_second": 1 / float(np.median(np.diff(times[1:]))),
            "violations": device.board.violations,
        }


def test(model: str) -> dict[str, Any]:
    """The self-test of a build."""
    with opened(model, FAST) as (device, artifact):
        steps = []
        for step in self_test(device, artifact, expected(artifact)):
            steps.append(step)
            print(f"  {step.name}: {'passed' if step.passed else step.problem}", flush=True)
        return {
            "steps": [step.name for step in steps],
            "passed": all(step.passed for step in steps),
            "violations": device.board.violations,
        }


def over_the_line(model: str) -> dict[str, Any]:
    """Weights over the serial line; what that takes at rates of a real one."""
    with opened(model, FAST) as (device, artifact):
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


def netlist(model: str, what: str, given: Path | None, tokens: int = 3) -> dict[str, Any]:
    """Tokens on a netlist, every logit."""
    file, top = NETLISTS[what]
    with tempfile.TemporaryDirectory() as temporary:
        folder = given / model if given else Path(temporary)
        if given is None:
            made = system(model)
            prepared(made, folder)
            if what != "netlist":
                routed(made, folder, netlist=file)
        module = unpadded(json.loads((folder / file).read_text())["modules"][top])
    text = netlist_verilog({"modules": {TOP: module}}, TOP, name="placed")
    whole = "\n".join([text, models_verilog(), around_netlist("placed")])
    with opened(model, FAST, whole) as (device, artifact):
        device.load(artifact)
        steps = list(compared(device, artifact, tokens))
        return {
            "tokens": len(steps),
            "matches_engine": all(step.equal for step in steps),
            "logits": sum(step.logits - len(step.different) for step in steps),
            "violations": device.board.violations,
        }


RUNS = {"greedy": greedy, "sampled": sampled, "self-test": test, "load": over_the_line}


def main() -> None:
    """Run what was asked for."""
    options: dict[str, dict[str, Any]] = {
        "folder": {"type": Path, "help": "files of a synthesis (it is made)"},
        "model": {"nargs": "+", "choices": MODELS, "default": MODELS, "help": "(both)"},
    }
    args = asked(__doc__, [*RUNS, *NETLISTS], **options)
    for model, what in product(args.model, args.row):
        found = RUNS[what](model) if what in RUNS else netlist(model, what, args.folder)
        keep("ulx3s_run", {"model": model, "what": what} | found)


if __name__ == "__main__":
    main()
