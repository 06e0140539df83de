"""Reports whose every number is made up."""

from dataclasses import replace
from typing import Any

import numpy as np

from lightmamba.arch.target import Target
from lightmamba.device.sim import Activity, Simulation, Strip
from lightmamba.hardware.compiler import plan
from lightmamba.hardware.estimate import Amount, Energy, Estimate
from lightmamba.hardware.machine.counters import CYCLES, counters
from lightmamba.model.config import SHAPES, ModelConfig
from lightmamba.numerics.model_formats import Formats
from lightmamba.study.plots.ranges import Panel
from lightmamba.study.report import Made, Report, Subject, paper
from lightmamba.study.report.contents import Accuracy, Cells, Outliers, Score, Synthesis

__all__ = ["full", "least", "simulation", "subject", "subject_of"]

MADE = Made("2026-11-24", "lightmamba report x", {"lightmamba": "0.1.0", "Python": "3.11.7"})
STALLS = dict(zip(CYCLES, (640_123, 10_234, 21_345, 304_567, 1_234, 2_497), strict=True))
UNITS = {"lanes": 650_357, "ssm": 655_360, "conv": 387_072, "epilogue": 410_123}


def subject(shape: str = "mamba2-2.7b", target: str = "u280", scheme: str = "w4a4") -> Subject:
    bits = {"w4a4": (4, 4), "w8a8": (8, 8)}[scheme]
    formats = Formats(*bits, head_weight_bits=bits[0])
    return subject_of(shape, SHAPES[shape], formats, Target.load(target))


def subject_of(
    name: str, config: ModelConfig, formats: Formats, target: Target, order: str = "reordered"
) -> Subject:
    return Subject(name, config, formats, target, plan(config, formats, target, order), order)


def least(of: Subject | None = None) -> Report:
    """Only what there always is."""
    of = subject() if of is None else of
    moved = {
        c.name: 42_123_456 if c.name.startswith("hbm") else 44_382_716 for c in of.target.channels
    }
    clock = of.target.clock_mhz
    busy = {c.name: moved[c.name] / c.bytes_per_cycle(clock) for c in of.target.channels}
    nominal = {c.name: c.gb_per_s * 1e3 / clock for c in of.target.channels}
    cycles = sum(STALLS.values())
    estimate = Estimate(clock, cycles, 901_234, STALLS, moved, busy, UNITS, nominal, {})
    return Report(of, MADE, paper(), estimate)


def simulation(of: Subject, *, watched: bool = True) -> Simulation:
    """Seven tokens, five of them with logits."""
    parts = {name: 1.01 * n for name, n in STALLS.items()}
    shares = tuple(0.5 + 0.5 * np.sin(np.arange(350) / 9))
    names = ("rows of x", "convolution", "state-space unit", "rows of out_proj")
    busy = {name: shares if n % 2 else shares[::-1] for n, name in enumerate(names)}
    layers = {f"layer {n}": 15_000 * n for n in range(64)}
    seen = Activity(
        32, Strip(0, 2_801, busy, layers | {"head": 960_000}),
        Strip(480_000, 51, busy, {"in_proj": 480_000, "out_proj": 491_000, "next layer": 495_000}),
    )  # fmt: skip
    return Simulation(
        machine=of.machine,
        token_ids=(5, 6, 7),
        matches_engine=True,
        tokens=7,
        cycles=6_700_000,
        cycles_per_token=sum(parts.values()),
        stalls_per_token=parts,
        bytes_per_token={c.name: 41_111_111.0 for c in of.target.channels},
        counters=dict.fromkeys(counters(of.arch), 3),
        activity=seen if watched else None,
    )


def full() -> Report:
    """Everything there can be."""
    of = subject()
    base = least(of)
    blocks = {
        "lanes": Amount(149_777, 190_111, 64, 0, 0),
        "ssm": Amount(61_888, 50_222, 384, 12, 0),
        "weight queues": Amount(3_111, 4_333, 0, 480, 0),
        "state queues": Amount(0, 0, 0, 0, 30),
    }
    cells = {
        name: Cells(lut=a.lut, ff=a.ff, dsp=a.dsp, bram=a.bram18, uram=a.uram)
        for name, a in blocks.items()
    }
    parts = {
        "memory": (0.031, 0.045, 0.071), "products": (0.012, 0.02, 0.033),
        "static": (0.02, 0.03, 0.055),
    }  # fmt: skip
    energy = Energy(parts)
    rng = np.random.default_rng(0)
    before = Panel(1 + 12 * rng.random(5120) ** 30, 0.1 + 0.2 * rng.random(5120))
    after = Panel(0.9 + 0.4 * rng.random(5120), 0.2 + 0.1 * rng.random(5120))
    panels = {"in_proj": (before, after), "out_proj": (before, after)}
    scores = tuple(
        Score(
            method=method,
            scheme="W4A4",
            perplexity=perplexity,
            reference_perplexity=27.4781,
            ratio=ratio,
            ratio_standard_error=error,
            kl=kl,
            top1_agreement=same,
            tokens=4096,
        )
        for method, perplexity, ratio, error, kl, same in (
            ("ours", 27.5423, 1.0023, 0.0019, 0.0549, 0.840),
            ("RTN, blocks of 128", 30.4321, 1.1075, 0.0042, 0.1765, 0.7321),
        )
    )
    found: list[dict[str, Any]] = [
        {
            "name": f"p{n}",
            "scheme": "w4a4",
            "clock_mhz": 300.0,
            "machine": {"lanes": n, "port_bits": 512},
            "tokens_per_second": 20.0 * n,
            "device_share": 0.02 * n,
            "tokens_per_joule": 9.87 - n / 8,
        }
        for n in (1, 2, 4, 8, 16)
    ]
    content = {
        "model": "mamba2-2.7b",
        "base_target": "u280",
        "points": found,
        "tried": [one | {"device_share": 0.1 + one["device_share"]} for one in found],
        "best": {"tokens_per_second": "p16", "device_share": "p1"},
        "objectives": [
            {"name": name} for name in ("tokens_per_second", "device_share", "tokens_per_joule")
        ],
    }
    return replace(
        base,
        estimate=replace(base.estimate, resources=blocks, energy=energy),
        simulation=simulation(of),
        synthesis=Synthesis(
            target="u280",
            tool="yosys",
            flow="xcup",
            blocks=cells,
            path_ns=2.93,
            fmax_mhz=341.3,
            lut=233_555,
            ff=260_111,
            dsp=450,
            bram=492,
            uram=30,
        ),
        outliers=Outliers(
            "a-checkpoint", 17, panels, {"in_proj": (12.3, 1.4), "out_proj": (9.8, 1.3)}
        ),
        accuracy=(Accuracy("bundled", scores, "Measured by a test, 2026-11-24."),),
        front=content,
    )
