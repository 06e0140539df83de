"""Hardware of an average: one unit, its streams, and the values of all tokens in memory."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.fields import Field
from lightmamba.arch.hardware import Client, Counter, Element, Hardware, Row, Shown, Stream, Unit
from lightmamba.arch.records import Found, Taken, carried
from lightmamba.arch.steps import Table, joined
from lightmamba.blocks import in_hardware
from lightmamba.blocks.layer import out_channels
from lightmamba.blocks.normless import NORMLESS
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints

from .arithmetic import Mixer, Sizes

__all__ = ["InHardware"]

GRAPH = Hardware(
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


def average(work: Any, layer: Sizes, sizes: Mapping[str, int]) -> Table:
    """Once commanded, the words of all earlier tokens; then the channels; then its own words."""
    words = layer.channels // 4
    return joined(
        Table(1, {"average.command": 1}, {}),
        Table(words * max(1, work.positions), {"values_read": 1}, {}),
        Table(layer.channels, {"v": 1}, {"averaged": 1}),
        Table(words * max(slot.tokens for slot in work.slots), {}, {"values_written": 1}),
    )


class InHardware(in_hardware.InHardware):
    """An average in the accelerator."""

    graph = GRAPH
    steps = MappingProxyType({"average": average})

    def refusals(self, sizes: Sizes, formats: Formats) -> Iterator[str]:
        yield from self.too_wide(sizes, formats, "all channels")
        top = GRAPH.commands["average"][0].max
        if sizes.channels > top:
            yield f"the model has channels {sizes.channels}, but the hardware takes at most {top}"

    def job_sizes(self, sizes: Sizes, arch: ArchConfig) -> dict[str, int]:
        return {"averaged": sizes.channels, "values_before": arch.context * sizes.channels // 4}

    def commands(
        self, mixer: Mixer, formats: Formats, arch: ArchConfig
    ) -> dict[str, dict[str, int]]:
        average = {"count": mixer.sizes.channels, "shift": mixer.exponents.shift}
        return {"average": average, **self.transform(mixer, formats)}

    def words(self, sizes: Sizes, arch: ArchConfig) -> dict[str, int]:
        return {"values": sizes.channels // 4}

    def state_bytes(
        self, sizes: Sizes, order: str, state: Mapping[str, NDArray[Any]], arch: ArchConfig
    ) -> dict[str, NDArray[np.uint8]]:
        return {"values": np.ascontiguousarray(state["values"], "<i2").view(np.uint8).ravel()}

    def cycles(self, work: Any, sizes: Sizes, counts: Mapping[str, int]) -> dict[str, int]:
        return {"average": average(work, sizes, counts).steps}

    def observed(
        self,
        at: str,
        sizes: Sizes,
        formats: Formats,
        take: Taken,
        rows: Ints,
        kinds: Mapping[str, int],
    ) -> Found:
        yield from carried(at, take("average", sizes.channels))
        yield from carried(at, take("hadamard", out_channels(sizes, formats)))
