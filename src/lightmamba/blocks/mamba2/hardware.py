"""A Mamba2 layer in the accelerator: its commands and limits; graph, memory, steps and probes."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, BLOCKS_HELD, CONV_HEADER, TAPS, WORD
from lightmamba.arch.records import Found
from lightmamba.arch.target import Target
from lightmamba.blocks import in_hardware
from lightmamba.blocks.in_hardware import Seen
from lightmamba.blocks.mamba2 import layout
from lightmamba.blocks.mamba2.graph import GRAPH, GROUPS
from lightmamba.blocks.mamba2.observed import Pass, observables
from lightmamba.blocks.mamba2.quantized import Constants, Mixer, Sizes, padded_state
from lightmamba.blocks.mamba2.steps import STEPS
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints

__all__ = ["InHardware"]


class InHardware(in_hardware.InHardware):
    """Mamba2 in the accelerator."""

    graph = GRAPH
    groups = GROUPS
    steps = STEPS
    history = Pass

    def capacities(self, sizes: Sizes) -> dict[str, int]:
        padded = -(-sizes.d_state // BLOCK) * BLOCK
        return {
            "heads": sizes.nheads,
            "groups": sizes.ngroups,
            "padded_state": padded,
            "head_rows": sizes.headdim,
        }

    def refusals(self, sizes: Sizes, formats: Formats) -> Iterator[str]:
        yield from self.too_wide(sizes, formats, "a whole norm group")
        if sizes.d_conv > TAPS:
            yield f"the model has d_conv {sizes.d_conv}, but the hardware at most {TAPS} taps"
        most = {(unit, f.name): f.max for unit, fields in GRAPH.commands.items() for f in fields}
        for name, value, top in (
            ("headdim", sizes.headdim, most["ssm", "headdim"]),
            ("nheads", sizes.nheads, most["ssm", "heads"]),
            ("ngroups", sizes.ngroups, most["bc", "groups"]),
            ("d_state", sizes.d_state, 256),
            ("conv_dim (x, B and C)", sizes.conv_dim, most["conv", "count"]),
            ("d_inner", sizes.d_inner, most["gate", "count"]),
        ):
            if value > top:
                yield f"the model has {name} {value}, but the hardware takes at most {top}"

    def queues(self, sizes: Sizes, target: Target, order: str) -> Iterator[str]:
        machine = target.machine
        if order == "naive" and machine.undecided:
            yield (
                f"in the naive order x comes before dt, but the record of undecided tokens, which "
                f"target {target.name} has, begins with dt; compile in the order reordered"
            )
            return
        if order == "naive":  # dt comes last, so that all of z and x wait
            for name in ("x_queue", "z_queue"):
                if (depth := getattr(machine, name)) < sizes.d_inner:
                    yield (
                        f"in the naive order {name} holds all {sizes.d_inner} channels of d_inner, "
                        f"but that of target {target.name} has {depth}; set {name} = "
                        f"{sizes.d_inner} in the [machine] table of a copy of it, or compile in "
                        f"the order reordered"
                    )
            return
        # While x of a head alternates with z of the one before, up to a head of x waits for z.
        # Rows of z wait for nothing but x that came before them, so z_queue may be short.
        needed, depth = sizes.headdim - BLOCKS_HELD, machine.x_queue
        if depth < needed:
            yield (
                f"x_queue and the {BLOCKS_HELD} channels that wait for their exponents hold one "
                f"head of headdim {sizes.headdim}, but x_queue of target {target.name} is {depth}; "
                f"set x_queue = {needed} in the [machine] table of a copy of it"
            )

    def job_sizes(self, sizes: Sizes, arch: ArchConfig) -> dict[str, int]:
        head_words = sizes.headdim * arch.row_words // arch.word_rows
        return {
            "d_inner": sizes.d_inner,
            "conv_dim": sizes.conv_dim,
            "conv_words": sizes.conv_dim + -(-sizes.conv_dim // CONV_HEADER),
            "nheads": sizes.nheads,
            "bc_channels": 2 * sizes.ngroups * sizes.d_state,
            "ngroups": sizes.ngroups,
            "group_dim": sizes.group_dim,
            "headdim": sizes.headdim,
            "head_words": head_words,
            "state_words": sizes.nheads * head_words,
            "row_words": arch.row_words,
            # A channel of B or x has the values of all tokens side by side; dt and decay a word.
            "record_words": arch.record_words * (sizes.ngroups * sizes.d_state + sizes.d_inner)
            + arch.tokens * sizes.nheads,
        }

    def in_sections(self, sizes: Sizes, order: str) -> list[tuple[str, int]]:
        size = {kind: part.stop - part.start for kind, part in sizes.sections().items()}
        kinds = ("z", "x", "B", "C", "dt") if order == "naive" else ("dt", "B", "C")
        sections = [(kind, size[kind]) for kind in kinds]
        if order != "naive":
            turns = size["x"] + size["z"] - 2 * sizes.headdim
            sections += [("x", sizes.headdim), ("x|z", turns), ("z", sizes.headdim)]
        return sections

    def commands(
        self, mixer: Mixer, formats: Formats, arch: ArchConfig
    ) -> dict[str, dict[str, int]]:
        c, k = mixer.sizes, Constants.of(mixer)
        return {
            "discretize": {"count": c.nheads, "low": mixer.dt_low, "high": mixer.dt_high},
            "conv": {
                "count": c.conv_dim,
                **{
                    f"silu_{kind}": int(k.conv_silu_shift[c.sections()[kind].start - c.d_inner])
                    for kind in ("B", "C", "x")
                },
            },
            "blocks": {"count": c.conv_dim, "headdim": c.headdim, "d_state": c.d_state},
            "bc": {"groups": c.ngroups, "d_state": c.d_state},
            "ssm": {
                "heads": c.nheads,
                "per_group": c.nheads // c.ngroups,
                "headdim": c.headdim,
                "words": arch.row_words,
                "stride": padded_state(c, formats),
                "frame": k.frame,
                "y": k.y,
                "D_shift": k.D_shift,
                "dither": int(formats.state_rounding == "dither"),
            },
            "gate": {
                "count": c.d_inner,
                "group_dim": c.group_dim,
                "silu": k.z_silu,
                "shift": k.gate,
                "weighted": k.weighted,
            },
            "rms_out": {"count": c.ngroups, "eps": mixer.eps_gate},
            **self.transform(mixer, formats),
        }

    def row_order(self, sizes: Sizes, order: str) -> Ints:
        return layout.row_order(sizes, order)

    def parameters(self, mixer: Mixer, rows: Ints) -> dict[str, NDArray[np.uint64]]:
        return layout.parameters(mixer, rows)

    def words(self, sizes: Sizes, arch: ArchConfig) -> dict[str, int]:
        """The convolution's state: the bytes of its window for each channel."""
        return {"conv_state": -(-sizes.conv_dim * arch.window // WORD)}

    def heads(self, sizes: Sizes, arch: ArchConfig) -> tuple[int, int]:
        """Heads of the SSM state, whose rows are padded."""
        return sizes.nheads, sizes.headdim * arch.padded_state

    def registers(self, sizes: Sizes) -> dict[str, int]:
        """Registers that say how much of B is in a record."""
        return {"b_channels": sizes.ngroups * sizes.d_state, "d_state": sizes.d_state}

    def state_bytes(
        self, sizes: Sizes, order: str, state: Mapping[str, NDArray[Any]], arch: ArchConfig
    ) -> dict[str, NDArray[np.uint8]]:
        return layout.state_bytes(sizes, order, state, arch)

    def cycles(self, work: Any, sizes: Sizes, counts: Mapping[str, int]) -> dict[str, int]:
        """Cycles of the state-space unit: one for each word of the state, or row of x if more."""
        return {"ssm": max(work.steps * counts["state_words"], counts["d_inner"])}

    def depths(self, sizes: Sizes) -> dict[str, int]:
        return {"x_queue": sizes.headdim, "z_queue": 2 * sizes.headdim}

    def observed(self, seen: Seen) -> Found:
        return observables(seen)
