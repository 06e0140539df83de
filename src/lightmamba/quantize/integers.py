"""The integer residual stream through one quantized layer, by the engine."""

from collections import Counter
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lightmamba.engine import Engine, State
from lightmamba.numerics.primitives import Ints
from lightmamba.qmodel import QuantizedLayer, QuantizedModel
from lightmamba.quantize.streams import Rows

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
        config = replace(model.config, n_layer=1)
        self.model, self.seqlen, self.threads = replace(model, config=config), seqlen, threads
        self.ops = Engine(replace(self.model, layers=()), threads=threads).ops
        self.config = config

    def _engine(self, layer: QuantizedLayer) -> Engine:
        return Engine(replace(self.model, layers=(layer,)), threads=self.threads)

    def _batches(self, vectors: int) -> list[slice]:
        """Whole sequences: runs of rows."""
        wide = self.seqlen * self.config.d_in_proj
        step = self.seqlen * max(1, min(BATCH, VALUES // wide))
        return [slice(at, min(at + step, vectors)) for at in range(0, vectors, step)]

    def embed(self, ids: NDArray[np.int64], u: Rows) -> None:
        """Fill the stream with the embedding of (sequences, seqlen) ids."""
        engine = Engine(replace(self.model, layers=()))
        for rows in self._batches(len(u)):
            part = engine.embed(ids.reshape(-1)[rows][None], Counter())
            u.write(rows, part[0].astype(np.int32))

    def mix(self, layer: QuantizedLayer, u: Rows, mixed: Rows) -> tuple[Ints, Ints]:
        """Fill ``mixed`` with the inputs of out_proj, and return their rms."""
        engine, c = self._engine(layer), self.config

        def run(rows: slice) -> tuple[Ints, Ints]:
            part = u.read(rows).astype(np.int64)
            out, _ = engine.in_proj(0, part, Counter())
            lead = len(part) // self.seqlen, self.seqlen
            state = State.empty(engine.model, lead[0])
            y, _ = engine.mix(0, out.reshape(*lead, -1), state, Counter())
            z = out[:, c.splits()["z"]]
            x, rms, _ = engine.gate(0, y.reshape(-1, c.d_inner), z, Counter())
            mixed.write(rows, x.astype(np.int32, copy=False))
            return rms

        parts = [run(rows) for rows in self._batches(len(u))]
        mantissa, j = (np.concatenate(x) for x in zip(*parts, strict=True))
        return mantissa, j

    def finish(
        self, layer: QuantizedLayer, mixed: Rows, rms: tuple[Ints, Ints], u: Rows, after: Rows
    ) -> None:
        """Fill ``after`` with the stream behind the layer."""
        engine = self._engine(layer)

        def run(rows: slice) -> None:
            part = rms[0][rows], rms[1][rows]
            x, before = (stream.read(rows).astype(np.int64) for stream in (mixed, u))
            out, _ = engine.out_proj(0, x, part, before, Counter())
            after.write(rows, out.astype(np.int32, copy=False))

        for rows in self._batches(len(u)):
            run(rows)
