"""Where each parameter of ours is in a checkpoint: names, parts that are put together, factors."""

from collections.abc import Callable
from dataclasses import dataclass

from lightmamba.model.config import ModelConfig

__all__ = ["Origin", "Part", "Published"]


@dataclass(frozen=True)
class Part:
    """One published tensor.

    Parameters
    ----------
    names : tuple of str
        The name, then others that occur for the same tensor.
    factor : float
        That our parameter has next to it.
    rows : int or None
        Its rows, where the parameter has several parts; None is all.
    """

    names: tuple[str, ...]
    factor: float = 1.0
    rows: int | None = None


@dataclass(frozen=True)
class Origin:
    """The parts of a parameter, one below the other."""

    parts: tuple[Part, ...]

    @staticmethod
    def of(*names: str, factor: float = 1.0) -> "Origin":
        """A parameter that is one published tensor."""
        return Origin((Part(names, factor),))


@dataclass(frozen=True)
class Published:
    """A model as its family publishes it.

    Parameters
    ----------
    config : ModelConfig
        Ours. Its head is not tied, where the embedding or the head has a factor.
    valid_vocab : int
        Ids from here on are padding, as far as the config knows.
    tied : bool
        Whether the files hold one table for embedding and head.
    origin
        Of a parameter, by our name.
    """

    config: ModelConfig
    valid_vocab: int
    tied: bool
    origin: Callable[[str], Origin]
