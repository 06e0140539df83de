"""An attention mixer in exact integers, by the numerics objects themselves."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks import base, layer
from lightmamba.blocks.base import Arrays
from lightmamba.blocks.layer import Limit, Observe, Rms, hadamard_shift, unit_rms
from lightmamba.blocks.tensors import exponent, number
from lightmamba.numerics.attention import PAGE, Attention
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints

__all__ = ["Arithmetic", "Exponents", "Integers", "Mixer", "Pages", "Sizes", "last", "numerics"]

Array = NDArray[Any]
Pages = Sequence[Array]  # of each sequence: (pages, PAGE, ...), written in place
# Random layers: int16 rows up to 8, int24 means up to 16, and a typical mean of values.
ROWS_EXP, MEAN_EXP, MEAN = -12, -19, 0.3


@dataclass(frozen=True)
class Sizes(layer.Sizes):
    """Validated sizes.

    Raises
    ------
    ValueError
        If the sizes cannot belong together; the sentence names the field and what would be right.
    """

    kind: ClassVar[str] = "attention"

    n_heads: int  # of queries
    n_kv_heads: int  # of keys and values; n_heads / n_kv_heads queries share one
    head_dim: int

    def __post_init__(self) -> None:
        layer.positive(vars(self), "n_heads", "n_kv_heads", "head_dim")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_kv_heads {self.n_kv_heads} does not divide n_heads {self.n_heads}")

    @property
    def per_group(self) -> int:
        """Heads that share keys and values."""
        return self.n_heads // self.n_kv_heads

    @property
    def out_dim(self) -> int:
        """Channels of the input of out_proj."""
        return self.n_heads * self.head_dim

    def sections(self) -> dict[str, slice]:
        """Rows of in_proj by name, in the order q, k, v."""
        q, kv = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        return {"q": slice(0, q), "k": slice(q, q + kv), "v": slice(q + kv, q + 2 * kv)}


@dataclass(frozen=True)
class Exponents:
    """Static exponents of one layer, from calibration."""

    q: int = exponent()  # int16 rows of in_proj; q·k is an exponent of two
    k: int = exponent()
    v: int = exponent()
    mean: int = exponent()  # int24, mean of v
    hadamard_shift: int = number(0, 31)  # right shift after the transform


@dataclass(frozen=True)
class Mixer(layer.Mixer):
    """Everything of a layer but its two projections: exponents only."""

    sizes: Sizes
    exponents: Exponents

    @property
    def out_exponent(self) -> int:
        """Exponent of the values that go to out_proj."""
        return self.exponents.mean + self.exponents.hadamard_shift

    @property
    def score(self) -> int:
        """Right shift of a sum of products to a score with 16 fractional bits."""
        return -(self.exponents.q + self.exponents.k + 16)

    @property
    def mean(self) -> int:
        """Right shift of a mean of v to the output."""
        return self.exponents.mean - self.exponents.v

    def limits(self) -> Iterator[Limit]:
        """Derived numbers that engine and hardware rely on."""
        yield "the shift of the scores", self.score, -20, 62
        yield "the shift of the mean", self.mean, -31, 31


def numerics(sizes: Sizes) -> Attention:
    """Arithmetic of a head, with blocks along head_dim."""
    return Attention(min(32, sizes.head_dim))


class Arithmetic(layer.Arithmetic):
    """Arithmetic of a layer between its projections.

    Parameters
    ----------
    mixer : Mixer
        Of one layer.
    formats : Formats
    """

    def __init__(self, mixer: Mixer, formats: Formats) -> None:
        super().__init__(mixer, formats)
        self.op = numerics(mixer.sizes)

    def run(
        self,
        rows: Ints,
        state: Mapping[str, Any],
        position: NDArray[np.int64],
        lost: Counter[str],
        observe: Observe | None = None,
    ) -> tuple[Ints, Rms]:
        lead = rows.shape[:2]
        self.store(rows, state, position)
        mean, counts = self.attend(rows, state, position)
        mixed, lost_mixed = self.hadamard(mean.reshape(-1, mean.shape[-1]))
        lost.update({**counts, "hadamard": lost_mixed})
        arrays = {"rows": rows, "weighted": mean, "mixed": mixed.reshape(*lead, -1)}
        self.show(observe, arrays, state, position)
        return mixed, unit_rms(len(mixed))

    @staticmethod
    def observables(
        sizes: Sizes,
        arrays: Mapping[str, Array],
        state: Mapping[str, Any],
        position: NDArray[np.int64],
    ) -> Iterator[tuple[str, Array]]:
        for name in ("k", "k_exp", "v", "v_exp"):
            yield f"attention.{name}", last(state[name], position, arrays["rows"].shape[1])
        yield "attention.mean", arrays["weighted"]

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


class Integers(base.Integers):
    """Numbers and arithmetic of attention: keys and values of every token stay."""

    losses = ("attention.score", "attention.mean", "hadamard")

    def tokens(self, sizes: Sizes, formats: Formats) -> Arrays:
        """int8 and exponents of blocks of 32 channels."""
        block = numerics(sizes).block
        blocks = -(-sizes.head_dim // block)
        values, exponents = (sizes.n_kv_heads, blocks * block), (sizes.n_kv_heads, blocks)
        return {
            "k": (np.int8, values), "k_exp": (np.int8, exponents),
            "v": (np.int8, values), "v_exp": (np.int8, exponents),
        }  # fmt: skip

    def bytes_per_token(self, sizes: Sizes, formats: Formats) -> dict[str, int]:
        sizes_of = self.tokens(sizes, formats).values()
        return {"kv": sum(int(np.prod(shape)) for _, shape in sizes_of)}

    def float_values(self, sizes: Sizes) -> int:
        return 2 * sizes.n_kv_heads * sizes.head_dim

    def float_chunk(self, sizes: Sizes, vectors: int) -> int:
        """A row of the matrix of scores."""
        return sizes.n_heads * vectors

    def output(self, sizes: Sizes, formats: Formats) -> tuple[float, float]:
        return self.mixed(sizes, formats, MEAN, MEAN_EXP)

    def random_mixer(self, rng: np.random.Generator, sizes: Sizes, formats: Formats) -> Mixer:
        shift = hadamard_shift(sizes, formats)
        return Mixer(sizes, Exponents(ROWS_EXP, ROWS_EXP, ROWS_EXP, MEAN_EXP, shift))
