"""Hardware of experts: a router's choice, and the hidden values of the blocks that it chooses."""

from collections.abc import Iterator
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.cells import Group, Memory, one, tokens
from lightmamba.arch.clients import STATIC, Client
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import GROUP
from lightmamba.arch.fields import Field
from lightmamba.arch.hardware import (
    Counter,
    Element,
    Hardware,
    Register,
    Row,
    Shown,
    Stream,
    Unit,
)
from lightmamba.arch.records import Found, Record, carried, coded, named
from lightmamba.arch.target import Target
from lightmamba.blocks.experts.arithmetic import Mixer, Sizes
from lightmamba.blocks.experts.steps import LISTED, STEPS
from lightmamba.blocks.in_hardware import NORMLESS, Layer, Seen, Written
from lightmamba.blocks.mlp import hardware as mlp
from lightmamba.blocks.mlp.hardware import CELLS
from lightmamba.blocks.mlp.hardware import GRAPH as MLP
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints

__all__ = ["MOST_CHOSEN", "MOST_EXPERTS", "RUNS", "InHardware"]

MOST_CHOSEN, MOST_EXPERTS, MOST_SHARED, MOST_ADDED = 16, 256, 15, 1 << 15
OF_BLOCK, BEATS = 24, 28  # bits of beats of a block, of several; a DSP multiplies the former
RUNS = (
    Field("first", OF_BLOCK, "beats of a block's part of in_proj"),
    Field("whole", OF_BLOCK, "beats of a block"),
    Field("every", BEATS, "beats of all blocks of the layer"),
    Field("then", BEATS, "beats of the weights behind them, up to the next blocks"),
    Field("ends", 1, "no other layer has blocks"),
)

GRAPH = Hardware(
    units=(
        Unit("choose", "experts.choose:Choose", "the blocks of a token, and their weights",
             steps="n_experts", latency=LISTED,
             shows=(
                 Shown("scores", "score", (Element("value", "i4", observable="router.scores"),)),
                 Shown("blocks", "o_choice", (Element("block", "u2", observable="router.blocks"),),
                       shared=True),
                 Shown("weights", "o_weight",
                       (Element("value", "u2", observable="router.weights"),)),
             ), work="router"),
        Unit("hidden", "mlp:Hidden", "silu(a)·b, or the square of max(a, 0)", steps="d_hidden",
             latency=19, work="experts",
             shows=(Shown("hidden", "o", (Element("value", "i4", observable="experts.hidden"),)),)),
        Unit("weigh", "experts.weigh:Weigh", "hidden values times the weight of their block",
             steps="d_hidden", latency=5,
             shows=(Shown("weighted", "o",
                          (Element("value", "i4", observable="experts.weighted"),)),)),
        *NORMLESS.units,
    ),
    streams=(
        Stream("router", "epilogue.o_router", "choose.i", "s16", "row", "n_experts", latency=0,
               room=1),
        *(stream for stream in MLP.streams if stream.name in ("hidden_a", "hidden_b")),
        Stream("hidden", "hidden.o", "weigh.i", "s24", "channel", "d_hidden"),
        Stream("weight", "choose.o_weight", "weigh.i_weight", "u16", "weight of a block", "one"),
        Stream("weighted", "weigh.o", "hadamard.i", "s24", "channel", "d_hidden"),
        *NORMLESS.streams,
        Stream("choice", "choose.o_choice", "memory.lane", "CHOICE", "block", "taken",
               shared=True),
        Stream("choice_bias", "memory.choice_bias", "choose.i_bias", "u64", "bias", "n_biased"),
    ),
    counters=(
        Counter("router", "loss", ("choose.lost",)),
        Counter("experts.hidden", "loss", ("hidden.lost",)),
    ),
    records={
        "CHOICE": (
            Field("block", 9, "number of a block"), Field("last", 1, "the last one of a token"),
            *RUNS,
        ),
    },
    sizes={
        "n_experts": "experts",
        "n_biased": "those with a bias: all or none",
        "taken": "blocks that a token takes",
        **MLP.sizes,
    },
    commands={
        "choose": (
            Field("count", 9, "experts, 1 to 256 (n_experts)"),
            Field("top", 5, "experts that a token takes, 1 to 16 (top_k)"),
            Field("always", 4, "blocks that every token takes, 1 to 15 (n_shared)"),
            Field("shift", 7, "right shift of a row to a score", signed=True),
            Field("sigmoid", 1, "sigmoids of scores and their biases choose, else scores"),
            Field("normed", 1, "sigmoids are divided by their sum"),
            *RUNS,
        ),
        **MLP.commands,
        "weigh": (Field("count", 15, "channels (d_hidden)"),),
    },
    instructions={"route": ("lanes", "epilogue", "choose"), "add": ("lanes",)},
    more={
        "lanes": (
            Field("half", 1, "each weight meets the upper half of an activation only"),
            Field("hold", 1, "the input stays for the next instruction"),
            Field("keep", 1, "sums stay, and those of the next instructions are added to them"),
        ),
        "epilogue": (Field("again", 1, "1/rms is that of the instruction before"),),
    },
    rows=(Row("router", "router", "router"), *MLP.rows),
    turns=MLP.turns,
    clients=(Client("choice_bias", STATIC, "biases of the choice of experts"),),
    registers=(Register("chooses", "rw", "bit 0: a unit chooses weights of some layers; "
                       "layers_beats are those in front of the first"),),
)  # fmt: skip


def _kept(arch: ArchConfig) -> list[Memory]:
    """Sums of all slots of out_proj."""
    slots = -(-arch.in_channels // arch.lanes)
    return [(slots, arch.tokens * arch.lanes * arch.acc_bits)]


class InHardware(mlp.InHardware):
    """Experts in the accelerator: MLPs whose weights are read as they are chosen, and summed."""

    graph = GRAPH
    groups = (
        Group("experts", r"units\.(choose|weigh)", one, copies=tokens),
        Group("kept sums", r"units\.lanes\.kept", lambda a: (a.tokens * a.lanes * a.acc_bits,),
              _kept),
        Group("runs of weights", r"memory\.runs.*", lambda a: (1, a.lanes)),
        CELLS,
    )  # fmt: skip
    steps = MappingProxyType(STEPS)

    def capacities(self, sizes: Sizes) -> dict[str, int]:
        return {"added_channels": sizes.taken * -(-sizes.d_hidden // GROUP) * GROUP}

    def refusals(self, sizes: Sizes, formats: Formats) -> Iterator[str]:
        for name, value, most in (
            ("experts", sizes.n_experts, MOST_EXPERTS),
            ("experts for a token", sizes.top_k, MOST_CHOSEN),
            ("blocks that every token takes", sizes.n_shared, MOST_SHARED),
        ):
            if value > most:
                yield f"the model has {value} {name}, but the hardware takes at most {most}"
        if (added := self.capacities(sizes)["added_channels"]) > MOST_ADDED:
            yield (
                f"a token takes {sizes.taken} blocks of {sizes.d_hidden} hidden channels, {added} "
                f"with padding, but the hardware adds the sums of at most {MOST_ADDED}"
            )
        yield from self.too_wide(sizes, formats, "all hidden channels of a block")

    def queues(self, sizes: Sizes, target: Target, order: str) -> Iterator[str]:
        if target.machine.tokens > 1:
            yield (
                f"layers of experts take one token in a pass, but target {target.name} has "
                f"{target.machine.tokens}; take one with tokens = 1, for example u280"
            )
        if order == "naive" and sizes.gated:
            yield (
                "in the naive order all rows of a come before those of b, and experts have no "
                "queue that holds them; compile in the order reordered"
            )

    def job_sizes(self, sizes: Sizes, arch: ArchConfig) -> dict[str, int]:
        return {
            "n_experts": sizes.n_experts,
            "n_biased": sizes.n_experts if sizes.scoring == "sigmoid" else 0,
            "taken": sizes.taken,
            **super().job_sizes(sizes, arch),
        }

    def commands(
        self, mixer: Mixer, formats: Formats, arch: ArchConfig
    ) -> dict[str, dict[str, int]]:
        c = mixer.sizes
        return {
            "choose": {
                "count": c.n_experts, "top": c.top_k, "always": c.n_shared,
                "shift": mixer.score_shift, "sigmoid": int(c.scoring == "sigmoid"),
                "normed": int(c.normed),
            },
            "weigh": {"count": c.d_hidden},
            **super().commands(mixer, formats, arch),
        }  # fmt: skip

    def written(self, layer: Layer) -> Iterator[Written]:
        """The router, then in_proj of the blocks, each a step ahead of the sums of out_proj."""
        taken, half = layer.sizes.taken, int(layer.halved)
        choose = {**layer.mixer["choose"], **layer.blocks}
        yield Written(
            "route", layer.router(layer.sizes.n_experts, lanes={"hold": 1}, choose=choose)
        )
        more, last = (
            layer.in_proj(lanes={"half": half, "hold": hold}, epilogue={"again": 1})
            for hold in (1, 0)
        )
        kept = layer.add(lanes={"keep": 1})
        yield Written("in_proj", more)
        if taken > 2:
            yield Written("in_proj", more)
            yield Written("add", kept, again=taken - 3)
        yield Written("in_proj", last)
        yield Written("add", kept)

    def length(self, sizes: Sizes) -> int:
        return 7 if sizes.taken > 2 else 5

    def carried_out(self, sizes: Sizes) -> tuple[tuple[str, str], ...]:
        block, kept = ("in_proj", "in_proj"), ("add", "out_proj")
        later = (block, kept) * (sizes.taken - 1)
        return ("route", "router"), block, *later, ("out_proj", "out_proj")

    def parameters(self, mixer: Mixer, rows: Ints) -> dict[str, NDArray[np.uint64]]:
        biased = mixer.sizes.scoring == "sigmoid"
        bias = mixer.choice_bias.astype(np.int64) if biased else np.zeros(0, np.int64)
        return {"choice_bias": bias.view(np.uint64)}

    def registers(self, sizes: Sizes) -> dict[str, int]:
        return {"chooses": 1}

    def observed(self, seen: Seen) -> Found:
        yield from seen.mixed

    def observed_layer(self, seen: Seen) -> Found:
        c, at, take = seen.sizes, seen.at, seen.take
        yield from seen.entering
        take("in rows", c.n_experts)
        yield from carried(at, take("scores", c.n_experts))
        blocks, weights = take("blocks", c.taken), take("weights", c.taken)
        order = np.arange(c.taken)  # the engine lists chosen blocks in ascending order
        order[c.n_shared :] = c.n_shared + np.argsort(blocks["block"][c.n_shared :])
        yield from carried(at, blocks.take(order))
        yield from carried(at, weights.take(order))

        def each(name: str, width: int) -> Record:
            return take(name, c.taken, width).take(order)

        rows = each("in rows", c.block_rows).take(np.s_[:, np.argsort(seen.rows)])
        for name, record in (
            ("in_proj.rows", rows),
            ("experts.hidden", each("hidden", c.d_hidden)),
            ("experts.weighted", each("weighted", c.d_hidden)),
            ("hadamard.out", each("hadamard", seen.channels)),
        ):
            yield from named(f"{at}.{name}", record.reshape(record.records.size), "value", 2)
        quantized = each("quant_out", seen.channels)
        whole = quantized.reshape(quantized.records.size)
        yield from coded(f"{at}.out_proj", whole, seen.formats.block)
        take("unit_rms", 1)
        yield from seen.leaving
