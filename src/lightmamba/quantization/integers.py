"""The integer residual stream through one quantized layer, by the engine."""

from collections import Counter
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lightmamba.engine import Engine, State
from lightmamba.engine.routed import Routed
from lightmamba.model.qmodel import QuantizedLayer, QuantizedModel
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints
from lightmamba.quantization.streams import Rows

__all__ = ["IntegerPath"]

BATCH = 8  # sequences that go through a layer at once, fewer of them if they are long or wide
VALUES = 1 << 23  # of one batch at the widest place


class IntegerPath:
    """Runs one layer at a time, so that no other layer's constants are made or kept.

    Parameters
    ----------
    model : QuantizedModel
        With the formats and the numbers of the whole, and without layers.
    seqlen : int
        Tokens of a sequence.
    threads : int
        Of the engine.
    """

    def __init__(self, model: QuantizedModel, seqlen: int, threads: int) -> None:
        self.model = replace(model, config=model.config.first(1))
        self.seqlen, self.threads = seqlen, threads
        self.ops = Engine(replace(self.model, layers=()), threads=threads).ops

    def of(self, formats: Formats) -> "IntegerPath":
        """Path of the same model with other formats."""
        return IntegerPath(replace(self.model, formats=formats), self.seqlen, self.threads)

    def _engine(self, index: int, layer: QuantizedLayer) -> Engine:
        config = replace(self.model.config, layers=(layer.mixer.sizes,))
        formats = self.model.formats.of_layer(index)
        model = replace(self.model, config=config, formats=formats, layers=(layer,))
        return Engine(model, threads=self.threads)

    def _batches(self, vectors: int, rows: int) -> list[slice]:
        """Whole sequences: runs of vectors, as many as fit at a place ``rows`` wide."""
        wide = self.seqlen * rows
        step = self.seqlen * max(1, min(BATCH, VALUES // wide))
        return [slice(at, min(at + step, vectors)) for at in range(0, vectors, step)]

    def embed(self, ids: NDArray[np.int64], u: Rows) -> None:
        """Fill the stream with the embedding of (sequences, seqlen) ids."""
        engine = Engine(replace(self.model, layers=()))
        for rows in self._batches(len(u), self.model.config.d_model):
            part = engine.embed(ids.reshape(-1)[rows][None], Counter())
            u.write(rows, part[0].astype(np.int32))

    def mix(self, index: int, layer: QuantizedLayer, u: Rows, mixed: Rows) -> tuple[Ints, Ints]:
        """Fill ``mixed`` with the inputs of out_proj of a layer, and return their rms."""
        engine = self._engine(index, layer)

        def run(rows: slice) -> tuple[Ints, Ints]:
            part = u.read(rows).astype(np.int64)
            out, _ = engine.in_proj(0, part, Counter())
            lead = len(part) // self.seqlen, self.seqlen
            state = State.empty(engine.model, lead[0])
            x, rms = engine.mix(0, out.reshape(*lead, -1), state, Counter())
            mixed.write(rows, x.astype(np.int32, copy=False))
            return rms

        parts = [run(rows) for rows in self._batches(len(u), layer.mixer.sizes.in_rows)]
        mantissa, j = (np.concatenate(x) for x in zip(*parts, strict=True))
        return mantissa, j

    def routed(self, index: int, layer: QuantizedLayer) -> Routed:
        """A layer whose router chooses blocks."""
        return self._engine(index, layer).routed(0)

    def whole(self, index: int, layer: QuantizedLayer, u: Rows, after: Rows) -> None:
        """Fill ``after`` with the stream after a layer that keeps no state."""
        engine = self._engine(index, layer)
        sizes = layer.mixer.sizes
        for rows in self._batches(len(u), sizes.taken * sizes.block_rows):
            part = u.read(rows).astype(np.int64)
            out = engine.layer(0, part[None], State.empty(engine.model, 1), Counter())
            after.write(rows, out[0].astype(np.int32, copy=False))

    def finish(
        self, index: int, layer: QuantizedLayer, mixed: Rows, rms: tuple[Ints, Ints], u: Rows,
        after: Rows,
    ) -> None:  # fmt: skip
        """Fill ``after`` with the stream after a layer."""
        engine = self._engine(index, layer)

        def run(rows: slice) -> None:
            part = rms[0][rows], rms[1][rows]
            x, before = (stream.read(rows).astype(np.int64) for stream in (mixed, u))
            out, _ = engine.out_proj(0, x, part, before, Counter())
            after.write(rows, out.astype(np.int32, copy=False))

        for rows in self._batches(len(u), layer.mixer.sizes.in_rows):
            run(rows)
