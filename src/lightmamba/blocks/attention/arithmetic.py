"""An attention mixer in exact integers, by the numerics objects themselves."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks.attention.quantized import Mixer
from lightmamba.blocks.attention.state import numerics
from lightmamba.blocks.protocols import Observe, Rms, unit_rms
from lightmamba.numerics.attention import PAGE
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints

__all__ = ["LOSSES", "Arithmetic"]

LOSSES = ("attention.score", "attention.mean", "hadamard")
Array = NDArray[Any]
Pages = Sequence[Array]  # of each sequence: (pages, PAGE, ...), written in place


class Arithmetic:
    """Arithmetic of a layer between its projections.

    Parameters
    ----------
    mixer : Mixer
        Of one layer.
    formats : Formats
    """

    def __init__(self, mixer: Mixer, formats: Formats) -> None:
        self.mixer, self.sizes, self.op = mixer, mixer.sizes, numerics(mixer.sizes)
        self.transform = formats.transform

    def run(
        self,
        rows: Ints,
        state: Mapping[str, Any],
        position: NDArray[np.int64],
        lost: Counter[str],
        observe: Observe | None = None,
    ) -> tuple[Ints, Rms]:
        """See :class:`lightmamba.blocks.protocols.Arithmetic`."""
        lead = rows.shape[:2]
        self.store(rows, state, position)
        mean, counts = self.attend(rows, state, position)
        mixed, lost_mixed = self.hadamard(mean.reshape(-1, mean.shape[-1]))
        lost.update({**counts, "hadamard": lost_mixed})
        if observe is not None:
            for name in ("k", "k_exp", "v", "v_exp"):
                observe(f"attention.{name}", last(state[name], position, lead[1]))
            observe("attention.mean", mean)
            observe("hadamard.out", mixed.reshape(*lead, -1))
        return mixed, unit_rms(len(mixed))

    def store(self, rows: Ints, state: Mapping[str, Pages], position: NDArray[np.int64]) -> None:
        """Quantize keys and values of (batch, seqlen, in_rows), and keep them."""
        c, (batch, seqlen) = self.sizes, rows.shape[:2]
        for name in ("k", "v"):
            part = rows[..., c.sections()[name]].reshape(batch, seqlen, c.n_kv_heads, c.head_dim)
            q, exponent = self._blocks(part)
            for row in range(batch):
                at = position[row] + np.arange(seqlen)
                state[name][row][at // PAGE, at % PAGE] = q[row]
                state[f"{name}_exp"][row][at // PAGE, at % PAGE] = exponent[row]

    def attend(
        self, rows: Ints, state: Mapping[str, Pages], position: NDArray[np.int64]
    ) -> tuple[Ints, dict[str, int]]:
        """Mean of the values for every token, (batch, seqlen, n_heads * head_dim), and losses."""
        c, (batch, seqlen) = self.sizes, rows.shape[:2]
        part = rows[..., c.sections()["q"]].reshape(batch, seqlen, c.n_heads, c.head_dim)
        q, q_exp = self._blocks(part)
        mean = np.empty((batch, seqlen, c.n_heads, c.head_dim), np.int64)
        lost_score = lost_mean = 0
        for row in range(batch):
            end = int(position[row]) + seqlen
            k, k_exp, v, v_exp = (
                self._heads(state[name][row], end) for name in ("k", "k_exp", "v", "v_exp")
            )
            for t in range(seqlen):
                seen = slice(0, end - seqlen + t + 1)
                scores, over = self.op.scores(
                    q[row, t], q_exp[row, t], k[:, seen], k_exp[:, seen], self.mixer.score
                )
                total, weights = self.op.weigh(scores, v[:, seen], v_exp[:, seen])
                out, over_mean = self.op.divide(total, weights, self.mixer.mean)
                mean[row, t] = out[:, : c.head_dim]
                lost_score += over
                lost_mean += over_mean
        lost = {"attention.score": lost_score, "attention.mean": lost_mean}
        return mean.reshape(batch, seqlen, -1), lost

    def hadamard(self, x: Ints) -> tuple[Ints, int]:
        """Transform (vectors, out_dim) to (vectors, channels of out_proj), and overflows."""
        return self.transform(x, 1, self.mixer.exponents.hadamard_shift)

    def _blocks(self, x: Ints) -> tuple[Ints, Ints]:
        """int8 and exponents along head_dim, zero-padded to whole blocks."""
        width = -x.shape[-1] % self.op.block
        q, exponent = self.op.scale(np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width)]))
        return q, exponent

    def _heads(self, pages: Array, end: int) -> Ints:
        """The first ``end`` positions of a sequence, (n_heads, end, ...)."""
        flat = pages.reshape(-1, *pages.shape[2:])[:end].astype(np.int64)
        return np.repeat(flat.swapaxes(0, 1), self.sizes.per_group, axis=0)


def last(pages: Pages, position: NDArray[np.int64], seqlen: int) -> Array:
    """Keys or values of the last ``seqlen`` tokens, (batch, seqlen, ...)."""
    at = position[:, None] + np.arange(seqlen)
    return np.stack([
        part[places // PAGE, places % PAGE] for part, places in zip(pages, at, strict=True)
    ])  # fmt: skip
