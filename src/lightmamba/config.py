"""The sizes of a language model: an embedding, a sequence of layers, an LM head."""

import math
from dataclasses import asdict, dataclass, fields, replace
from itertools import groupby
from typing import Any

from lightmamba.blocks import kinds, part
from lightmamba.blocks.mamba2.sizes import Sizes as Mamba2Sizes
from lightmamba.blocks.sizes import Sizes
from lightmamba.errors import InputError, shown
from lightmamba.plain import build, take

__all__ = ["SHAPES", "ModelConfig", "mamba2_config"]

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
        for name in ("d_model", "vocab_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive whole number, not {value!r}")
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
        """The same model cut behind its first layers."""
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
            kind, count = take(run, "kind", str, at), take(run, "count", int, at)
            if kind not in kinds():
                raise InputError(
                    f"{at}.kind is {shown(kind)}, expected one of {', '.join(kinds())}"
                )
            if not 1 <= count <= MOST - len(layers):
                raise InputError(f"{at}.count is {count}, expected 1 to {MOST} layers in all")
            sizes = {key: value for key, value in run.items() if key not in ("kind", "count")}
            layers += [build(part(kind, "sizes").Sizes, sizes, at)] * count
        own = {key: value for key, value in values.items() if key != "layers"}
        return build(ModelConfig, own, where, layers=tuple(layers))


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
        Further fields of :class:`lightmamba.blocks.mamba2.sizes.Sizes`.

    Raises
    ------
    ValueError
        If the sizes cannot belong together.
    """
    for name, value in (("n_layer", n_layer), ("expand", expand), ("headdim", headdim)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a positive whole number, not {value!r}")
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
