"""A pretended kind of layers, rows p and q, and a history of each layer."""

from types import SimpleNamespace
from typing import Any

from lightmamba.arch.clients import LAYER, Client
from lightmamba.arch.fields import Field
from lightmamba.arch.hardware import Counter, Hardware, Row, Stream, Unit
from lightmamba.blocks import kind

__all__ = ["BOTH", "GROWN", "known", "pretended"]

BOTH = ("grown", "mamba2")
GROWN = Hardware(
    units=(Unit("mix", "mix:Mix", "", steps="d_model"),),
    streams=(
        Stream("p", "epilogue.o_p", "mix.i_p", "s16", "", "d_model"),
        Stream("q", "epilogue.o_q", "mix.i_q", "s16", "", "d_model"),
        Stream("history_read", "memory.history", "mix.i_history", "u64", "", "d_model"),
        Stream("history_added", "mix.o_history", "memory.history", "u64", "", "d_model"),
        Stream("mixed_in", "mix.o", "hadamard.i", "s24", "", "d_model"),
    ),
    counters=(Counter("mix", "loss", ("mix.lost",)),),
    commands={"mix": (Field("count", 7, "", signed=True),)},
    rows=(Row("p", "p", "rows of p"), Row("q", "q", "rows of q")),
    clients=(Client("history", LAYER, ""),),
)


def known(name: str) -> Any:
    """A kind, the pretended one among them."""
    return pretended(GROWN) if name == "grown" else kind(name)


def pretended(graph: Hardware) -> Any:
    """A kind of which only the hardware is asked for."""
    return SimpleNamespace(has_hardware=True, hardware=SimpleNamespace(graph=graph))
