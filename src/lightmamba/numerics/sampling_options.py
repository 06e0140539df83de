"""Options of the sampler: decimals that people write, each an exact fraction of that decimal."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Real

from lightmamba.common.errors import InputError

__all__ = ["SamplingOptions", "fraction"]


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
    frequency_penalty : float
        Subtracted from an id's logit for each time that it was drawn; -2 to 2.
    presence_penalty : float
        Subtracted from an id's logit if it was drawn at all; -2 to 2.
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
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
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
        for name in ("frequency_penalty", "presence_penalty"):
            value = getattr(self, name)
            if not -2 <= _exact(name, value, "0.5") <= 2:
                raise InputError(f"{name} must be from -2 to 2, not {value}; try 0.5")
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


def fraction(value: float) -> Fraction:
    """Take the decimal that was written: 0.7 is 7/10."""
    return Fraction(str(value))


def _exact(name: str, value: float, example: str) -> Fraction:
    """Take an option's decimal, or say which option is not a number."""
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        raise InputError(f"{name} must be a number, not {value!r}; try {example}")
    try:
        return fraction(value)
    except ValueError:
        raise InputError(f"{name} must be finite, not {value}; try {example}") from None


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
