"""Hardware of a lookup: one unit, its streams, and a table whose rows it chooses at run time."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.clients import TABLE, Client
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.fields import Field
from lightmamba.arch.hardware import Counter, Element, Hardware, Row, Shown, Stream, Unit
from lightmamba.arch.records import Found, carried
from lightmamba.arch.steps import Table, joined
from lightmamba.blocks import in_hardware
from lightmamba.blocks.in_hardware import NORMLESS, Seen
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints

from .arithmetic import PER_WORD, Mixer, Sizes

__all__ = ["InHardware"]

GRAPH = Hardware(
    units=(
        Unit(
            "lookup", "lookup:Lookup", "the row of the highest score, times that score",
            steps="looked_up", latency=8, whole=True, work="lookup",
            shows=(Shown("lookup", "o", (Element("value", "i4", observable="lookup.out"),)),),
        ),
        *NORMLESS.units,
    ),
    streams=(
        Stream("score", "epilogue.o_score", "lookup.i", "s16", "row", "scored", latency=0, room=1),
        Stream("looked_up", "lookup.o", "hadamard.i", "s24", "channel", "looked_up"),
        Stream("index", "lookup.o_index", "memory.table", "u24", "row of the table", "one",
               latency=1, room=1, shared=True),
        Stream("entry", "memory.table", "lookup.i_word", "u64", "four values of that row",
               "looked_up", PER_WORD, shared=True),
        *NORMLESS.streams,
    ),
    counters=(Counter("lookup", "loss", ("lookup.lost",)),),
    sizes={"scored": "entries of a layer", "looked_up": "channels of an entry"},
    commands={
        "lookup": (
            Field("entries", 15, "entries of the layer"),
            Field("count", 15, "channels"),
            Field("shift", 4, "right shift of a product"),
            Field("table_first", 24, "row of the table where the layer's entries begin"),
        ),
    },
    rows=(Row("score", "score", "scores"),),
    clients=(Client("table", TABLE, "values of all entries, four to a word"),),
)  # fmt: skip


def lookup(work: Any, layer: Sizes, sizes: Mapping[str, int]) -> Table:
    """Once commanded, the scores; then an index of each token, and its words; then the channels."""
    words = work.tokens * layer.channels // PER_WORD
    return joined(
        Table(1, {"lookup.command": 1}, {}),
        Table(layer.entries, {"score": 1}, {}),
        Table(work.tokens, {}, {"index": 1}),
        Table(words, {"entry": 1}, {}),
        Table(layer.channels, {}, {"looked_up": 1}),
    )


class InHardware(in_hardware.InHardware):
    """A lookup in the accelerator."""

    graph = GRAPH
    steps = MappingProxyType({"lookup": lookup})

    def refusals(self, sizes: Sizes, formats: Formats) -> Iterator[str]:
        yield from self.too_wide(sizes, formats, "all channels")
        fields = {field.name: field for field in GRAPH.commands["lookup"]}
        for name, field in (("entries", fields["entries"]), ("channels", fields["count"])):
            if (value := getattr(sizes, name)) > field.max:
                yield f"the model has {name} {value}, but the hardware takes at most {field.max}"

    def job_sizes(self, sizes: Sizes, arch: ArchConfig) -> dict[str, int]:
        return {"scored": sizes.entries, "looked_up": sizes.channels}

    def commands(
        self, mixer: Mixer, formats: Formats, arch: ArchConfig
    ) -> dict[str, dict[str, int]]:
        lookup = {
            "entries": mixer.sizes.entries,
            "count": mixer.sizes.channels,
            "shift": mixer.exponents.shift,
        }
        return {"lookup": lookup, **self.transform(mixer, formats)}

    def words(self, sizes: Sizes, arch: ArchConfig) -> dict[str, int]:
        return {"table": sizes.channels // PER_WORD}

    def runs(self, sizes: Sizes) -> dict[str, int]:
        return {"table": sizes.entries}

    def parameters(self, mixer: Mixer, rows: Ints) -> dict[str, NDArray[np.uint64]]:
        return {"table": np.ascontiguousarray(mixer.table, "<i2").view("<u8")}

    def cycles(self, work: Any, sizes: Sizes, counts: Mapping[str, int]) -> dict[str, int]:
        return {"lookup": lookup(work, sizes, counts).steps}

    def observed(self, seen: Seen) -> Found:
        yield from carried(seen.at, seen.take("lookup", seen.sizes.channels))
        yield from seen.mixed
