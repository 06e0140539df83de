"""The sizes of a language model: an embedding, a sequence of layers, an LM head."""

import math
from dataclasses import asdict, dataclass, fields, replace
from itertools import groupby
from typing import Any

from lightmamba.blocks import kind, kinds
from lightmamba.blocks.attention.arithmetic import Sizes as AttentionSizes
from lightmamba.blocks.experts.arithmetic import Sizes as ExpertSizes
from lightmamba.blocks.layer import Sizes, positive
from lightmamba.blocks.mamba2.quantized import Sizes as Mamba2Sizes
from lightmamba.blocks.mlp.arithmetic import Sizes as MlpSizes
from lightmamba.common.errors import InputError, shown
from lightmamba.common.plain import restore, take

__all__ = ["HYBRIDS", "PUBLISHED", "SHAPES", "ModelConfig", "mamba2_config"]

MOST = 1 << 12  # layers


@dataclass(frozen=True)
class ModelConfig:
    """Validated sizes of one language model.

    Raises
    ------
    ValueError
        If the sizes cannot belong together; the sentence names the field and what would be right.
    """

    d_model: int  # residual stream (D)
    vocab_size: int  # rows of the embedding, padding included
    layers: tuple[Sizes, ...]  # each one a mixer between a norm and a residual addition
    tie_embeddings: bool = True
    eps: float = 1e-5  # of the residual norms

    def __post_init__(self) -> None:
        positive(vars(self), "d_model", "vocab_size")
        if not self.layers:
            raise ValueError("a model has at least one layer")
        if not 0.0 < self.eps < 1.0:
            raise ValueError(f"eps must lie between 0 and 1, not {self.eps}")

    @property
    def n_layer(self) -> int:
        """Number of layers."""
        return len(self.layers)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of layers that occur, in the order in which they first do."""
        return tuple(dict.fromkeys(layer.kind for layer in self.layers))

    def first(self, count: int) -> "ModelConfig":
        """Configuration of the model with its first layers only."""
        return replace(self, layers=self.layers[:count])

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; equal layers in a row are written once, with their count."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "layers"}
        runs = [list(run) for _, run in groupby(self.layers)]
        layers = [{"kind": run[0].kind, "count": len(run), **_written(run[0])} for run in runs]
        return {**own, "layers": layers}

    @staticmethod
    def from_dict(values: Any, where: str = "config") -> "ModelConfig":
        """Invert :meth:`as_dict`.

        Raises
        ------
        InputError
            One sentence, if something is missing, unknown, of another type, or cannot be.
        """
        layers: list[Sizes] = []
        for n, run in enumerate(take(values, "layers", list, where)):
            at = f"{where}.layers[{n}]"
            name, count = take(run, "kind", str, at), take(run, "count", int, at)
            if name not in kinds():
                raise InputError(
                    f"{at}.kind is {shown(name)}, expected one of {', '.join(kinds())}"
                )
            if not 1 <= count <= MOST - len(layers):
                raise InputError(f"{at}.count is {count}, expected 1 to {MOST} layers in all")
            sizes = {key: value for key, value in run.items() if key not in ("kind", "count")}
            layers += [restore(kind(name).Sizes, _read(sizes, at), at)] * count
        own = {key: value for key, value in values.items() if key != "layers"}
        return restore(ModelConfig, own, where, layers=tuple(layers))


def _read(sizes: dict[str, Any], where: str) -> dict[str, Any]:
    """Plain values of sizes with the numbers that :func:`_written` writes as text."""
    found = dict(sizes)
    for name, value in sizes.items():
        if isinstance(value, list):
            try:
                found[name] = [float(text) for text in value]
            except (ValueError, TypeError, OverflowError) as error:
                raise InputError(f"{where}.{name} must be numbers, not {shown(value)}") from error
    return found


def _written(sizes: Any) -> dict[str, Any]:
    """Plain values; JSON has no infinity, so limits are written as text."""
    plain = asdict(sizes)
    return {k: [repr(float(x)) for x in v] if isinstance(v, tuple) else v for k, v in plain.items()}


def mamba2_config(
    d_model: int,
    n_layer: int,
    vocab_size: int,
    *,
    headdim: int = 64,
    expand: int = 2,
    tie_embeddings: bool = True,
    eps: float = 1e-5,
    **sizes: Any,
) -> ModelConfig:
    """Sizes of a model of equal Mamba2 layers, d_inner = expand * d_model.

    Parameters
    ----------
    d_model, vocab_size, tie_embeddings, eps
        As of :class:`ModelConfig`; ``eps`` is of the gated norms too.
    n_layer, headdim, expand : int
        Layers, channels of a head, and d_inner over d_model.
    **sizes
        Further fields of :class:`lightmamba.blocks.mamba2.quantized.Sizes`.

    Raises
    ------
    ValueError
        If the sizes cannot belong together.
    """
    positive(locals(), "n_layer", "expand", "headdim")
    if n_layer > MOST:
        raise ValueError(f"n_layer must be at most {MOST}, not {n_layer}")
    if expand * d_model % headdim:
        raise ValueError(
            f"headdim {headdim} does not divide d_inner {expand * d_model}; "
            f"try headdim {math.gcd(expand * d_model, 64)}"
        )
    layer = Mamba2Sizes(nheads=expand * d_model // headdim, headdim=headdim, eps=eps, **sizes)
    return ModelConfig(d_model, vocab_size, (layer,) * n_layer, tie_embeddings, eps)


SHAPES = {
    "mamba2-130m": mamba2_config(d_model=768, n_layer=24, vocab_size=50288),
    "mamba2-370m": mamba2_config(d_model=1024, n_layer=48, vocab_size=50288),
    "mamba2-780m": mamba2_config(d_model=1536, n_layer=48, vocab_size=50288),
    "mamba2-1.3b": mamba2_config(d_model=2048, n_layer=48, vocab_size=50288),
    "mamba2-2.7b": mamba2_config(d_model=2560, n_layer=64, vocab_size=50288),
    "demo": mamba2_config(d_model=256, n_layer=6, vocab_size=2048),
}


def _granite(
    d_model: int, n_layer: int, at: tuple[int, ...], heads: tuple[int, int, int], behind: Sizes,
    headdim: int = 64,
) -> ModelConfig:  # fmt: skip
    """Granite-4.0-H: a layer ``behind`` every mixer, attention ``at`` some layers."""
    mamba = Mamba2Sizes(nheads=2 * d_model // headdim, headdim=headdim, chunk_size=256)
    attention = AttentionSizes(*heads)
    mixers = [attention if layer in at else mamba for layer in range(n_layer)]
    layers = tuple(layer for mixer in mixers for layer in (mixer, behind))
    return ModelConfig(d_model, 100352, layers, tie_embeddings=False)


def _nemotron(
    d_model: int, pattern: str, mamba: tuple[int, int], heads: tuple[int, int, int], other: Sizes
) -> ModelConfig:
    """Nemotron-H: one mixer per layer, by the letters of its pattern."""
    kinds: dict[str, Sizes] = {
        "M": Mamba2Sizes(nheads=mamba[0], headdim=mamba[1], ngroups=8, chunk_size=128),
        "*": AttentionSizes(*heads),
    }
    layers = tuple(kinds.get(letter, other) for letter in pattern)
    return ModelConfig(d_model, 131072, layers, tie_embeddings=False)


ATTENTION_AT = 5, 15, 25, 35  # of 40 layers
HYBRIDS = {
    "granite-4.0-h-350m": _granite(
        768, 32, (10, 13, 17, 27), (12, 4, 64), MlpSizes(2048), headdim=32
    ),
    "granite-4.0-h-1b": _granite(1536, 40, ATTENTION_AT, (12, 4, 128), MlpSizes(4096)),
    "granite-4.0-h-micro": _granite(2048, 40, ATTENTION_AT, (32, 8, 64), MlpSizes(8192)),
    "nemotron-3-nano-4b": _nemotron(
        3136, "M-M-M-MM-M-M*-M-M*-M-M-M*-M-M-MM*-MMM-M-M-", (96, 80), (40, 8, 128),
        MlpSizes(12544, "relu2"),
    ),
}  # fmt: skip
WITH_EXPERTS = {
    "granite-4.0-h-tiny": _granite(
        1536, 40, ATTENTION_AT, (12, 4, 128), ExpertSizes(64, 6, 512, 2)
    ),
    "granite-4.0-h-small": _granite(
        4096, 40, ATTENTION_AT, (32, 8, 128), ExpertSizes(72, 10, 768, 2)
    ),
    "nemotron-3-nano-30b": _nemotron(
        2688, "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME", (64, 64), (32, 2, 128),
        ExpertSizes(128, 6, 1856, 2, "relu2", "sigmoid"),
    ),
}  # fmt: skip

PUBLISHED = {**SHAPES, **HYBRIDS, **WITH_EXPERTS}  # all whose sizes are known
