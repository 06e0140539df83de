"""Sampling of the next token in integers: one seed gives one text on every computer and device.

The options are decimals that people write. Each becomes an exact fraction of that decimal and then,
once, an integer; from there on there is no floating point. The order is that of transformers:
repetition penalty, temperature, top-k, top-p, min-p, softmax, draw.

Logits are int32 with a static exponent (value = q * 2**exponent). Candidates are ordered by
penalized logit, largest first, equal ones by id, lowest first; each filter keeps a prefix of that
order. All weights and sums are int64; the worst cases stand at the operations.
"""

from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from functools import cached_property, lru_cache
from math import ceil, floor
from numbers import Integral, Real

import numpy as np
from numpy.typing import NDArray

from lightmamba.errors import InputError
from lightmamba.numerics.primitives import Ints, round_shift

__all__ = [
    "LOGIT_EXPONENT",
    "Sampler",
    "SamplerState",
    "SamplingOptions",
    "exp2_weight",
    "philox",
    "uniform_below",
]

LOGIT_EXPONENT = (-40, 0)  # range of the exponent of the logits
WEIGHT_BITS = 31  # a weight is 2**31 for the most probable id
PENALTY_BITS = 24  # fractional bits of the repetition penalty's multipliers
_X_BITS = 16  # fractional bits of the exponent that exp2_weight takes
_X_END = 32 << _X_BITS  # from here on a weight is 0
_CONTEXT = Context(
    prec=40
)  # decimal digits; ln and exp are correctly rounded, so the same anywhere
_LN2 = Decimal(2).ln(_CONTEXT)


@dataclass(frozen=True)
class SamplingOptions:
    """How to choose the next token.

    Parameters
    ----------
    temperature : float
        Divides the logits; 0 takes the most probable id (greedy), else 0.01 to 100.
    top_k : int
        Keep the ``top_k`` most probable ids; 0 keeps all, 1 is greedy.
    top_p : float
        Keep the fewest ids whose probabilities reach ``top_p``, in (0, 1].
    min_p : float
        Keep the ids with at least ``min_p`` times the largest probability, in [0, 1].
    repetition_penalty : float
        Divides the positive and multiplies the negative logits of ids already seen; 0.01 to 100.
    seed : int
        Names the random stream, 0 to 2**64 - 1.

    Raises
    ------
    InputError
        If an option is out of its range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        temperature = _exact("temperature", self.temperature, "0.8")
        if temperature != 0 and not Fraction(1, 100) <= temperature <= 100:
            raise InputError(
                f"temperature must be 0 (greedy) or from 0.01 to 100, not {self.temperature}; "
                "try 0.8"
            )
        if not 0 < _exact("top_p", self.top_p, "0.95") <= 1:
            raise InputError(f"top_p must be above 0 and at most 1, not {self.top_p}; try 0.95")
        if not 0 <= _exact("min_p", self.min_p, "0.05") <= 1:
            raise InputError(f"min_p must be from 0 to 1, not {self.min_p}; try 0.05")
        penalty = _exact("repetition_penalty", self.repetition_penalty, "1.1")
        if not Fraction(1, 100) <= penalty <= 100:
            raise InputError(
                f"repetition_penalty must be from 0.01 to 100, not {self.repetition_penalty}; "
                "try 1.1"
            )
        if not _is_whole(self.top_k) or self.top_k < 0:
            raise InputError(
                f"top_k must be a whole number, 0 for all ids, not {self.top_k!r}; try 40"
            )
        if not _is_whole(self.seed) or not 0 <= self.seed < 1 << 64:
            raise InputError(
                f"seed must be a whole number from 0 to 2**64 - 1, not {self.seed!r}; try 0"
            )

    @property
    def greedy(self) -> bool:
        """Whether the most probable id is taken and nothing is drawn."""
        return self.temperature == 0 or self.top_k == 1


@dataclass(frozen=True)
class SamplerState:
    """What a sampler remembers of each row; two arrays, so that it can be saved.

    Parameters
    ----------
    draws : NDArray[np.int64], shape (batch,)
        Random draws made so far.
    seen : NDArray[np.bool_], shape (batch, valid_vocab)
        Ids that the repetition penalty applies to.
    """

    draws: Ints
    seen: NDArray[np.bool_]


@dataclass(frozen=True)
class Sampler:
    """Logits in, ids out, in integers alone.

    Row ``r`` of a batch has its own random stream, named by (seed, r), that no other row disturbs.
    Equal logits: the lowest id wins (greedy), or comes first (sampled).

    Parameters
    ----------
    options : SamplingOptions
    logit_exponent : int
        A logit's value is ``q * 2**logit_exponent``; -40 to 0.
    valid_vocab : int
        Ids from here on are padding and never drawn.

    Raises
    ------
    ValueError
        If the exponent or the vocabulary is out of range.
    """

    options: SamplingOptions
    logit_exponent: int
    valid_vocab: int

    def __post_init__(self) -> None:
        low, high = LOGIT_EXPONENT
        if not low <= self.logit_exponent <= high:
            raise ValueError(f"logit_exponent must be in {low}..{high}, not {self.logit_exponent}")
        if not 1 <= self.valid_vocab < 1 << 31:
            raise ValueError(f"valid_vocab must be in 1..2**31 - 1, not {self.valid_vocab}")

    def empty_state(self, batch: int) -> SamplerState:
        """Make the state before anything was seen or drawn."""
        seen = np.zeros((batch, self.valid_vocab), dtype=np.bool_)
        return SamplerState(np.zeros(batch, dtype=np.int64), seen)

    def observe(self, state: SamplerState, ids: Ints) -> SamplerState:
        """Mark ``ids``, shape (batch, seqlen), as seen: the prompt, for instance."""
        seen = state.seen.copy()
        np.put_along_axis(seen, np.asarray(ids, dtype=np.int64), True, axis=1)
        return SamplerState(state.draws, seen)

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
            With the ids seen and, unless greedy, one more draw per row.

        Raises
        ------
        ValueError
            If the logits have another shape, type or range.
        """
        scores = self.penalize(self._checked(logits, len(state.draws)), state.seen)
        if self.options.greedy:
            ids = scores.argmax(axis=1)
            return ids, self.observe(state, ids[:, None])
        ids = np.empty(len(scores), dtype=np.int64)
        for row in range(len(scores)):
            candidates, weights = self.candidates(scores[row])
            edges = np.cumsum(weights)  # at most 2**31 ids of 2**31 each
            draw = uniform_below(
                int(edges[-1]), seed=int(self.options.seed), row=row, draw=int(state.draws[row])
            )
            ids[row] = candidates[np.searchsorted(edges, draw, side="right")]
        seen = self.observe(state, ids[:, None]).seen
        return ids, SamplerState(state.draws + 1, seen)

    def penalize(self, scores: Ints, seen: NDArray[np.bool_]) -> Ints:
        """Divide the positive, multiply the negative logits of seen ids, rounded half up.

        A multiplier is at most 100 * 2**24, so a product of an int32 stays below 2**62.
        """
        divide, multiply = self.penalties
        factor = np.where(scores > 0, divide, multiply)
        return np.where(seen, round_shift(scores * factor, PENALTY_BITS), scores)

    def candidates(self, scores: Ints) -> tuple[Ints, Ints]:
        """Find the ids of one row that may be drawn, and their weights.

        Parameters
        ----------
        scores : NDArray[np.int64], shape (valid_vocab,)
            Penalized logits, below 100 * 2**31 in size.

        Returns
        -------
        ids : NDArray[np.int64], shape (kept,)
            Largest score first, equal ones by id.
        weights : NDArray[np.int64], shape (kept,)
            Proportional to the probabilities; the first is 2**31. Relative error at most 7e-6,
            and one unit of 2**-31 of the largest; below that a weight is 0 and its id is left out.
        """
        multiplier, shift = self.scale
        # below 200 * 2**31 * 2**24 < 2**63
        weights = exp2_weight(round_shift((scores.max() - scores) * multiplier, shift))
        ids = np.flatnonzero(weights)
        ids = ids[np.argsort(-scores[ids], kind="stable")]
        weights = weights[ids]
        kept = min(len(ids), self.options.top_k or len(ids))
        ends = np.cumsum(weights[:kept])
        reached = ceil(_fraction(self.options.top_p) * int(ends[-1]))
        kept = int(np.searchsorted(ends - weights[:kept], reached, side="left"))
        floor_weight = ceil(_fraction(self.options.min_p) * (1 << WEIGHT_BITS))
        kept = int(np.count_nonzero(weights[:kept] >= floor_weight))
        return ids[:kept], weights[:kept]

    @cached_property
    def penalties(self) -> tuple[int, int]:
        """Multipliers of a seen id's positive and negative logit, with 24 fractional bits."""
        penalty, one = _fraction(self.options.repetition_penalty), 1 << PENALTY_BITS
        return _round_half_up(one / penalty), _round_half_up(one * penalty)

    @cached_property
    def scale(self) -> tuple[int, int]:
        """Multiplier of 24 bits and right shift, from a difference of logits to units of 2**-16.

        Their quotient is 2**logit_exponent * 2**16 / (ln 2 * temperature), temperature not 0.
        """
        quotient = Fraction(1 << _X_BITS, 1 << -self.logit_exponent) / Fraction(_LN2)
        quotient /= _fraction(self.options.temperature)
        shift = 0
        while quotient * (1 << shift) < 1 << 23:  # below 2**24 even without a shift
            shift += 1
        return _round_half_up(quotient * (1 << shift)), shift

    def _checked(self, logits: NDArray[np.integer], batch: int) -> Ints:
        if not np.issubdtype(logits.dtype, np.integer):
            raise ValueError(f"logits must be integers, not {logits.dtype}")
        if logits.ndim != 2 or len(logits) != batch or logits.shape[1] < self.valid_vocab:
            raise ValueError(
                f"logits must have the shape ({batch}, {self.valid_vocab} or more), "
                f"not {logits.shape}"
            )
        valid = logits[:, : self.valid_vocab]
        if valid.min() < -(1 << 31) or valid.max() >= 1 << 31:
            raise ValueError("logits must fit int32")
        return valid.astype(np.int64)


def exp2_weight(x: Ints) -> Ints:
    """Compute 2**31 * 2**-x for x >= 0 with 16 fractional bits.

    The two bytes of the fraction index two tables of 256 integers, whose product has 62 bits; it is
    rounded once, half up. Worst error 1.4 units for any x, 1.1e-9 of the value for x < 1 (tested
    over all inputs); from x = 32 on the result is 0.

    Parameters
    ----------
    x : NDArray[np.int64], any shape
        Exponent in units of 2**-16.

    Returns
    -------
    NDArray[np.int64], the shape of ``x``
        0 to 2**31.
    """
    high, low = _exp2_tables()
    product = high[(x >> 8) & 255] * low[x & 255]
    weight = round_shift(product, WEIGHT_BITS + np.minimum(x >> _X_BITS, 31))
    return np.where(x < _X_END, weight, 0)


@lru_cache(maxsize=1)
def _exp2_tables() -> tuple[Ints, Ints]:
    """2**31 * 2**-(i / 256) and 2**31 * 2**-(i / 65536), i in 0..255, rounded half up."""

    def entry(exponent: Fraction) -> int:
        steps = _CONTEXT.divide(Decimal(-exponent.numerator), Decimal(exponent.denominator))
        power = _CONTEXT.exp(_CONTEXT.multiply(_LN2, steps))
        return _round_half_up(Fraction(power) * (1 << WEIGHT_BITS))

    high = [entry(Fraction(i, 1 << 8)) for i in range(256)]
    low = [entry(Fraction(i, 1 << _X_BITS)) for i in range(256)]
    return np.array(high, dtype=np.int64), np.array(low, dtype=np.int64)


def uniform_below(bound: int, *, seed: int, row: int, draw: int) -> int:
    """Draw an integer from 0 to ``bound - 1``, each exactly as likely.

    The high half of ``word * bound``, where word is the first of :func:`philox` with key (seed, 0)
    and counter (draw, row, attempt, 0); words whose low half is below ``2**64 % bound`` are
    rejected for the next attempt (Lemire: Fast random integer generation in an interval, 2019). So
    the draw falls at about the same share of nearly equal weights. ``bound`` is 1 to 2**64.
    """
    attempt = 0
    while True:
        product = philox((draw, row, attempt, 0), (seed, 0))[0] * bound
        if product % (1 << 64) >= (1 << 64) % bound:
            return product >> 64
        attempt += 1


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Compute one block of Philox4x64-10, four random words of 64 bits.

    Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC 2011).
    """
    mask = (1 << 64) - 1
    (a, b, c, d), (key0, key1) = counter, key
    for _ in range(10):
        first, second = a * 0xD2E7470EE14C6C93, c * 0xCA5A826395121157
        a, b = (second >> 64) ^ b ^ key0, second & mask
        c, d = (first >> 64) ^ d ^ key1, first & mask
        key0, key1 = (key0 + 0x9E3779B97F4A7C15) & mask, (key1 + 0xBB67AE8584CAA73B) & mask
    return a, b, c, d


def _fraction(value: float) -> Fraction:
    """Take the decimal that was written: 0.7 is 7/10."""
    return Fraction(str(value))


def _exact(name: str, value: float, example: str) -> Fraction:
    """Take an option's decimal, or say which option is not a number."""
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        raise InputError(f"{name} must be a number, not {value!r}; try {example}")
    try:
        return _fraction(value)
    except ValueError:
        raise InputError(f"{name} must be finite, not {value}; try {example}") from None


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _round_half_up(value: Fraction) -> int:
    return floor(value + Fraction(1, 2))
