"""Claims of the paper, read from ``paper.toml``."""

from importlib import resources

import msgspec

from lightmamba.blocks import kind
from lightmamba.hardware.estimate.result import Amount
from lightmamba.model.config import SHAPES, ModelConfig

__all__ = ["ClaimedAccuracy", "Paper", "Platform", "paper", "weights"]

BITS = {"W4A4": 4, "W8A8": 8, "FP16": 16}  # of a weight


class Platform(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the paper's table of hardware.

    Parameters
    ----------
    target : str
        What the names of this project's targets for the same board begin with; "" for none.
    how : str
        How the paper came to its numbers.
    """

    name: str
    scheme: str
    how: str
    tokens_per_second: float
    target: str = ""
    clock_mhz: float | None = None
    gb_per_s: float | None = None
    tokens_per_joule: float | None = None
    lut: float | None = None
    ff: float | None = None
    dsp: float | None = None
    bram18: float | None = None
    uram: float | None = None

    @property
    def amount(self) -> Amount | None:
        """Its cells, where the paper gives them."""
        cells = (self.lut, self.ff, self.dsp, self.bram18, self.uram)
        given = [float(n) for n in cells if n is not None]
        return Amount(*given) if len(given) == len(cells) else None


class ClaimedAccuracy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the paper's table of accuracy: percent, and perplexity on LAMBADA or a bound."""

    method: str
    scheme: str
    zero_shot: float
    perplexity: float | None = None
    perplexity_above: float | None = None


class Paper(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is taken from it."""

    source: str
    shape: str
    platforms: tuple[Platform, ...]
    accuracy: tuple[ClaimedAccuracy, ...]

    @property
    def config(self) -> ModelConfig:
        """The model that its numbers are of."""
        return SHAPES[self.shape]

    def of(self, config: ModelConfig, target: str, scheme: str) -> Platform | None:
        """The row of the same model in the same scheme on the same board, if there is one."""
        if config != self.config:
            return None
        rows = (p for p in self.platforms if p.target and target.startswith(p.target))
        return next((row for row in rows if row.scheme == scheme), None)

    def bytes_per_token(self, scheme: str) -> float:
        """Derived, not published: all weights once, the state read and written.

        State of one byte per element, two in FP16, as the paper has it.
        """
        c, bits = self.config, BITS[scheme]
        values: int = sum(kind(k.kind).integers.float_values(k) for k in c.layers)
        state = 2 * values * (2 if bits == 16 else 1)
        return weights(c) * bits / 8 + state


def weights(c: ModelConfig) -> int:
    """Weights of projections and head; each meets one activation per token."""
    return c.d_model * (sum(k.in_rows + k.out_dim for k in c.layers) + c.vocab_size)


def paper() -> Paper:
    """Read the shipped file."""
    file = resources.files("lightmamba.study.report") / "paper.toml"
    return msgspec.toml.decode(file.read_bytes(), type=Paper)
