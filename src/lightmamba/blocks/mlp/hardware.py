"""An MLP's hardware: one unit, between in_proj and the Hadamard transform."""

from lightmamba.arch.fields import Field
from lightmamba.arch.hardware import Counter, Element, Hardware, Row, Shown, Stream, Unit
from lightmamba.blocks.normless import NORMLESS

__all__ = ["HARDWARE"]

HARDWARE = Hardware(
    units=(
        Unit("hidden", "mlp:Hidden", "silu(a)·b, or the square of max(a, 0)", steps="d_hidden",
             latency=18, work="MLP",
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
