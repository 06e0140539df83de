"""Cycles of a token, estimated and simulated: ``python -m bench.estimates [CASE ...]``.

Every case compiles a random model, builds its machine, lets it decode greedily, and compares cycles
and stalls of a token with the estimate's. The results file keeps the other cases, and takes over
the whole models that ``bench.full`` has measured.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.builders import made_up
from tests.support.layers import resized

from bench.full import identity as identity_of_full
from bench.identity import Random, combined, simulated
from bench.stored import Row, keep, rows
from lightmamba.arch.target import Channel, Target
from lightmamba.device.sim import SimDevice, chained, open_device
from lightmamba.hardware.compiler import build
from lightmamba.hardware.estimate import Estimate, estimate
from lightmamba.hardware.machine.counters import CYCLES
from lightmamba.model.config import PUBLISHED, SHAPES, ModelConfig, mamba2_config
from lightmamba.model.qmodel.synthetic import random_model
from lightmamba.numerics.model_formats import Formats

WARM, CHAIN = 6, 4  # tokens of a chain that are run, and then those that are measured
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
    m130, m370 = (resized(SHAPES[f"mamba2-{size}"], n_layer=2, vocab_size=2048)
                  for size in ("130m", "370m"))  # fmt: skip
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
        "port of 64 bits, 16 elements": Case(resized(DEMO, n_layer=3), sixteen),
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
        "130m wide, 4 layers": Case(resized(m130, n_layer=4), on130),
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
            resized(DEMO, n_layer=12, vocab_size=4096), memory(tiny, latency_ns=1000.0)
        ),
    }  # fmt: skip


def tokens(device: SimDevice) -> tuple[dict[str, float], float]:
    """Stalls of a token in a chain of them; cycles of one without logits.

    Where the state lies twice, each is the mean of those that read the one copy and the other.
    """
    device.start(1, fresh=True)
    device.wait()
    _, means = chained(device, WARM, CHAIN)
    prompts = []
    for _ in range(3):
        device.start(1, head=False)
        prompts.append(device.wait())
    return {name: means[name] for name in CYCLES}, sum(prompts[1:]) / 2


def identity(row: Row) -> str:
    """Hash of what a row measured, and of the estimate that it is compared with."""
    if (name := row["case"].removesuffix(FULL)) != row["case"]:
        return combined(identity_of_full({"name": name}), row["estimated"])
    case = cases()[name]
    of = simulated(
        Random(case.config, case.formats, SEED), case.target, order=case.order,
        run=[case.stalls, WARM, CHAIN],
    )  # fmt: skip
    return combined(of, _estimated(case).cycles)


def _estimated(case: Case) -> Estimate:
    return estimate(case.config, case.formats, case.target, case.order, stalls=case.stalls)


def measure(case: Case) -> dict[str, Any]:
    """A case simulated and estimated."""
    begin = time.perf_counter()
    found = _estimated(case)
    seconds = time.perf_counter() - begin
    model = random_model(case.config, case.formats, SEED)
    with tempfile.TemporaryDirectory() as folder:
        artifact = build(model, case.target, Path(folder) / "build", order=case.order)
        with open_device(artifact, observed=False, stalls=case.stalls, seed=SEED) as device:
            stalls, prompt = tokens(device)
    cycles = sum(stalls.values())
    return {
        "cycles": cycles,
        "estimated": found.cycles,
        "error": found.cycles / cycles - 1,
        "prompt_cycles": prompt,
        "prompt_error": found.prompt_cycles / prompt - 1,
        "bound": found.bound,
        "stalls": stalls,
        "estimated_stalls": dict(found.stalls),
        "seconds_of_estimate": seconds,
    }


def asked_for(case: str, wanted: list[str]) -> bool:
    """Whether the name of a case begins as one that is wanted; of none, all are."""
    return not wanted or any(case.startswith(beginning) for beginning in wanted)


def full_size(wanted: list[str]) -> list[dict[str, Any]]:
    """Whole models simulated, as ``bench.full`` measured them, and estimated."""
    found = []
    for row in rows("full"):
        if not asked_for(row["name"] + FULL, wanted):
            continue
        context = row.get("context") or None
        guess = estimate(
            PUBLISHED[row["shape"]], Formats(), Target.load(row["target"]), context=context
        )
        found.append(
            {
                "case": row["name"] + FULL,
                "cycles": row["cycles_per_token"],
                "estimated": guess.cycles,
                "error": guess.cycles / row["cycles_per_token"] - 1,
                "prompt_error": None,
                "bound": guess.bound,
                "stalls": row["stalls"],
                "estimated_stalls": dict(guess.stalls),
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="estimated cycles against RTL simulation")
    parser.add_argument("case", nargs="*", help="beginning of a case's name (all)")
    wanted = parser.parse_args().case
    known = cases()
    names = {*known, *(row["name"] + FULL for row in rows("full"))}
    keep("estimates", *full_size(wanted), stay=lambda row: row["case"] in names)
    for name, case in known.items():
        if not asked_for(name, wanted):
            continue
        row = {"case": name, **measure(case)}
        print(f"{name}: {row['cycles']:,.0f}, error {row['error']:+.2%}", flush=True)
        keep("estimates", row)


if __name__ == "__main__":
    main()
