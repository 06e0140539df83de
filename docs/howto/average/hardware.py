"""Hardware of an average: one unit, its streams, and the values of all tokens in memory."""

from lightmamba.arch.fields import Field
from lightmamba.arch.hardware import Client, Counter, Element, Hardware, Row, Shown, Stream, Unit
from lightmamba.blocks.normless import NORMLESS

__all__ = ["HARDWARE"]

HARDWARE = Hardware(
    units=(
        Unit(
            "average", "average:Average", "sum of all values so far, shifted",
            steps="averaged", latency=12, whole=True, work="average",
            shows=(Shown("average", "o", (Element("value", "i4", observable="average.out"),)),),
        ),
        *NORMLESS.units,
    ),
    streams=(
        Stream("v", "epilogue.o_v", "average.i", "s16", "row", "averaged", latency=0, room=1),
        Stream("averaged", "average.o", "hadamard.i", "s24", "channel", "averaged"),
        Stream("values_read", "memory.values", "average.i_row0", "u64", "four earlier values",
               "values_before", shared=True),
        Stream("values_written", "average.o_row0", "memory.values", "u64", "four new values",
               "averaged", 4, shared=True),
        *NORMLESS.streams,
    ),
    counters=(Counter("average", "loss", ("average.lost",)),),
    sizes={
        "averaged": "channels that are averaged",
        "values_before": "words of the values of all earlier tokens",
    },
    commands={
        "average": (
            Field("count", 15, "channels"),
            Field("shift", 5, "right shift of the sum"),
        ),
    },
    rows=(Row("v", "v", "rows of v"),),
    clients=(Client("values", "growing", "values of every token, four to a word"),),
)  # fmt: skip
