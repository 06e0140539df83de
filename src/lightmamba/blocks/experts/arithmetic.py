"""A mixture of experts in exact integers: an MLP of the blocks that a router chooses.

Every block, an expert or one that every token takes, has the same number of hidden channels. The
hidden values of a chosen block are multiplied by its weight before the Hadamard transform, so that
the sums of out_proj of all blocks are added exactly, in any order.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks import base, layer
from lightmamba.blocks.layer import Limit, Matrix, hadamard_shift, out_channels
from lightmamba.blocks.mlp.arithmetic import ACTIVATIONS, HiddenValues
from lightmamba.blocks.tensors import exponent, number, tensor
from lightmamba.numerics.blocks import BlockQuant
from lightmamba.numerics.formats import INT32
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints, round_shift
from lightmamba.numerics.routing import ONE, SCORE_BITS, Routing, weighted

__all__ = ["Arithmetic", "Exponents", "Follow", "Integers", "Mixer", "Sizes"]

Follow = Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], NDArray[Any]]
SCORINGS = ("softmax", "sigmoid")
# Random layers: int16 rows up to 8, int24 hidden values up to 2,048, and a typical one.
ROWS_EXP, HIDDEN_EXP, HIDDEN = -12, -12, 0.6


@dataclass(frozen=True)
class Sizes(layer.Sizes):
    """Validated sizes.

    Raises
    ------
    ValueError
        If a size cannot be; the sentence names the field and what would be right.
    """

    kind: ClassVar[str] = "experts"
    routed: ClassVar[bool] = True

    n_experts: int  # of which a router chooses
    top_k: int  # experts of a token
    d_hidden: int  # hidden channels of a block
    n_shared: int  # blocks that every token takes
    activation: str = "silu"  # as an MLP's
    scoring: str = "softmax"  # of the chosen scores, or sigmoid of all and a bias for the choice
    normed: bool = True  # whether sigmoids are divided by their sum

    def __post_init__(self) -> None:
        layer.positive(vars(self), "n_experts", "top_k", "d_hidden", "n_shared")
        if self.top_k > self.n_experts:
            raise ValueError(f"top_k must be at most n_experts {self.n_experts}, not {self.top_k}")
        for name, known in (("activation", ACTIVATIONS), ("scoring", SCORINGS)):
            if getattr(self, name) not in known:
                allowed = " or ".join(known)
                raise ValueError(f"{name} must be {allowed}, not {getattr(self, name)!r}")

    @property
    def gated(self) -> bool:
        """Whether a second projection multiplies the activation."""
        return self.activation == "silu"

    @property
    def blocks(self) -> int:
        """Blocks of the layer: the experts, then those that every token takes."""
        return self.n_experts + self.n_shared

    @property
    def taken(self) -> int:
        """Experts of a token, and the blocks that every token takes."""
        return self.top_k + self.n_shared

    @property
    def entering_rows(self) -> int:
        return self.n_experts + self.taken * self.block_rows

    @property
    def chosen(self) -> int:
        return self.top_k

    @property
    def block_rows(self) -> int:
        """Rows of in_proj of a block."""
        return super().in_rows

    @property
    def in_rows(self) -> int:
        return self.blocks * self.block_rows

    @property
    def out_dim(self) -> int:
        """Channels of the input of out_proj of a block."""
        return self.d_hidden

    def sections(self) -> dict[str, slice]:
        """Rows of in_proj of a block by name: a goes through the activation."""
        n = self.d_hidden
        return {"a": slice(0, n), "b": slice(n, 2 * n)} if self.gated else {"a": slice(0, n)}

    def projection(self, formats: Formats, layer: int, name: str) -> Projection:
        """The input has 8 bits, of which the blocks of a model of 4 take the upper half."""
        if name == "router":
            return formats.router
        own = formats.of(layer, name)
        if name != "in_proj":
            return own
        shared = formats.router.act
        return replace(own, act=shared if own.act.bits == 8 else BlockQuant(4, shared.block, via=8))

    def matrices(self, d_model: int, formats: Formats) -> tuple[Matrix, ...]:
        """The router, then two matrices in which all blocks lie one below the other."""
        channels, mixed = formats.in_channels(d_model), out_channels(self, formats)
        blocks = self.blocks, self.taken
        return (
            Matrix("router", self.n_experts, channels),
            Matrix("in_proj", self.in_rows, channels, *blocks),
            Matrix("out_proj", self.blocks * d_model, mixed, *blocks, added=True),
        )


@dataclass(frozen=True)
class Exponents:
    """Static exponents of one layer, from calibration."""

    router: int = exponent()  # int16 rows of the router
    a: int = exponent()  # int16 rows of in_proj
    b: int = exponent()  # the same; without a gate, that of a again
    hidden: int = exponent()  # int24
    hadamard_shift: int = number(0, 31)  # right shift after the transform


@dataclass(frozen=True)
class Mixer(HiddenValues):
    """Everything of a layer but its matrices."""

    sizes: Sizes
    exponents: Exponents
    choice_bias: NDArray[np.int32] = tensor(  # added to sigmoids of 16 fractional bits
        "int32", "n_experts", low=-(1 << 23), high=(1 << 23) - 1
    )

    @property
    def score_shift(self) -> int:
        """Right shift of a row of the router to a score."""
        return -SCORE_BITS - self.exponents.router

    def row_exponents(self) -> Ints:
        return np.tile(super().row_exponents(), self.sizes.blocks)

    def limits(self) -> Iterator[Limit]:
        """Derived numbers that engine and hardware rely on."""
        yield from super().limits()
        yield "the shift of the scores", self.score_shift, -20, 62


class Arithmetic(layer.Arithmetic):
    """Arithmetic of a layer between its matrices, block by block."""

    @cached_property
    def routing(self) -> Routing:
        """Choice of experts."""
        s = self.sizes
        return Routing(s.top_k, s.scoring, s.normed)

    @staticmethod
    def observables(
        sizes: Sizes,
        arrays: Mapping[str, NDArray[Any]],
        state: Mapping[str, Any],
        position: NDArray[np.int64],
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        for name in ("scores", "blocks", "weights"):
            yield f"router.{name}", arrays[name]
        yield "experts.hidden", arrays["hidden"]
        yield "experts.weighted", arrays["weighted"]

    def route(self, rows: Ints, follow: Follow | None = None) -> tuple[Ints, Ints, Ints, int]:
        """Choose blocks by rows of the router.

        Parameters
        ----------
        rows : (vectors, n_experts)
            int16.
        follow
            Sees the scores, the chosen experts and their weights, and gives the experts to take.

        Returns
        -------
        score : (vectors, n_experts) int32
        blocks, weight : (vectors, taken)
            Those that every token takes come first, then the chosen ones, ascending.
        lost : int
            Scores that saturated.
        """
        s = self.sizes
        wide = round_shift(rows.astype(np.int64), self.mixer.score_shift)
        score, bias = INT32(wide), self.mixer.choice_bias if s.scoring == "sigmoid" else None
        chosen, weight = self.routing(score, bias)
        if follow is not None:
            chosen = follow(score, chosen, weight)
            weight = self.routing.weights(score, chosen)
        always = np.tile(np.arange(s.n_experts, s.blocks), (len(rows), 1))
        blocks = np.concatenate([always, chosen], -1)
        weights = np.concatenate([np.full_like(always, ONE), weight], -1)
        return score, blocks, weights, INT32.overflows(wide)

    def block(self, rows: Ints, weight: Ints, lost: Counter[str]) -> dict[str, Ints]:
        """Input of out_proj, ``mixed``, of one block's (vectors, block_rows) and its weights."""
        hidden, over = self.mixer.hidden(rows.astype(np.int64))
        share = weighted(hidden, weight)
        mixed, lost_mixed = self.hadamard(share)
        lost.update({"experts.hidden": over, "hadamard": lost_mixed})
        return {"hidden": hidden, "weighted": share, "mixed": mixed}


class Integers(base.Integers):
    """Numbers and arithmetic of experts, which leave no state behind."""

    losses = ("router", "experts.hidden", "hadamard")

    def output(self, sizes: Sizes, formats: Formats) -> tuple[float, float]:
        order, shift = formats.transform.size(sizes.d_hidden), hadamard_shift(sizes, formats)
        share = HIDDEN / sizes.top_k  # of a chosen block; those that are always on have all of it
        energy = sizes.d_hidden * (sizes.top_k * share**2 + sizes.n_shared * HIDDEN**2)
        typical = HIDDEN * (order**0.5) * 2.0 ** -(HIDDEN_EXP + shift)
        return 0.4 / (order * energy) ** 0.5, typical

    def random_mixer(self, rng: np.random.Generator, sizes: Sizes, formats: Formats) -> Mixer:
        shift = hadamard_shift(sizes, formats)
        exponents = Exponents(ROWS_EXP, ROWS_EXP, ROWS_EXP, HIDDEN_EXP, shift)
        bias = rng.integers(-(1 << 14), 1 << 14, sizes.n_experts).astype(np.int32)
        return Mixer(sizes, exponents, bias)
