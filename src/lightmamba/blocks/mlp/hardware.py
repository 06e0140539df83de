"""An MLP's hardware: one unit, between in_proj and the Hadamard transform."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from lightmamba.arch.cells import Group, one, tokens
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.fields import Field
from lightmamba.arch.hardware import Counter, Element, Hardware, Row, Shown, Stream, Unit
from lightmamba.arch.records import Found, carried
from lightmamba.arch.target import Target
from lightmamba.blocks import in_hardware
from lightmamba.blocks.in_hardware import NORMLESS, Seen
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints

__all__ = ["CELLS", "GRAPH", "InHardware"]

GRAPH = Hardware(
    units=(
        Unit("hidden", "mlp:Hidden", "silu(a)·b, or the square of max(a, 0)", steps="d_hidden",
             latency=19, work="MLP",
             shows=(Shown("hidden", "o", (Element("value", "i4", observable="mlp.hidden"),)),)),
        *NORMLESS.units,
    ),
    streams=(
        Stream("hidden_a", "epilogue.o_a", "hidden.i_a", "s16", "row", "d_hidden", latency=0,
               room=1),
        Stream("hidden_b", "epilogue.o_b", "hidden.i_b", "s16", "row", "d_gated", latency=0,
               room=1),
        Stream("hidden", "hidden.o", "hadamard.i", "s24", "channel", "d_hidden"),
        *NORMLESS.streams,
    ),
    counters=(Counter("mlp.hidden", "loss", ("hidden.lost",)),),
    sizes={
        "d_hidden": "hidden channels",
        "d_gated": "those that b multiplies: all or none",
    },
    commands={
        "hidden": (
            Field("count", 15, "channels (d_hidden)"),
            Field("gated", 1, "silu(a)·b, else the square of max(a, 0)"),
            Field("silu", 7, "right shift of a to the sigmoid's input", signed=True),
            Field("shift", 7, "right shift of the product", signed=True),
        ),
    },
    rows=(Row("a", "hidden_a", "rows of a"), Row("b", "hidden_b", "rows of b")),
    turns=(("a", "b"),),
)  # fmt: skip


CELLS = Group("MLP", r"units\.(hidden|unit_rms)", one, copies=tokens)


class InHardware(in_hardware.InHardware):
    """An MLP in the accelerator; it has weights in memory only.

    Sizes and numbers are an MLP's, or those of experts, whose blocks are MLPs.
    """

    graph = GRAPH
    groups: ClassVar[tuple[Group, ...]] = (CELLS,)

    def refusals(self, sizes: Any, formats: Formats) -> Iterator[str]:
        yield from self.too_wide(sizes, formats, "all hidden channels")

    def queues(self, sizes: Any, target: Target, order: str) -> Iterator[str]:
        if order == "naive" and sizes.gated:
            yield (
                "in the naive order all rows of a come before those of b, and an MLP has no queue "
                "that holds them; compile in the order reordered"
            )

    def job_sizes(self, sizes: Any, arch: ArchConfig) -> dict[str, int]:
        return {"d_hidden": sizes.d_hidden, "d_gated": sizes.d_hidden if sizes.gated else 0}

    def row_order(self, sizes: Any, order: str) -> Ints:
        """Rows a and b of a channel follow each other."""
        return np.arange(sizes.block_rows).reshape(-1, sizes.d_hidden).T.ravel()

    def in_sections(self, sizes: Any, order: str) -> list[tuple[str, int]]:
        return [("a|b" if sizes.gated else "a", sizes.block_rows)]

    def commands(self, mixer: Any, formats: Formats, arch: ArchConfig) -> dict[str, dict[str, int]]:
        c = mixer.sizes
        hidden = {"gated": int(c.gated), "silu": mixer.silu, "shift": mixer.shift}
        return {"hidden": {"count": c.d_hidden, **hidden}, **self.transform(mixer, formats)}

    def observed(self, seen: Seen) -> Found:
        yield from carried(seen.at, seen.take("hidden", seen.sizes.d_hidden))
        yield from seen.mixed
