"""What the event model still takes for granted: one kind, equal layers."""

from dataclasses import replace
from typing import Any

from lightmamba.blocks import part
from lightmamba.compiler.memory import Memory
from lightmamba.machine.kinds import machine
from lightmamba.machine.program import instructions

__all__ = ["FETCH", "INSTRUCTION_BITS", "MACHINE", "RECORD", "STATIC", "OlderMemory"]

_WHOLE = machine(("mamba2",))
MACHINE: Any = replace(_WHOLE, streams=tuple(s for s in _WHOLE.streams if s.there is None))
STATIC = tuple(c.name for c in MACHINE.clients if c.shape == "static")
RECORD = "record"
INSTRUCTION_BITS = instructions(("mamba2",)).bits
FETCH = instructions(("mamba2",)).fetch


class OlderMemory(Memory):
    """Sizes of a layer, all alike."""

    @property
    def _n(self) -> int:
        return self.config.n_layer

    @property
    def stream_words(self) -> dict[str, int]:
        return {n: self.each(n) for n in STATIC} | {"embedding": self.embedding_words}

    @property
    def conv_words(self) -> int:
        return self.each("conv_state")

    @property
    def recorded_words(self) -> int:
        layer = self.config.layers[0]
        return int(part(layer.kind, "layout").words(layer, self.arch)[RECORD])

    @property
    def heads(self) -> int:
        return super().heads // self._n

    @property
    def state_words(self) -> int:
        return self.heads * self.head_words
