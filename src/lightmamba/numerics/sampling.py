"""Sampling of the next token in integers: one seed gives one text on every computer and device.

The options are decimals that people write. Each becomes an exact fraction of that decimal and then,
once, an integer; from there on there is no floating point. The order is that of transformers:
repetition penalty, frequency and presence penalties, temperature, top-k, top-p, min-p, softmax,
draw.

Logits are int32 with a static exponent (value = q * 2**exponent). Candidates are ordered by
penalized logit, largest first, equal ones by id, lowest first; each filter keeps a prefix of that
order. All weights and sums are int64; the worst cases are noted at the operations.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, partial
from math import ceil

import numpy as np
from numpy.typing import NDArray

from lightmamba.numerics.draw import (
    LN2,
    WEIGHT_BITS,
    X_BITS,
    X_END,
    exp2_weight,
    round_half_up,
    uniform_below,
)
from lightmamba.numerics.primitives import Ints, round_shift
from lightmamba.numerics.sampling_options import SamplingOptions, fraction

__all__ = ["LOGIT_EXPONENT", "Sampler", "SamplerState"]

LOGIT_EXPONENT = (-40, 0)  # range of the exponent of the logits
PENALTY_BITS = 24  # fractional bits of the penalties' multipliers
SCORE_END = 100 << 31  # penalized logits are within this range, on both sides
COUNT_END = 1 << 20  # a token that was drawn more often counts as drawn this often
_PLACE_BITS = 23
_FIRST = (5 << X_BITS, 11 << X_BITS)  # how far below the best the order is looked at first


@dataclass(frozen=True)
class SamplerState:
    """State of a sampler by row, in arrays, so that it can be saved.

    Parameters
    ----------
    draws : NDArray[np.int64], shape (batch,)
        Random draws made so far.
    seen : NDArray[np.bool_], shape (batch, valid_vocab)
        Ids that the repetition penalty applies to.
    drawn : NDArray[np.int32], shape (batch, valid_vocab or 0)
        How often each id was drawn; empty where no penalty counts it.
    """

    draws: Ints
    seen: NDArray[np.bool_]
    drawn: NDArray[np.int32]


@dataclass(frozen=True)
class Sampler:
    """Logits in, ids out, in integers alone.

    Row ``r`` of a batch has its own random stream, named by (seed, stream + r), that no other row
    disturbs.
    Equal logits: the lowest id wins (greedy), or comes first (sampled).

    Parameters
    ----------
    options : SamplingOptions
    logit_exponent : int
        A logit's value is ``q * 2**logit_exponent``; -40 to 0.
    valid_vocab : int
        Ids from here on are padding and never drawn.
    stream : int
        Random stream of the first row.

    Raises
    ------
    ValueError
        If the exponent or the vocabulary is out of range.
    """

    options: SamplingOptions
    logit_exponent: int
    valid_vocab: int
    stream: int = 0

    def __post_init__(self) -> None:
        low, high = LOGIT_EXPONENT
        if not low <= self.logit_exponent <= high:
            raise ValueError(f"logit_exponent must be in {low}..{high}, not {self.logit_exponent}")
        if not 1 <= self.valid_vocab < 1 << 31:
            raise ValueError(f"valid_vocab must be in 1..2**31 - 1, not {self.valid_vocab}")

    def empty_state(self, batch: int) -> SamplerState:
        """Make the state before anything was seen or drawn."""
        seen = np.zeros((batch, self.valid_vocab), dtype=np.bool_)
        counted = self.valid_vocab if any(self.subtracted[:2]) else 0
        drawn = np.zeros((batch, counted), dtype=np.int32)
        return SamplerState(np.zeros(batch, dtype=np.int64), seen, drawn)

    def observe(self, state: SamplerState, ids: Ints) -> SamplerState:
        """Mark ``ids``, shape (batch, seqlen), as seen: the prompt, for instance."""
        seen = state.seen.copy()
        seen[np.arange(len(seen))[:, None], ids] = True
        return replace(state, seen=seen)

    def __call__(
        self, logits: NDArray[np.integer], state: SamplerState
    ) -> tuple[Ints, SamplerState]:
        """Choose one id per row.

        Parameters
        ----------
        logits : NDArray[np.integer], shape (batch, vocab)
            Any integer type, values within int32, ``vocab >= valid_vocab``.
        state : SamplerState
            From :meth:`empty_state`, :meth:`observe` or the last call.

        Returns
        -------
        ids : NDArray[np.int64], shape (batch,)
        state : SamplerState
            With the ids seen and counted and, unless greedy, one more draw per row.

        Raises
        ------
        ValueError
            If the logits have another shape, type or range.
        """
        valid = self._checked(logits, len(state.draws))
        penalized = self.subtract_penalties(self.penalize(valid, state.seen), state.drawn)
        if self.options.greedy:
            ids = penalized.argmax(axis=1)
            return ids, self._counted(state, ids)
        scores = penalized.astype(np.int64, copy=False)
        ids = np.empty(len(scores), dtype=np.int64)
        for row, draw in enumerate(state.draws.tolist()):
            uniform = partial(
                uniform_below, seed=int(self.options.seed), row=self.stream + row, draw=draw
            )
            ids[row] = self.choose(scores[row], uniform)
        return ids, replace(self._counted(state, ids), draws=state.draws + 1)

    def _counted(self, state: SamplerState, ids: Ints) -> SamplerState:
        """Mark one id per row as seen, and count it."""
        drawn = state.drawn
        if drawn.size:
            drawn = drawn.copy()
            drawn[np.arange(len(drawn)), ids] += 1
        return replace(self.observe(state, ids[:, None]), drawn=drawn)

    def penalize(self, scores: NDArray[np.integer], seen: NDArray[np.bool_]) -> NDArray[np.integer]:
        """Divide the positive, multiply the negative logits of seen ids, rounded half up.

        A multiplier is at most 100 * 2**24, so a product of an int32 stays below 2**62.
        """
        divide, multiply = self.penalties
        if divide == multiply == 1 << PENALTY_BITS:
            return scores
        out, where = scores.astype(np.int64), np.nonzero(seen)
        some = out[where]
        factor = np.where(some > 0, divide, multiply)
        out[where] = round_shift(some * factor, PENALTY_BITS)
        return out

    def subtract_penalties(
        self, scores: NDArray[np.integer], drawn: NDArray[np.int32]
    ) -> NDArray[np.integer]:
        """Subtract the frequency and presence penalties of ids drawn so far, rounded half up.

        A penalty is at most 2**41 units of 2**-bits, so 2**20 of them stay below 2**62.
        """
        each, once, bits = self.subtracted
        if not (each or once):
            return scores
        out, where = scores.astype(np.int64), np.nonzero(drawn)
        counts = np.minimum(drawn[where].astype(np.int64), COUNT_END)
        out[where] -= round_shift(counts * each + once, bits)
        return np.clip(out, -SCORE_END, SCORE_END)

    def choose(self, scores: Ints, uniform: Callable[[int], int]) -> int:
        """Draw one of the candidates of a row; most draws need only the few best in order.

        Parameters
        ----------
        scores : NDArray[np.int64], shape (valid_vocab,)
            Penalized logits, below 100 * 2**31 in size.
        uniform
            Takes a bound and gives an integer from 0 to the bound - 1, always the same.
        """
        x, weights = self._weights(scores)
        for end in (*_FIRST, X_END):
            found = self._kept(*_ordered(scores, x, weights, end))
            if found is None:
                continue
            ids, edges, mass = found
            if (draw := uniform(mass)) < edges[-1]:
                return int(ids[np.searchsorted(edges, draw, side="right")])
        raise AssertionError("a draw is below the sum of all weights")

    def _weights(self, scores: Ints) -> tuple[Ints, Ints]:
        """How far each id is below the best, in units of 2**-16 of a halving, and its weight.

        A weight is proportional to the probability; the best has 2**31. Relative error at most
        7e-6, and one unit of 2**-31 of the largest; below that it is 0 and its id is never drawn.
        """
        multiplier, shift = self.scale
        # below 200 * 2**31 * 2**24 < 2**63
        x = round_shift((scores.max() - scores) * multiplier, shift)
        return x, exp2_weight(x)

    def _kept(self, ids: Ints, weights: Ints, mass: int | None) -> tuple[Ints, Ints, int] | None:
        """Candidates that pass the filters: ids, cumulative weights, and their total.

        ``mass`` is the sum of the weights of all ids if there may be more of them; then the result
        is None where it would depend on those.
        """
        kept, more = len(ids), mass is not None
        if 0 < self.options.top_k <= kept:
            kept, more = self.options.top_k, False
        elif more and self.options.top_k:
            return None
        ends = np.cumsum(weights[:kept])  # at most 2**31 ids of 2**31 each
        total = int(mass) if more and mass is not None else int(ends[-1])
        top_p, floor_weight = self.limits
        reached = total if top_p == 1 else ceil(top_p * total)
        if ends[-1] >= reached:
            kept = int(np.searchsorted(ends - weights[:kept], reached, side="left"))
            total, more = int(ends[kept - 1]), False
        elif top_p < 1:
            return None
        if floor_weight and weights[kept - 1] < floor_weight:
            kept = int(np.count_nonzero(weights[:kept] >= floor_weight))
            total, more = int(ends[kept - 1]), False
        elif floor_weight and more:
            return None
        return ids[:kept], ends[:kept], total

    @cached_property
    def limits(self) -> tuple[Fraction, int]:
        """``top_p``, and the smallest weight that ``min_p`` keeps."""
        return (
            fraction(self.options.top_p),
            ceil(fraction(self.options.min_p) * (1 << WEIGHT_BITS)),
        )

    @cached_property
    def penalties(self) -> tuple[int, int]:
        """Multipliers of a seen id's positive and negative logit, with 24 fractional bits."""
        penalty, one = fraction(self.options.repetition_penalty), 1 << PENALTY_BITS
        return round_half_up(one / penalty), round_half_up(one * penalty)

    @cached_property
    def subtracted(self) -> tuple[int, int, int]:
        """Frequency and presence penalty in units of 2**-bits of a logit, and bits.

        The bits are fewer where a logit's unit is small already.
        """
        bits = max(0, PENALTY_BITS + self.logit_exponent)
        unit = 1 << bits - self.logit_exponent
        each, once = self.options.frequency_penalty, self.options.presence_penalty
        return round_half_up(fraction(each) * unit), round_half_up(fraction(once) * unit), bits

    @cached_property
    def scale(self) -> tuple[int, int]:
        """Multiplier of 24 bits and right shift, from a difference of logits to units of 2**-16.

        Their quotient is 2**logit_exponent * 2**16 / (ln 2 * temperature), temperature not 0.
        """
        quotient = Fraction(1 << X_BITS, 1 << -self.logit_exponent) / Fraction(LN2)
        quotient /= fraction(self.options.temperature)
        shift = 0
        while quotient * (1 << shift) < 1 << 23:  # below 2**24 even without a shift
            shift += 1
        return round_half_up(quotient * (1 << shift)), shift

    def _checked(self, logits: NDArray[np.integer], batch: int) -> NDArray[np.integer]:
        """The logits of real ids, int32 as they are and others as int64."""
        if logits.dtype != np.int32 and not np.issubdtype(logits.dtype, np.integer):
            raise ValueError(f"logits must be integers, not {logits.dtype}")
        if logits.ndim != 2 or len(logits) != batch or logits.shape[1] < self.valid_vocab:
            raise ValueError(
                f"logits must have the shape ({batch}, {self.valid_vocab} or more), "
                f"not {logits.shape}"
            )
        valid = logits[:, : self.valid_vocab]
        if valid.dtype == np.int32:
            return valid
        if valid.min() < -(1 << 31) or valid.max() >= 1 << 31:
            raise ValueError("logits must fit int32")
        return valid.astype(np.int64)


def _ordered(scores: Ints, x: Ints, weights: Ints, end: int) -> tuple[Ints, Ints, int | None]:
    """The best ids in order and their weights; the sum of all weights where there may be more ids.

    Those with ``x`` below ``end``, which are a beginning of the order: a lower score never has a
    lower x.
    """
    ids = np.flatnonzero(weights if end == X_END else x < end)
    below = scores.max() - scores[ids]  # less than 2**40
    if len(ids) <= 1 << _PLACE_BITS:  # one number for score and place sorts several times as fast
        places = np.sort(below << _PLACE_BITS | np.arange(len(ids))) & ((1 << _PLACE_BITS) - 1)
    else:
        places = np.argsort(below, kind="stable")
    ids = ids[places]
    return ids, weights[ids], None if end == X_END else int(weights.sum())
